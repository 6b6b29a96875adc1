"""`python -m tests.kill faults`: every fault the sandbox plays, and 200 clips under it.

Each fault spoils as many calls as there are clips. Then the API behaves again, every clip is made
once more, and the archive is swept.
"""

import argparse
import asyncio
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.kling.client import KlingClient
from prefect_kling.sandbox.faults import FaultAction
from prefect_kling.sandbox.named_faults import NAMED_FAULTS
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions
from tests.kill.crew import Api, api_process
from tests.kill.worker import ARCHIVED, Assignment, Outcome, Place, make_clip

BUCKET = "films"
AT_ONCE = 40
TERMS = SubmitOptions(window=5.0, busy=20.0, look_again=0.1, retry_pause=0.1)
SWEEP = ReconcileSettings(window_seconds=0.0, confirm_seconds=0.05)

FAULTS: list[dict[str, Any]] = [
    {"on": "create", "do": {"status": 400}},
    {"on": "create", "do": {"status": 401}},
    {"on": "create", "do": {"status": 402}},
    {"on": "create", "do": {"status": 429, "retry_after": 0}},
    {"on": "create", "do": {"status": 499}, "after_commit": True},
    {"on": "create", "do": {"status": 503}},
    {"on": "create", "do": {"status": 502}, "after_commit": True},
    {"on": "create", "do": {"code": 500}, "after_commit": True},
    {"on": "create", "do": {"html": True}, "after_commit": True},
    {"on": "create", "do": {"stall": 5}, "after_commit": True},
    {"on": "create", "do": {"drop": True}},
    {"on": "create", "do": {"drop": True}, "after_commit": True},
    {"on": "get", "do": {"status": 403}},
    {"on": "get", "do": {"status": 404}},
    {"on": "get", "do": {"status": 500}},
    {"on": "get", "do": {"code": 500}},
    {"on": "get", "do": {"html": True}},
    {"on": "get", "do": {"drop": True}},
    {"on": "get", "do": {"state": "failed"}},
    {"on": "get", "do": {"state": "no such state"}},
    {"on": "get", "do": {"no_url": True}},
    {"on": "get", "do": {"links": [" {link}\n"]}},
    {"on": "get", "do": {"links": ["https://127.0.0.1:9/dead.mp4", "{link}"]}},
    {"on": "get", "do": {"envelope": 500}},
    {"on": "file", "do": {"status": 403}},
    {"on": "file", "do": {"status": 503}},
    {"on": "file", "do": {"html": True}},
    {"on": "file", "do": {"replace": "html"}},
    {"on": "file", "do": {"replace": "picture"}},
    {"on": "file", "do": {"stall": 1}},
    {"on": "file", "do": {"drop": True}},
    {"on": "file", "do": {"cut_after": 4000}},
    {"on": "file", "do": {"truncate": 4000}},
    {"on": "file", "do": {"expire": True}},
    {"on": "file", "do": {"append": "zeros"}},
    {"on": "file", "do": {"webm": True}},
    {"on": "file", "do": {"gzip": True}},
    {"on": "file", "do": {"media_type": "text/plain"}},
    {"on": "file", "do": {"promise": 1000}},
    {"on": "file", "do": {"slow": 200_000}},
    {"on": "file", "do": {"damage_range": True}},
    {"on": "balance", "do": {"status": 500}},
    {"on": "record", "do": {"status": 500}},
]
FAULTS += [{"name": fault.name} for fault in NAMED_FAULTS.values() if fault.change]


def uncovered() -> set[str]:
    """The kinds of faults that the sandbox plays and this matrix does not."""
    companions = {"body", "retry_after"}
    played = {kind for fault in FAULTS for kind in fault.get("do", {})}
    return set(FaultAction.model_fields) - companions - played


@dataclass(frozen=True)
class Row:
    """What became of the clips under one fault."""

    fault: str
    clips: int
    jobs: int
    paid_twice: int
    archived: int
    held: int
    open: int
    """Clips with a job that is still waited for, or that a sweep tells of every time."""
    quarantined: int
    """Clips with a file in quarantine, those that were archived afterwards included."""
    lost: int
    """Clips neither made, nor known to have failed, nor kept for a person's decision."""
    read: str


