"""What clips have cost, in groups: by project, client, film, month, model and so on.

Pure: records go in one at a time, sums of exact decimals come out. `studio/film/accounts.py` reads
the records.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches

from prefect_kling.kling.models import ModelUnknown
from prefect_kling.kling.prices import quote
from prefect_kling.studio.errors import WrongReport
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.record import (
    BEFORE_A_JOB,
    MAY_HAVE_LEFT,
    NOTHING,
    Attempt,
    Entry,
    EntryState,
)
from prefect_kling.studio.money.tags import TAG_PREFIX

_UNDER_WAY = (*BEFORE_A_JOB, EntryState.SUBMITTED)


@dataclass
class Money:
    """Requests and clips, and what became of their money, in US dollars."""

    requests: int = 0
    """Requests that were sent, or may have been."""
    failed: int = 0
    """Those of them whose jobs have failed, which the API does not charge."""
    clips: int = 0
    """Clips that are archived."""
    paid_usd: Decimal = NOTHING
    """What is booked: the API's own figure where it offers one, else the price table's."""
    estimated_usd: Decimal = NOTHING
    """The listed price of all that is paid."""
    charged_usd: Decimal = NOTHING
    """The part of what is paid that the API's record of an archived clip's job has named."""
    wasted_usd: Decimal = NOTHING
    """The part of it that brought no clip: given up, gone, or a second video of the same clip."""
    unused_usd: Decimal = NOTHING
    """The part of it that made clips which their film was joined without, such as other takes."""
    reserved_usd: Decimal = NOTHING
    """The worst price of requests that are under way."""
    held_usd: Decimal = NOTHING
    """The worst price of requests of which nobody knows whether they were taken."""

    def written(self) -> dict[str, str]:
        """Return counts and sums by name, as exact decimals: for tables and JSON."""
        counts = {name: str(getattr(self, name)) for name in COUNTS}
        return counts | {name: format(getattr(self, name), "f") for name in SUMS}

    def in_words(self, names: Sequence[str]) -> list[str]:
        """Return some counts and sums for people. A sum of nothing is left empty."""
        written = self.written()
        shown = []
        for name in names:
            if name in COUNTS:
                shown.append(written[name])
            elif getattr(self, name):
                shown.append(f"${written[name]}")
            else:
                shown.append("")
        return shown

    def add(self, other: "Money") -> None:
        """Add what other requests have cost."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


COUNTS = ("requests", "failed", "clips")
SUMS = tuple(each.name for each in fields(Money) if each.name not in COUNTS)
"""The names of a report's columns behind its dimensions: first the counts, then the sums."""


@dataclass(frozen=True)
class Row:
    """One group: its value of each dimension, empty where there is none, and its sums."""

    group: tuple[str, ...]
    money: Money


@dataclass(frozen=True)
class Report:
    """The sums of an archive by some dimensions, in the order of the groups."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Money
    unused_tags: tuple[str, ...] = ()
    """Tags that are dimensions and that no record has."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The counts and sums in which something happened, by name; clips and what is paid always.

        Pages and terminals are narrow.
        """
        always = ("clips", "paid_usd")
        names = (*COUNTS, *SUMS)
        return tuple(name for name in names if name in always or getattr(self.total, name))

    def __str__(self) -> str:
        return f"{len(self.rows)} groups by {', '.join(self.by)}: ${self.total.paid_usd} paid"


@dataclass(frozen=True)
class Reported:
    """One clip's record, the clip if it is archived, and whether its film was joined without it."""

    entry: Entry
    clip: Clip | None = None
    is_unused: bool = False


@dataclass(frozen=True)
class _Request:
    """One request of a clip: who paid for it, when it was sent, and its money."""

    entry: Entry
    film: str
    tags: dict[str, str]
    at: datetime | None
    money: Money


def _time(pattern: str) -> Callable[[_Request], str]:
    def written(request: _Request) -> str:
        if request.at is None:
            return ""
        return f"{request.at.astimezone(UTC):{pattern}}"

    return written


def _tag(name: str) -> Callable[[_Request], str]:
    return lambda request: request.tags.get(name, "")


_DIMENSIONS: dict[str, Callable[[_Request], str]] = {
    "project": _tag("project"),
    "client": _tag("client"),
    "film": lambda request: request.film,
    "month": _time("%Y-%m"),
    "day": _time("%Y-%m-%d"),
    "model": lambda request: request.entry.order.request.model,
    "mode": lambda request: request.entry.order.request.mode,
    "clip": lambda request: request.entry.clip_key,
}
DIMENSIONS = tuple(_DIMENSIONS)
"""What to group by, beside `tag.NAME`. `project` and `client` are tags, `film` is a film's slug,
`batch` and the id of a table, or `clip` and a clip's key; times are when the request was sent, in
UTC."""


def parse_dimensions(text: str) -> tuple[str, ...]:
    """Return the dimensions that a text such as `project,month` names.

    Raises `WrongReport` with what is possible, and with the nearest name.
    """
    by = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in by:
        if name in _DIMENSIONS or name.removeprefix(TAG_PREFIX) not in ("", name):
            continue
        suggestion = ""
        for near in get_close_matches(name.lower(), DIMENSIONS, n=1):
            suggestion = f"did you mean {near}? "
        raise WrongReport(
            f"there is nothing called {name[:60]!r} to report by; {suggestion}{_possible()}"
        )
    if not by:
        raise WrongReport(f"it is not said what to report by; {_possible()}")
    return by


