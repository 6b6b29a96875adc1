"""`make torture N=1000`: many clips, a kill -9 in each one's life, and then every clip is counted.

Three groups, whose figures are kept apart: processes shot at a random moment, processes that die at
a random named point, and processes shot at a random moment while the API answers badly. Then every
order is run again, each archive is swept once, and what the API was paid is compared with what the
archives hold. Exit code 1 when a rule is broken.
"""

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console

from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions
from tests import documents
from tests.kill.crew import Worker, api_process, resume
from tests.kill.points import POINTS
from tests.kill.tally import FAULTS, NAMED, RANDOM, Life, Sums, count, in_markdown, show
from tests.kill.worker import Assignment, Place

BUCKET = "films"
PRICE = Decimal("0.1899")
CLIPS_PER_ARCHIVE = 50
RENDER_SECONDS = (20.0, 30.0)
AT_ONCE = 50
# A burst of beginners would fight for two cores, and what is measured would be the fight.
SECONDS_BETWEEN_STARTS = 0.25
WINDOW = 20.0
MEASURED = 8
_starting = threading.Lock()
BAD_ANSWERS: list[dict[str, Any]] = [
    {"on": "create", "do": {"status": 502}, "after_commit": True},
    {"on": "create", "do": {"status": 504}, "after_commit": True},
    {"on": "create", "do": {"drop": True}, "after_commit": True},
    {"on": "create", "do": {"drop": True}},
    {"on": "create", "do": {"stall": 15}, "after_commit": True},
    {"on": "create", "do": {"status": 429, "retry_after": 1}},
    {"on": "get", "do": {"status": 503}},
    {"on": "get", "do": {"drop": True}},
    {"on": "get", "do": {"stall": 2}},
    {"on": "file", "do": {"cut_after": 3000}},
    {"on": "file", "do": {"expire": True}},
]


def assignment(place: Place, prompt: str) -> Assignment:
    """One clip to make on the terms of this program."""
    terms = SubmitOptions(window=WINDOW, busy=60.0, look_again=0.5)
    patience = PollPolicy(first=1.0, longest=2.0, deadline=300)
    return Assignment(place, prompt, terms, create_seconds=WINDOW / 2, patience=patience)


def plan(count: int, dice: random.Random, place_of: Callable[[str, int], Place]) -> Iterator[Life]:
    """Decide for every order to which group it belongs and when or where it dies."""
    shares = (RANDOM,) * 3 + (NAMED, FAULTS)
    for number in range(count):
        group = shares[number % len(shares)]
        task = assignment(place_of(group, number), f"torture {number}")
        if group == NAMED:
            yield Life(
                group, replace(task, die_at=POINTS[number // len(shares) % len(POINTS)]), None
            )
        else:
            yield Life(group, task, dice.random())


def run(life: Life, whole_life: float) -> None:
    """Start a worker and let it die."""
    with _starting:
        time.sleep(SECONDS_BETWEEN_STARTS)
        worker = Worker(life.task)
    if life.shot_after is not None:
        worker.kill_after(life.shot_after * whole_life)
    life.ending = worker.end(300)


def measure_life(place: Place) -> float:
    """How long a clip takes when nobody is shot, as a median."""
    lives = [
        Life(RANDOM, assignment(place, f"measure {number}"), None) for number in range(MEASURED)
    ]
    with ThreadPoolExecutor(MEASURED) as threads:
        list(threads.map(lambda life: run(life, 0.0), lives))
    passed = [life.ending.passed for life in lives]
    return statistics.median(each[-1].at - each[0].at for each in passed)


def run_again(lives: Sequence[Life]) -> None:
    """Run every order once more in a few processes."""
    outcomes = resume([replace(life.task, die_at=None) for life in lives])
    for life in lives:
        life.resumed = outcomes.get(life.task.prompt, life.resumed)


async def sweep_all(archives: dict[Place, Archive]) -> Counter[str]:
    """Sweep every archive once."""
    found: Counter[str] = Counter()
    for place, archive in archives.items():
        async with place.client() as client:
            findings = await reconcile(archive, client, ReconcileSettings(window_seconds=0.0))
        found.update(findings.counts)
    return found


def torture(number: int, seed: int, folder: Path, console: Console) -> Sums:
    """Run the whole thing on servers of its own."""
    start = time.monotonic()
    with ExitStack() as servers:
        s3 = servers.enter_context(seaweed(folder / "s3", BUCKET))
        calm = servers.enter_context(api_process(folder / "calm", RENDER_SECONDS))
        rough = servers.enter_context(api_process(folder / "rough", RENDER_SECONDS))
        several = -(-number // CLIPS_PER_ARCHIVE)

        def place_of(group: str, order: int) -> Place:
            api, letter = (rough, "r") if group == FAULTS else (calm, "c")
            return Place(
                api.url,
                api.key,
                s3,
                BUCKET,
                f"{letter}{order % several}",
                PRICE * CLIPS_PER_ARCHIVE * 2,
            )

        sums = Sums(list(plan(number, random.Random(seed), place_of)))
        whole_life = measure_life(Place(calm.url, calm.key, s3, BUCKET, "measure"))
        console.print(
            f"a clip lives {whole_life:.1f} s; killing {number}, {AT_ONCE} at a time, seed {seed}"
        )
        dice = random.Random(seed + 1)

        def end(life: Life) -> None:
            if life.group == FAULTS:
                rough.fault(dice.choice(BAD_ANSWERS))
            run(life, whole_life)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(end, sums.lives))
        rough.behave()
        console.print(
            f"all are dead after {time.monotonic() - start:.0f} s; running every order again"
        )
        run_again(sums.lives)
        archives = {life.task.place: life.task.place.archive() for life in sums.lives}
        sums.swept = asyncio.run(sweep_all(archives))
        count(sums, archives, (calm, rough))
    sums.seconds = time.monotonic() - start
    return sums


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path, help="a file to write the table into")
    parser.add_argument("--document", action="store_true", help="write it into docs/money.md, too")
    given = parser.parse_args()
    # Being stopped is no reason to leave three servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix="kling-torture-", ignore_cleanup_errors=True) as folder:
        sums = torture(given.number, given.seed, Path(folder), console)
    show(sums, console)
    low, high = RENDER_SECONDS
    setting = f"Seed {given.seed}, {AT_ONCE} workers at once, a clip renders {low:g} to {high:g} s."
    told = in_markdown(sums, setting)
    if given.out:
        given.out.write_text(told)
    if given.document:
        documents.write_section(documents.ROOT / "docs" / "money.md", "torture", told)
    return 1 if sums.broken() else 0
