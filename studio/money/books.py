"""What the account's own books say about held clips: one pure function over two readings.

A reading is what the API said of the account, and what the ledger held, at one time. Money that
left the account between two readings, and is the charge of no known job, was paid for requests
whose outcome is unknown. Where there is none, none of them was taken. Where it is the price of all
of them, all were, unless somebody else has spent just that much. Everything between, and everything
that is not exact, decides nothing.

That rests on one thing: that the API freezes the price of a job from its creation on. So each
reading needs a known running job whose exact price, and nothing else, shows as frozen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.money.record import NOTHING

WAIT = timedelta(hours=24)
"""How long after the sending of a request the second reading may decide about it."""
BOOKING_TIME = timedelta(hours=1)
"""How old a charged job must be: its charge may be told before it is taken from the account."""


class JobReading(BaseModel):
    """One known job: its price by the table, and what the API says of it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    job_id: str
    clip_key: str
    sent_at: datetime | None = None
    usd: Decimal | None = None
    """Its price by the table; None where that is not exact."""
    is_running: bool = False
    ended_at: datetime | None = None
    """When it was completed, by the API's clock."""
    charged_usd: Decimal | None = None
    """What `/records` says it cost; None until that is settled."""
    booked_usd: Decimal | None = None
    """What the ledger says it cost; None while that is open."""

    @property
    def moved_money_at(self) -> datetime | None:
        """When its money moved last, as far as is known."""
        return self.ended_at or self.sent_at


class UnknownRequest(BaseModel):
    """A request that may have been paid, and whose job is not known."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    clip_key: str
    claim: str
    sent_at: datetime | None = None
    usd: Decimal | None = None
    """Its price by the table; None where that is not exact."""
    is_decidable: bool = False
    """It holds its clip alone, names no job, its POST has ended, and this account was asked."""


class Reading(BaseModel):
    """What API and ledger said at one time; `ledger/readings/{time}.json`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    version: int = 1
    at: datetime
    sent_to: str
    """The API that was asked."""
    account: str
    """Salted fingerprint of the API key."""
    balance: Decimal
    total: Decimal | None = None
    frozen: Decimal | None = None
    currency: str = "USD"
    is_steady: bool = True
    """Whether the account said the same before and after the jobs were read."""
    jobs: tuple[JobReading, ...] = ()
    unknown: tuple[UnknownRequest, ...] = ()
    open_claims: tuple[str, ...] = ()
    """Clips that were being sent."""
    ledger_before: str
    """Fingerprint of all records before the API was asked."""
    ledger_after: str
    """The same after it had answered."""

    @property
    def is_whole(self) -> bool:
        """Whether the account tells total and frozen money, and the three sums agree."""
        if self.total is None or self.frozen is None:
            return False
        return self.total == self.balance + self.frozen

    @property
    def running(self) -> tuple[JobReading, ...]:
        """The known jobs that are under way."""
        return tuple(job for job in self.jobs if job.is_running)

    @property
    def running_usd(self) -> Decimal | None:
        """What the known running jobs cost by the table; None where that is not exact."""
        total = NOTHING
        for job in self.running:
            if job.usd is None:
                return None
            total += job.usd
        return total

    @property
    def charged_usd(self) -> Decimal:
        """What the API says that the known jobs have cost."""
        return sum((job.charged_usd or NOTHING for job in self.jobs), NOTHING)

    @property
    def misbooked(self) -> tuple[JobReading, ...]:
        """The jobs of which the ledger says another price than the API."""
        return tuple(
            job
            for job in self.jobs
            if job.booked_usd is not None
            and job.charged_usd is not None
            and job.booked_usd != job.charged_usd
        )

    def has_witness(self, sent_at: datetime) -> bool:
        """Whether a known job that was sent later than that is running."""
        return any(job.sent_at is not None and job.sent_at > sent_at for job in self.running)


class Obstacle(StrEnum):
    """Why two readings decide nothing."""

    OTHER_ACCOUNT = "other account"
    NOT_IN_USD = "not in usd"
    OUT_OF_ORDER = "out of order"
    UNSTEADY = "unsteady"
    LEDGER_MOVED = "ledger moved"
    BEING_SENT = "being sent"
    NO_TOTAL = "no total"
    NO_WITNESS = "no witness"
    FROZEN_DIFFERS = "frozen differs"
    NOT_SETTLED = "not settled"
    JUST_CHARGED = "just charged"
    OFF_TABLE = "off table"
    AGE_UNKNOWN = "age unknown"
    JOB_VANISHED = "job vanished"
    TOP_UP_UNKNOWN = "top-up unknown"
    TOTAL_GREW = "total grew"
    LESS_THAN_NOTHING = "less than nothing"
    BETWEEN = "between"


@dataclass(frozen=True)
class Decision:
    """What the books say of a held clip: `unpaid` is proven, `paid` in an account of ours alone."""

    clip_key: str
    claim: str
    verdict: Literal["unpaid", "paid"]


@dataclass(frozen=True)
class Books:
    """What two readings say together.

    `unexplained_usd`: what left the account between them and is no known job's charge, top-ups
    counted; None where the account tells no total. `unknown_usd`: the price of all requests that
    may be part of it.
    """

    first: Reading
    second: Reading
    unexplained_usd: Decimal | None
    unknown_usd: Decimal | None
    obstacles: tuple[Obstacle, ...]
    decisions: tuple[Decision, ...]


