"""`make torture N=1000`: many clips, a kill -9 in each one's life, and then every clip is counted.

Three groups, whose figures are kept apart: processes shot at a random moment, processes that die at a random named
point, and processes shot at a random moment while the API answers badly. Then every order is run again, each archive
is swept once, and what the API was paid is compared with what the archives hold. Exit code 1 when a rule is broken.
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
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prefect_kling.deployments.seaweed import seaweed
from prefect_kling.kling.wait import Patience
from prefect_kling.studio.archive import Archive
from prefect_kling.studio.budget import Accounts
from prefect_kling.studio.errors import StorageRefused
from prefect_kling.studio.ledger import EntryState
from prefect_kling.studio.submission import Terms
from prefect_kling.studio.sweep import SweepSettings, sweep
from tests.kill.crew import Api, Ending, Worker, api_process, resume
from tests.kill.points import POINTS, SAVED
from tests.kill.worker import ARCHIVED, Assignment, Outcome, Place

BUCKET = "films"
PRICE = Decimal("0.1899")
CLIPS_PER_ARCHIVE = 50
RENDER_SECONDS = (20.0, 30.0)
AT_ONCE = 40
# A burst of beginners would fight for two cores, and what is measured would be the fight.
SECONDS_BETWEEN_STARTS = 0.25
WINDOW = 20.0
MEASURED = 8
RANDOM, NAMED, FAULTS = "random", "named", "faults"
_starting = threading.Lock()
GROUPS = {RANDOM: "shot at random", NAMED: "died at a named point", FAULTS: "shot, and the API answered badly"}
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


@dataclass
class Life:
    """One order: its group, what it was told, when it is shot, and what came of it."""

    group: str
    task: Assignment
    shot_after: float | None
    ending: Ending = field(default_factory=Ending)
    resumed: Outcome = field(default_factory=lambda: Outcome("not resumed"))
    jobs: int = 0
    state: str = "lost"

    @property
    def was_killed(self) -> bool:
        """Whether it died of a kill and not by itself."""
        return self.ending.exit_code == -9

    @property
    def gap_seconds(self) -> float | None:
        """How long nobody could tell whether the job was paid: from the intent to the saved id."""
        at = {each.point: each.at for each in self.ending.passed}
        return at["id-saved"] - at["marker-set"] if "id-saved" in at else None


def held_share(lives: Sequence[Life]) -> float:
    """Which part of the killed left a clip that a person has to decide about."""
    return sum(life.state == "held" for life in lives) / max(1, sum(life.was_killed for life in lives))


@dataclass
class Sums:
    """What the whole run came to."""

    lives: list[Life]
    leaked: int = 0
    over_cap: int = 0
    wrong_accounts: int = 0
    swept: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def broken(self) -> list[str]:
        """Name the rules that were broken."""
        shot = [life for life in self.lives if life.group == RANDOM]
        rules = {
            "a clip was paid twice": any(life.jobs > 1 for life in self.lives),
            "a clip was lost": any(life.state == "lost" for life in self.lives),
            "1 % or more of the random kills ended in a held clip": held_share(shot) >= 0.01,
            "a clip whose job id was saved did not finish by itself": any(
                life.state != ARCHIVED and life.ending.last_point in SAVED for life in self.lives
            ),
            "a reservation leaked": self.leaked > 0,
            "a cap was passed": self.over_cap > 0,
            "the accounts differ from what the API was paid": self.wrong_accounts > 0,
        }
        return [name for name, is_broken in rules.items() if is_broken]


def assignment(place: Place, prompt: str) -> Assignment:
    """One clip to make on the terms of this program."""
    terms = Terms(window=WINDOW, busy=60.0, look_again=0.5)
    patience = Patience(first=1.0, longest=2.0, deadline=300)
    return Assignment(place, prompt, terms, create_seconds=WINDOW / 2, patience=patience)


def plan(count: int, dice: random.Random, place_of: Callable[[str, int], Place]) -> Iterator[Life]:
    """Decide for every order to which group it belongs and when or where it dies."""
    shares = (RANDOM,) * 3 + (NAMED, FAULTS)
    for number in range(count):
        group = shares[number % len(shares)]
        task = assignment(place_of(group, number), f"torture {number}")
        if group == NAMED:
            yield Life(group, replace(task, die_at=POINTS[number // len(shares) % len(POINTS)]), None)
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
    lives = [Life(RANDOM, assignment(place, f"measure {number}"), None) for number in range(MEASURED)]
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
            findings = await sweep(archive, client, SweepSettings(window_seconds=0.0))
        found.update(findings.counts)
    return found


def judge(life: Life, archive: Archive) -> str:
    """Say where a clip stands in the end; a clip counts as archived only if its video is there."""
    page, clip = archive.ledger.read(life.task.order.clip_key), archive.find(life.task.order.clip_key)
    if page is None or page.entry.state is EntryState.HELD:
        return "lost" if page is None else "held"
    if page.entry.state is not EntryState.ARCHIVED or clip is None:
        return "lost"
    try:
        head = archive.bucket.head(f"clips/{clip.clip_key}.mp4")
    except StorageRefused:
        return "lost"
    return ARCHIVED if head.size == clip.bytes else "lost"


def count(sums: Sums, archives: dict[Place, Archive], apis: Sequence[Api]) -> None:
    """Compare the API's jobs and money with the ledgers and accounts."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for job in (job for api in apis for job in api.read("jobs")):
        jobs.setdefault(job["body"]["prompt"], []).append(job)
    for life in sums.lives:
        life.jobs = len(jobs.get(life.task.prompt, []))
        life.state = judge(life, archives[life.task.place])
    for place, archive in archives.items():
        here = [life for life in sums.lives if life.task.place == place]
        done = [life.task.prompt for life in here if life.state == ARCHIVED]
        held = {life.task.order.clip_key for life in here if life.state == "held"}
        accounts = archive.budget.accounts() or Accounts()
        sums.leaked += len(set(accounts.reserved) - held)
        sums.over_cap += place.cap_usd is not None and accounts.committed() > place.cap_usd
        paid = sum((Decimal(str(job["cost"])) for prompt in done for job in jobs.get(prompt, [])), Decimal(0))
        sums.wrong_accounts += accounts.spent_usd != paid


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
            return Place(api.url, api.key, s3, BUCKET, f"{letter}{order % several}", PRICE * CLIPS_PER_ARCHIVE * 2)

        sums = Sums(list(plan(number, random.Random(seed), place_of)))
        whole_life = measure_life(Place(calm.url, calm.key, s3, BUCKET, "measure"))
        console.print(f"a clip lives {whole_life:.1f} s; killing {number}, {AT_ONCE} at a time, seed {seed}")
        dice = random.Random(seed + 1)
        rough.fault(*(dice.choice(BAD_ANSWERS) for _ in range(number)))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda life: run(life, whole_life), sums.lives))
        rough.behave()
        console.print(f"all are dead after {time.monotonic() - start:.0f} s; running every order again")
        run_again(sums.lives)
        archives = {life.task.place: life.task.place.archive() for life in sums.lives}
        sums.swept = asyncio.run(sweep_all(archives))
        count(sums, archives, (calm, rough))
    sums.seconds = time.monotonic() - start
    return sums