def _possible() -> str:
    return f"possible are {', '.join(DIMENSIONS)}, and {TAG_PREFIX}NAME for a tag of your own"


@dataclass(frozen=True)
class Period:
    """The days whose requests are summed up, both included, in UTC; without an end, all there are.

    Raises `WrongReport` for one that ends before it begins.
    """

    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.until < self.since:
            raise WrongReport(f"{self.until} is before {self.since}: no day is meant")

    def has(self, at: datetime | None) -> bool:
        """Whether a request of this time is in it; one of unknown time is in no bounded period."""
        if self.since is None and self.until is None:
            return True
        if at is None:
            return False
        day = at.astimezone(UTC).date()
        return (self.since or day) <= day <= (self.until or day)


ALL_DAYS = Period()


@dataclass
class _Groups:
    """The sums so far."""

    by: Sequence[str]
    money: dict[tuple[str, ...], Money] = field(default_factory=dict)
    total: Money = field(default_factory=Money)

    def add(self, request: _Request) -> None:
        group = tuple(self._value(name, request) for name in self.by)
        self.money.setdefault(group, Money()).add(request.money)
        self.total.add(request.money)

    @staticmethod
    def _value(name: str, request: _Request) -> str:
        if name in _DIMENSIONS:
            return _DIMENSIONS[name](request)
        return request.tags.get(name.removeprefix(TAG_PREFIX), "")


def make_report(
    records: Iterable[Reported], by: Sequence[str], period: Period = ALL_DAYS
) -> Report:
    """Sum records up by dimensions of `parse_dimensions`. Memory grows with the groups only.

    What is paid is exactly the sum of `Entry.booked_usd`. A claim that has sent nothing is told by
    what it reserves; what certainly was not taken is left out.
    """
    groups = _Groups(by)
    for record in records:
        for request in _requests(record):
            if period.has(request.at):
                groups.add(request)
    rows = [Row(group, groups.money[group]) for group in sorted(groups.money)]
    unused = []
    for place, name in enumerate(by):
        is_tag = name.startswith(TAG_PREFIX) or name in ("project", "client")
        if is_tag and not any(row.group[place] for row in rows):
            unused.append(name.removeprefix(TAG_PREFIX))
    return Report(tuple(by), tuple(rows), groups.total, tuple(unused))


def _requests(record: Reported) -> Iterator[_Request]:
    """Yield every request of a clip: its earlier attempts, its late jobs, and its latest one."""
    entry = record.entry
    for attempt in entry.attempts:
        yield _of_attempt(attempt, entry)
    for late in entry.late_attempts:
        money = Money(requests=1, held_usd=late.at_most_usd)
        yield _Request(entry, entry.film, entry.tags, late.ended_at, money)
    latest = _latest(record)
    if latest is not None:
        at = entry.sent_at
        if at is None and entry.history:
            at = entry.history[0].at
        yield _Request(entry, entry.film, entry.tags, at, latest)


def _of_attempt(attempt: Attempt, entry: Entry) -> _Request:
    paid = attempt.charged_usd or NOTHING
    money = Money(requests=1, paid_usd=paid, wasted_usd=paid)
    if paid:
        money.estimated_usd = _listed(entry)
    if attempt.state == "failed":
        money.failed = 1
    is_open = attempt.state == "unknown" and attempt.charged_usd is None
    if is_open and not _is_named_late(attempt.claim, entry):
        money.held_usd = attempt.at_most_usd
    film = entry.film if attempt.film is None else attempt.film
    tags = entry.tags if attempt.tags is None else attempt.tags
    return _Request(entry, film, tags, attempt.sent_at or attempt.ended_at, money)


def _is_named_late(claim: str, entry: Entry) -> bool:
    """Whether the job of a request without one was named late: then it counts as that job."""
    return any(late.claim and claim.startswith(late.claim) for late in entry.late_jobs)


def _latest(record: Reported) -> Money | None:
    """Return the money of a clip's latest request; None if nothing was sent or taken for it."""
    entry = record.entry
    if entry.state is EntryState.RELEASED:
        return None
    if entry.state in _UNDER_WAY:
        has_left = entry.state not in BEFORE_A_JOB or entry.state in MAY_HAVE_LEFT
        return Money(requests=int(has_left), reserved_usd=entry.request_usd)
    match entry.state:
        case EntryState.HELD if entry.has_latest_among_attempts:
            # It is held for an earlier request: its latest one has failed.
            return None
        case EntryState.HELD:
            if entry.job_id is None and _is_named_late(entry.claim, entry):
                return None
            return Money(requests=1, held_usd=entry.request_usd)
        case EntryState.FAILED:
            return Money(requests=1, failed=1)
        case EntryState.GIVEN_UP:
            paid = entry.charged_usd or NOTHING
            money = Money(requests=1, paid_usd=paid, wasted_usd=paid)
            if paid:
                money.estimated_usd = _listed(entry)
            return money
    return _archived(record)


def _archived(record: Reported) -> Money:
    entry = record.entry
    money = Money(requests=1, clips=1, paid_usd=entry.charged_usd or NOTHING)
    money.estimated_usd = _listed(entry)
    if record.clip is not None:
        money.estimated_usd = record.clip.listed_usd
        money.charged_usd = record.clip.charged_usd or NOTHING
    if record.is_unused:
        money.unused_usd = money.paid_usd
    return money


def _listed(entry: Entry) -> Decimal:
    """Return the listed price of a clip's request; its worst one if the model is not known here."""
    try:
        return quote(entry.order.request).usd
    except ModelUnknown:
        return entry.request_usd