def decide(
    first: Reading,
    second: Reading,
    topped_up_usd: Decimal | None,
    between: Sequence[Reading] = (),
) -> Books:
    """Compare two readings, and decide about the requests that were sent between them.

    `topped_up_usd` is what a person says was put on the account between the readings, 0 included;
    None decides nothing. `between` are further readings from the same time: an account that grew
    from one to the next, more than was said, decides nothing. No I/O.
    """
    obstacles = list(_obstacles_of_a_pair(first, second))
    for reading in (first, second):
        obstacles += _obstacles_of_one(reading)
    unexplained = _unexplained(first, second, topped_up_usd or NOTHING)
    if topped_up_usd is None:
        obstacles.append(Obstacle.TOP_UP_UNKNOWN)
    elif _grew_by(first, second, between) > topped_up_usd:
        obstacles.append(Obstacle.TOTAL_GREW)

    requests = [each for each in second.unknown if _may_be_charged_after(each, first)]
    unknown = _sum_of(requests)
    verdict: Literal["unpaid", "paid"] | None = None
    if unexplained is not None and unexplained < 0:
        obstacles.append(Obstacle.LESS_THAN_NOTHING)
    elif unexplained == 0:
        verdict = "unpaid"
    elif unexplained is not None and unexplained == unknown:
        verdict = "paid"
    elif unexplained is not None:
        obstacles.append(Obstacle.BETWEEN)
    decisions: list[Decision] = []
    if verdict is not None and not obstacles:
        decisions = [
            Decision(request.clip_key, request.claim, verdict)
            for request in requests
            if _is_proven(request, first, second)
        ]
    return Books(
        first=first,
        second=second,
        unexplained_usd=unexplained,
        unknown_usd=unknown,
        obstacles=tuple(dict.fromkeys(obstacles)),
        decisions=tuple(decisions),
    )


def _obstacles_of_one(reading: Reading) -> Iterator[Obstacle]:
    if reading.currency != "USD":
        yield Obstacle.NOT_IN_USD
    if not reading.is_steady:
        yield Obstacle.UNSTEADY
    if reading.ledger_before != reading.ledger_after:
        yield Obstacle.LEDGER_MOVED
    if reading.open_claims:
        yield Obstacle.BEING_SENT
    if not reading.is_whole:
        yield Obstacle.NO_TOTAL
    if not reading.running:
        yield Obstacle.NO_WITNESS
    elif reading.frozen != reading.running_usd:
        yield Obstacle.FROZEN_DIFFERS
    for job in reading.jobs:
        if job.is_running:
            continue
        if job.charged_usd is None:
            yield Obstacle.NOT_SETTLED
        elif job.usd is not None and job.charged_usd not in (NOTHING, job.usd):
            yield Obstacle.OFF_TABLE
        if not job.charged_usd:
            continue
        if job.moved_money_at is None:
            yield Obstacle.AGE_UNKNOWN
        elif reading.at - job.moved_money_at < BOOKING_TIME:
            yield Obstacle.JUST_CHARGED


def _obstacles_of_a_pair(first: Reading, second: Reading) -> Iterator[Obstacle]:
    if (first.sent_to, first.account) != (second.sent_to, second.account):
        yield Obstacle.OTHER_ACCOUNT
    if first.at >= second.at:
        yield Obstacle.OUT_OF_ORDER
    known = {job.job_id for job in first.jobs}
    if known - {job.job_id for job in second.jobs}:
        yield Obstacle.JOB_VANISHED
    # A job that became known later, and was sent earlier, may have been charged before the first
    # reading.
    earlier_claims = {each.clip_key for each in first.unknown}
    for job in second.jobs:
        if job.job_id in known:
            continue
        if job.sent_at is None or job.sent_at <= first.at or job.clip_key in earlier_claims:
            yield Obstacle.AGE_UNKNOWN


def _unexplained(first: Reading, second: Reading, topped_up_usd: Decimal) -> Decimal | None:
    if first.total is None or second.total is None:
        return None
    left = first.total + topped_up_usd - second.total
    return left - (second.charged_usd - first.charged_usd)


def _grew_by(first: Reading, second: Reading, between: Sequence[Reading]) -> Decimal:
    """Return how much the account's total grew in all from one reading to the next."""
    inside = [each for each in between if first.at < each.at < second.at]
    steps = [first, *sorted(inside, key=lambda each: each.at), second]
    grown = NOTHING
    for earlier, later in pairwise(steps):
        if earlier.total is not None and later.total is not None:
            grown += max(NOTHING, later.total - earlier.total)
    return grown


def _may_be_charged_after(request: UnknownRequest, first: Reading) -> bool:
    """Whether a charge for a request may come after the first reading.

    Not where it was sent a day before, and a job sent later shows as frozen while it does not:
    then it was charged before, or never taken.
    """
    if request.sent_at is None or first.at - request.sent_at < WAIT:
        return True
    return not first.has_witness(request.sent_at)


def _sum_of(requests: Sequence[UnknownRequest]) -> Decimal | None:
    total = NOTHING
    for request in requests:
        if request.usd is None:
            return None
        total += request.usd
    return total


def _is_proven(request: UnknownRequest, first: Reading, second: Reading) -> bool:
    """Whether a request lies wholly between the readings, and is old enough to be seen by now."""
    if not request.is_decidable or request.sent_at is None:
        return False
    if request.sent_at <= first.at or second.at - request.sent_at < WAIT:
        return False
    if any(each.claim == request.claim for each in first.unknown):
        return False
    # Freezing may be late: only a job that was sent after the request, and shows, proves that the
    # request's job would show, too.
    return second.has_witness(request.sent_at)