async def make_all(tasks: list[Assignment], client: KlingClient, archive: Archive) -> list[Outcome]:
    """Make all clips in this process, so many at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(task: Assignment) -> Outcome:
        async with places:
            return await make_clip(task, client, archive)

    return await asyncio.gather(*(one(task) for task in tasks))


async def one_fault(api: Api, place: Place, fault: dict[str, Any], clips: int) -> Row:
    """Make clips under one fault, once more without it, and count."""
    tasks = [
        Assignment(place, f"{place.prefix} {number}", TERMS, create_seconds=2.0)
        for number in range(clips)
    ]
    archive = place.archive()
    async with place.client(2.0) as client:
        api.fault({**fault, "times": clips})
        first = await make_all(tasks, client, archive)
        api.behave()
        await make_all(tasks, client, archive)
        await reconcile(archive, client, SWEEP)
    prompts = Counter(job["body"]["prompt"] for job in api.read("jobs"))
    states = dict(_states(tasks, archive))
    counts = Counter(states.values())
    known = (EntryState.ARCHIVED, EntryState.HELD, EntryState.FAILED, EntryState.SUBMITTED)
    quarantined = {found.clip_key for found in archive.quarantine.files()}
    safe = quarantined | {key for key, state in states.items() if state in known}
    words = fault.get("name") or f"{fault['on']}: {fault['do']}"
    if fault.get("after_commit"):
        words = f"{fault['on']}, after the job was made: {fault['do']}"
    return Row(
        fault=words,
        clips=clips,
        jobs=sum(prompts[task.prompt] for task in tasks),
        paid_twice=sum(prompts[task.prompt] > 1 for task in tasks),
        archived=counts[EntryState.ARCHIVED],
        held=counts[EntryState.HELD],
        open=counts[EntryState.SUBMITTED],
        quarantined=len(quarantined),
        lost=len({task.order.clip_key for task in tasks} - safe),
        read=_read_most(first),
    )


def _states(tasks: list[Assignment], archive: Archive) -> Iterator[tuple[str, EntryState]]:
    for task in tasks:
        version = archive.ledger.read(task.order.clip_key)
        if version is not None:
            yield version.entry.clip_key, version.entry.state


def _read_most(outcomes: list[Outcome]) -> str:
    """What most users read, without the ids that differ from clip to clip."""
    told = Counter(
        re.sub(r"\b(cl[a-z0-9]{20,}|[0-9a-f]{32})\b", "…", f"{each.kind}: {each.words}")
        for each in outcomes
        if each.kind != ARCHIVED
    )
    if not told:
        return "nothing: the clip is there"
    words, count = told.most_common(1)[0]
    return f"{count} times: {words[:160]}".replace("|", "/").replace("\n", " ")


def rows(clips: int, folder: Path, only: str) -> Iterator[Row]:
    """Run every fault on servers of its own kind."""
    with ExitStack() as servers:
        s3 = servers.enter_context(seaweed(folder / "s3", BUCKET))
        api = servers.enter_context(api_process(folder / "api", (0.2, 0.6)))
        for fault in FAULTS:
            if only in str(fault):
                place = Place(api.url, api.key, s3, BUCKET, f"fault-{secrets.token_hex(4)}")
                yield asyncio.run(one_fault(api, place, fault, clips))


def main(words: list[str]) -> int:
    """Run, print a table in Markdown, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill faults", description=__doc__)
    parser.add_argument("clips", type=int, nargs="?", default=200)
    parser.add_argument("--only", default="", help="faults that contain this text")
    given = parser.parse_args(words)
    headings = (
        "fault", "jobs", "paid twice", "lost", "held", "open", "in quarantine", "archived",
        "the user reads",
    )  # fmt: skip
    print(f"| {' | '.join(headings)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    broken = 0
    with tempfile.TemporaryDirectory(prefix="kling-faults-", ignore_cleanup_errors=True) as folder:
        for row in rows(given.clips, Path(folder), given.only):
            figures = (
                row.jobs,
                row.paid_twice,
                row.lost,
                row.held,
                row.open,
                row.quarantined,
                row.archived,
            )
            print(f"| {row.fault} | {' | '.join(map(str, figures))} | {row.read} |", flush=True)
            broken += row.paid_twice + row.lost
    print(f"paid twice or lost: {broken}")
    return 1 if broken else 0