def rows(sums: Sums) -> Iterator[tuple[str, ...]]:
    """The table: one row a figure, one column a group."""
    groups = [[life for life in sums.lives if life.group == group] for group in GROUPS]

    def row(name: str, figure: Callable[[list[Life]], object]) -> tuple[str, ...]:
        return (name, *(str(figure(lives)) for lives in groups), str(figure(sums.lives)))

    yield row("orders", len)
    yield row("killed", lambda lives: sum(life.was_killed for life in lives))
    for point in ("not begun", *POINTS):
        last = f"… last seen at {point}"
        yield row(last, lambda lives, p=point: sum(life.was_killed and life.ending.last_point == p for life in lives))
    yield row("jobs made", lambda lives: sum(life.jobs for life in lives))
    yield row("jobs per clip key, at most", lambda lives: max((life.jobs for life in lives), default=0))
    yield row("archived", lambda lives: sum(life.state == ARCHIVED for life in lives))
    yield row("held for a person", lambda lives: sum(life.state == "held" for life in lives))
    yield row("… of these really paid", lambda lives: sum(life.state == "held" and life.jobs > 0 for life in lives))
    yield row("held, share of the killed", lambda lives: f"{held_share(lives):.2%}")
    yield row("lost", lambda lives: sum(life.state == "lost" for life in lives))
    yield row("intent to saved id, median ms", _gap)


def _gap(lives: list[Life]) -> str:
    gaps = [life.gap_seconds for life in lives if life.gap_seconds is not None]
    return f"{statistics.median(gaps) * 1000:.0f}" if gaps else "-"


def facts(sums: Sums) -> Iterator[str]:
    """What is true of the run as a whole."""
    yield f"reservations leaked: {sums.leaked}"
    yield f"caps passed: {sums.over_cap}, accounts that differ from the API's own: {sums.wrong_accounts}"
    yield f"the sweep's findings: {', '.join(f'{kind} {n}' for kind, n in sorted(sums.swept.items())) or 'none'}"
    by_itself = Counter(life.ending.outcome.kind for life in sums.lives if life.ending.outcome)
    yield f"ended before the kill came: {', '.join(f'{kind} {n}' for kind, n in by_itself.most_common()) or 'none'}"
    missed = [str(life.task.die_at) for life in sums.lives if life.group == NAMED and not life.was_killed]
    yield f"named points not met: {', '.join(missed) or 'none'}"
    yield f"wall time: {sums.seconds:.0f} s"
    yield f"rules broken: {'; '.join(sums.broken()) or 'none'}"


def show(sums: Sums, console: Console) -> None:
    """Print the table."""
    table = Table("", *GROUPS.values(), "all", title=f"{len(sums.lives)} clips under kill -9")
    for row in rows(sums):
        table.add_row(*row)
    console.print(table)
    for fact in facts(sums):
        console.print(fact)


def write_markdown(sums: Sums, path: Path, seed: int) -> None:
    """Write the table as Markdown."""
    head = ["", *GROUPS.values(), "all"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows(sums)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    low, high = RENDER_SECONDS
    setting = f"Seed {seed}, {AT_ONCE} workers at once, a clip renders {low:g} to {high:g} s."
    listed = "\n".join(f"- {fact}" for fact in facts(sums))
    path.write_text(f"# {len(sums.lives)} clips under kill -9\n\n{setting}\n\n{table}\n\n{listed}\n")


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    # Being stopped is no reason to leave three servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix="kling-torture-", ignore_cleanup_errors=True) as folder:
        sums = torture(given.number, given.seed, Path(folder), console)
    show(sums, console)
    if given.out:
        write_markdown(sums, given.out, given.seed)
    return 1 if sums.broken() else 0
