"""`python -m tests.kill faults`: every fault the sandbox plays, and 200 clips under it.

Each fault spoils as many calls as there are clips. Then the API behaves again, every clip is made
once more, and the archive is swept. Two faults at a time are played, each by a process and a
sandbox of its own. Without `--only` the rows are kept in build/ as they are measured: what was
interrupted goes on with the others when it is started again.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import queue
import re
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.kling import outage
from prefect_kling.kling.client import KlingClient
from prefect_kling.sandbox.faults import FaultAction
from prefect_kling.sandbox.named_faults import NAMED_FAULTS
from prefect_kling.sandbox.painter import paint_clip
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions
from tests import documents
from tests.kill.crew import PROCESSES, Api, api_process
from tests.kill.worker import ARCHIVED, Assignment, Outcome, Place, make_clip

BUCKET = "films"
DOCUMENT = documents.ROOT / "docs" / "money.md"
AT_ONCE = 40
FAULTS_AT_ONCE = 2
TERMS = SubmitOptions(window=5.0, busy=20.0, look_again=0.1, retry_pause=0.1)
SWEEP = ReconcileSettings(window_seconds=0.0, confirm_seconds=0.05)

HEADINGS = (
    "fault",
    "jobs",
    "paid twice",
    "lost",
    "held",
    "open",
    "in quarantine",
    "archived",
    "the user reads",
)

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
    """Clips with a job that are neither made, nor known to have failed, nor kept for a decision."""
    read: str
    """What most users read."""


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
    # On a machine that is too busy a request may never be sent: nothing is paid, nothing is lost.
    safe |= {task.order.clip_key for task in tasks if not prompts[task.prompt]}
    return Row(
        fault=name_of(fault),
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


def name_of(fault: dict[str, Any]) -> str:
    """Return how a fault is called in the table."""
    if "name" in fault:
        return str(fault["name"])
    if fault.get("after_commit"):
        return f"{fault['on']}, after the job was made: {fault['do']}"
    return f"{fault['on']}: {fault['do']}"


def look_soon() -> None:
    """Let this process look soon and often for an API that is away, for all 200 spoilt answers.

    With its pauses of eight seconds, clips would give up waiting long before the last one.
    """
    outage.FIRST_PAUSE = 0.05
    outage.LONGEST_PAUSE = 0.1


def play(api: Api, place: Place, fault: dict[str, Any], clips: int) -> Row:
    """Play one fault in this process."""
    return asyncio.run(one_fault(api, place, fault, clips))


def rows(clips: int, folder: Path, faults: list[dict[str, Any]]) -> Iterator[Row]:
    """Play the faults, so many at a time, and yield each row when it is measured."""
    video = folder / "video.mp4"
    body = {"model": "kling-v3-omni", "prompt": "Fault", "duration": 3}
    paint_clip(body, [], video, number=1, short_side=90)
    free: queue.SimpleQueue[Api] = queue.SimpleQueue()
    with ExitStack() as servers:
        s3 = servers.enter_context(seaweed(folder / "s3", BUCKET))
        for number in range(FAULTS_AT_ONCE):
            api = api_process(folder / f"api-{number}", (0.2, 0.6), video)
            free.put(servers.enter_context(api))
        processes = ProcessPoolExecutor(FAULTS_AT_ONCE, PROCESSES, look_soon)
        servers.enter_context(processes)
        threads = ThreadPoolExecutor(FAULTS_AT_ONCE)

        def stop() -> None:
            # What has begun may take minutes yet; there is something left only after an error.
            threads.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()

        servers.callback(stop)

        def play_elsewhere(fault: dict[str, Any]) -> Row:
            api = free.get()
            place = Place(api.url, api.key, s3, BUCKET, f"fault-{secrets.token_hex(4)}")
            try:
                return processes.submit(play, api, place, fault, clips).result()
            finally:
                free.put(api)

        for ended in as_completed([threads.submit(play_elsewhere, fault) for fault in faults]):
            yield ended.result()


def read_kept(kept: Path) -> dict[str, Row]:
    """Return the rows that an interrupted run has kept, by the names of their faults."""
    if not kept.exists():
        return {}
    known = [Row(**json.loads(line)) for line in kept.read_text().splitlines()]
    return {row.fault: row for row in known}


def table(measured: dict[str, Row]) -> str:
    """Return the rows as Markdown, in the order of the faults."""
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- |" + " ---: |" * 7 + " --- |"]
    for name in map(name_of, FAULTS):
        if name in measured:
            row = measured[name]
            figures = (
                row.jobs,
                row.paid_twice,
                row.lost,
                row.held,
                row.open,
                row.quarantined,
                row.archived,
            )
            lines.append(f"| {name} | {' | '.join(map(str, figures))} | {row.read} |")
    return "\n".join(lines)


def measure(clips: int, faults: list[dict[str, Any]], kept: Path) -> dict[str, Row]:
    """Play what an interrupted run has not kept, and return all rows by the names of faults."""
    measured = read_kept(kept)
    if measured:
        print(f"{len(measured)} faults are in {kept} from a run that was interrupted")
    started = time.monotonic()
    missing = [fault for fault in faults if name_of(fault) not in measured]
    with (
        tempfile.TemporaryDirectory(prefix="kling-faults-", ignore_cleanup_errors=True) as folder,
        kept.open("a") as file,
    ):
        for row in rows(clips, Path(folder), missing):
            measured[row.fault] = row
            print(json.dumps(asdict(row)), file=file, flush=True)
            seconds = time.monotonic() - started
            print(f"{len(measured)} of {len(faults)} after {seconds:.0f} s: {row}", flush=True)
    return measured


def main(words: list[str]) -> int:
    """Run, print a table in Markdown, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill faults", description=__doc__)
    parser.add_argument("clips", type=int, nargs="?", default=200)
    parser.add_argument("--only", help="faults whose names contain this text")
    parser.add_argument("--document", action="store_true", help="write it into docs/money.md, too")
    given = parser.parse_args(words)
    if given.only is not None and given.document:
        parser.error("the document has all faults: leave --only out")
    # Being stopped is no reason to leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build = documents.ROOT / "build"
    build.mkdir(exist_ok=True)
    kept = build / f"faults-{given.clips}.jsonl"
    faults = FAULTS
    if given.only is not None:
        kept = Path(os.devnull)
        faults = [fault for fault in FAULTS if given.only in name_of(fault)]
    measured = measure(given.clips, faults, kept)
    broken = sum(row.paid_twice + row.lost for row in measured.values())
    sums = f"{given.clips} clips a fault; paid twice or lost: {broken}"
    told = f"{sums}.\n\n{table(measured)}"
    print(told)
    if given.document:
        documents.write_section(DOCUMENT, "faults", told)
    if given.only is None:
        kept.unlink()
    return 1 if broken else 0
