"""What became of every clip after a torture: counted against the API's books, told as a table."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from prefect_kling.studio.errors import StorageRefused
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import Accounts, clip_of
from prefect_kling.studio.money.ledger import EntryState
from tests.kill.crew import Api, Ending
from tests.kill.points import POINTS, SAVED
from tests.kill.worker import ARCHIVED, Assignment, Outcome, Place

RANDOM, NAMED, FAULTS = "random", "named", "faults"
GROUPS = {
    RANDOM: "shot at random",
    NAMED: "died at a named point",
    FAULTS: "shot, and the API answered badly",
}


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
        """How long nobody could tell whether the job was paid: from the mark to the saved id."""
        at = {each.point: each.at for each in self.ending.passed}
        return at["id-saved"] - at["marked-sending"] if "id-saved" in at else None


@dataclass
class Sums:
    """What the whole run came to."""

    lives: list[Life]
    leaked: int = 0
    over_cap: int = 0
    wrong_accounts: int = 0
    swept: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def held_of_random_kills(self) -> tuple[int, int]:
        """How many of the clips whose process was shot at random are held, of how many."""
        shot = [life for life in self.lives if life.group == RANDOM and life.was_killed]
        return sum(life.state == "held" for life in shot), len(shot)

    def broken(self) -> list[str]:
        """Name the rules that were broken."""
        held, killed = self.held_of_random_kills()
        rules = {
            "a clip was paid twice": any(life.jobs > 1 for life in self.lives),
            "a clip was lost": any(life.state == "lost" for life in self.lives),
            "1 % or more of the random kills ended in a held clip": held * 100 >= killed > 0,
            "a clip whose job id was saved did not finish by itself": any(
                life.state != ARCHIVED and life.ending.last_point in SAVED for life in self.lives
            ),
            "a reservation leaked": self.leaked > 0,
            "a cap was passed": self.over_cap > 0,
            "the accounts differ from what the API was paid": self.wrong_accounts > 0,
        }
        return [name for name, is_broken in rules.items() if is_broken]


def judge(life: Life, archive: Archive) -> str:
    """Say where a clip stands in the end; a clip counts as archived only if its video is there."""
    page, clip = (
        archive.ledger.read(life.task.order.clip_key),
        archive.find(life.task.order.clip_key),
    )
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
        sums.leaked += len({clip_of(name) for name in accounts.reserved} - held)
        sums.over_cap += place.cap_usd is not None and accounts.committed() > place.cap_usd
        paid = sum(
            (Decimal(str(job["cost"])) for prompt in done for job in jobs.get(prompt, [])),
            Decimal(0),
        )
        sums.wrong_accounts += accounts.spent_usd != paid


def rows(sums: Sums) -> Iterator[tuple[str, ...]]:
    """The table: one row a figure, one column a group."""
    groups = [[life for life in sums.lives if life.group == group] for group in GROUPS]

    def row(name: str, figure: Callable[[list[Life]], object]) -> tuple[str, ...]:
        return (name, *(str(figure(lives)) for lives in groups), str(figure(sums.lives)))

    yield row("orders", len)
    yield row("killed", lambda lives: sum(life.was_killed for life in lives))
    for point in ("not begun", *POINTS):
        last = f"… last seen at {point}"
        yield row(
            last,
            lambda lives, p=point: sum(
                life.was_killed and life.ending.last_point == p for life in lives
            ),
        )
    yield row("jobs made", lambda lives: sum(life.jobs for life in lives))
    yield row(
        "jobs per clip key, at most", lambda lives: max((life.jobs for life in lives), default=0)
    )
    yield row("archived", lambda lives: sum(life.state == ARCHIVED for life in lives))
    yield row("held for a person", lambda lives: sum(life.state == "held" for life in lives))
    yield row(
        "… of these really paid",
        lambda lives: sum(life.state == "held" and life.jobs > 0 for life in lives),
    )
    yield row("lost", lambda lives: sum(life.state == "lost" for life in lives))
    yield row("mark to saved id, median ms", _gap)


def _gap(lives: list[Life]) -> str:
    gaps = [life.gap_seconds for life in lives if life.gap_seconds is not None]
    return f"{statistics.median(gaps) * 1000:.0f}" if gaps else "-"


def facts(sums: Sums) -> Iterator[str]:
    """What is true of the run as a whole."""
    held, killed = sums.held_of_random_kills()
    yield f"held of the random kills: {held} of {killed}, {held / max(1, killed):.2%}"
    yield f"reservations leaked: {sums.leaked}"
    yield (
        f"caps passed: {sums.over_cap}, accounts that differ from the API's own: "
        f"{sums.wrong_accounts}"
    )
    swept = [f"{kind} {n}" for kind, n in sorted(sums.swept.items())]
    yield f"the sweep's findings: {', '.join(swept) or 'none'}"
    by_itself = Counter(life.ending.outcome.kind for life in sums.lives if life.ending.outcome)
    unkilled = [f"{kind} {n}" for kind, n in by_itself.most_common()]
    yield f"ended before the kill came: {', '.join(unkilled) or 'none'}"
    missed = [
        str(life.task.die_at) for life in sums.lives if life.group == NAMED and not life.was_killed
    ]
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


def in_markdown(sums: Sums, setting: str) -> str:
    """Return the table and the facts as Markdown, with a sentence on how they were measured."""
    head = ["", *GROUPS.values(), "all"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows(sums)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    listed = "\n".join(f"- {fact}" for fact in facts(sums))
    return f"{len(sums.lives)} clips. {setting}\n\n{table}\n\n{listed}\n"
