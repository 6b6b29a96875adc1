"""What two readings of the account prove, told by readings alone: no store, no API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from prefect_kling.studio.money.books import (
    Books,
    JobReading,
    Obstacle,
    Reading,
    UnknownRequest,
    decide,
)

START = datetime(2030, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICE = Decimal("0.1899")
OTHER = Decimal("0.5118")
NONE = Decimal(0)


def running(name: str, sent_at: datetime, usd: Decimal = PRICE) -> JobReading:
    """A job that is under way."""
    return JobReading(job_id=name, clip_key=name, sent_at=sent_at, usd=usd, is_running=True)


def ended(name: str, sent_at: datetime, charged: Decimal = PRICE) -> JobReading:
    """A job that is settled."""
    return JobReading(
        job_id=name,
        clip_key=name,
        sent_at=sent_at,
        usd=PRICE,
        ended_at=sent_at,
        charged_usd=charged,
    )


def held(name: str, usd: Decimal | None = PRICE, **changes: Any) -> UnknownRequest:
    """A request whose answer was lost an hour after the first reading."""
    facts = {"sent_at": START + HOUR, "usd": usd, "is_decidable": True} | changes
    return UnknownRequest(clip_key=name, claim=f"claim of {name}", **facts)


def reading(
    at: datetime, total: Decimal | None, jobs: Any, unknown: Any = (), **changes: Any
) -> Reading:
    """What an account says that freezes exactly what runs."""
    frozen = sum((job.usd for job in jobs if job.is_running), NONE)
    facts = {
        "at": at,
        "sent_to": "https://api.example",
        "account": "a",
        "balance": (total or NONE) - frozen,
        "total": total,
        "frozen": frozen,
        "jobs": tuple(jobs),
        "unknown": tuple(unknown),
        "ledger_before": "same",
        "ledger_after": "same",
    }
    return Reading(**(facts | changes))


def first(**changes: Any) -> Reading:
    """The reading before anything was sent, but for the job that is running."""
    jobs = changes.pop("jobs", [running("one", START - HOUR / 2)])
    return reading(START, Decimal(100), jobs, **changes)


def second(unknown: Any, spent: Decimal = NONE, **changes: Any) -> Reading:
    """The reading a day later: the first job is charged, another one is running."""
    at = changes.pop("at", START + 26 * HOUR)
    jobs = changes.pop("jobs", [ended("one", START - HOUR / 2), running("two", at - HOUR / 4)])
    total = changes.pop("total", Decimal(100) - PRICE - spent)
    return reading(at, total, jobs, unknown, **changes)


def verdicts(books: Books) -> dict[str, str]:
    """What is said of each clip."""
    return {decision.clip_key: decision.verdict for decision in books.decisions}


def test_where_nothing_is_unexplained_every_held_clip_was_not_taken() -> None:
    """However many there are."""
    books = decide(first(), second([held("a"), held("b", OTHER)]), NONE)
    assert verdicts(books) == {"a": "unpaid", "b": "unpaid"}
    assert books.unexplained_usd == 0
    assert books.obstacles == ()


@pytest.mark.parametrize("taken", list(product([False, True], repeat=4)))
def test_no_clip_is_called_unpaid_that_was_paid_nor_the_reverse(taken: tuple[bool, ...]) -> None:
    """Whichever of four requests were taken: all or none is told, anything between is not."""
    prices = (PRICE, OTHER, PRICE, Decimal("1.92"))
    requests = [held(str(number), usd) for number, usd in enumerate(prices)]
    spent = sum((usd for usd, is_taken in zip(prices, taken, strict=True) if is_taken), NONE)
    found = verdicts(decide(first(), second(requests, spent), NONE))
    if not any(taken):
        assert set(found.values()) == {"unpaid"}
    elif all(taken):
        assert set(found.values()) == {"paid"}
    else:
        assert found == {}


CENT = Decimal("0.01")
LATER = START + 26 * HOUR
WITNESS = running("two", LATER - HOUR / 4)


@pytest.mark.parametrize(
    ("obstacle", "before", "after"),
    [
        (Obstacle.OTHER_ACCOUNT, {}, {"account": "b"}),
        (Obstacle.OTHER_ACCOUNT, {"sent_to": "https://other.example"}, {}),
        (Obstacle.NOT_IN_USD, {}, {"currency": "CNY"}),
        (Obstacle.UNSTEADY, {"is_steady": False}, {}),
        (Obstacle.UNSTEADY, {}, {"is_steady": False}),
        (Obstacle.LEDGER_MOVED, {"ledger_after": "other"}, {}),
        (Obstacle.LEDGER_MOVED, {}, {"ledger_after": "other"}),
        (Obstacle.BEING_SENT, {"open_claims": ("x",)}, {}),
        (Obstacle.BEING_SENT, {}, {"open_claims": ("x",)}),
        (Obstacle.NO_TOTAL, {"frozen": None}, {}),
        (Obstacle.NO_TOTAL, {}, {"total": None}),
        (Obstacle.NO_TOTAL, {}, {"balance": Decimal(100)}),
        (Obstacle.NO_WITNESS, {"jobs": []}, {}),
        (Obstacle.NO_WITNESS, {}, {"jobs": [ended("one", START)]}),
        (Obstacle.FROZEN_DIFFERS, {"frozen": NONE, "balance": Decimal(100)}, {}),
        (
            Obstacle.FROZEN_DIFFERS,
            {},
            {"frozen": PRICE + CENT, "balance": Decimal(100) - 2 * PRICE - CENT},
        ),
        (
            Obstacle.NOT_SETTLED,
            {},
            {"jobs": [JobReading(job_id="one", clip_key="one", sent_at=START), WITNESS]},
        ),
        (Obstacle.OFF_TABLE, {}, {"jobs": [ended("one", START, PRICE + CENT), WITNESS]}),
        (Obstacle.JUST_CHARGED, {}, {"jobs": [ended("one", LATER - HOUR / 2), WITNESS]}),
        (Obstacle.JOB_VANISHED, {}, {"jobs": [WITNESS]}),
        (
            Obstacle.AGE_UNKNOWN,
            {},
            {"jobs": [ended("one", START), ended("late", START - HOUR, NONE), WITNESS]},
        ),
        (Obstacle.LESS_THAN_NOTHING, {}, {"total": Decimal(100)}),
        (Obstacle.OUT_OF_ORDER, {}, {"at": START}),
    ],
)
def test_whatever_is_not_exact_decides_nothing(
    obstacle: Obstacle, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Each condition alone is enough, in either reading."""
    books = decide(first(**before), second([held("a")], **after), NONE)
    assert obstacle in books.obstacles
    assert books.decisions == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"sent_at": START - HOUR},
        {"sent_at": START + 3 * HOUR},
        {"sent_at": None},
        {"is_decidable": False},
    ],
)
def test_only_an_old_request_between_the_readings_is_decided(changes: dict[str, Any]) -> None:
    """None sent before the first, younger than a day, or perhaps still on its way."""
    books = decide(first(), second([held("a", **changes), held("b")]), NONE)
    assert verdicts(books) == {"b": "unpaid"}


def test_a_request_that_the_first_reading_knew_is_not_decided() -> None:
    """Whatever clock its sender had: its charge may be older than that reading."""
    known = held("a")
    assert decide(first(unknown=[known]), second([known]), NONE).decisions == ()


def test_only_a_job_sent_later_shows_that_a_request_would_show() -> None:
    """Where freezing is late, a job shows while that of a later request does not yet."""
    old = [ended("one", START - HOUR / 2), running("two", START + HOUR / 2)]
    assert decide(first(), second([held("a")], jobs=old), NONE).decisions == ()


def test_everything_in_doubt_counts_before_all_is_called_paid() -> None:
    """A request that cannot be decided may be the one that was paid."""
    requests = [held("a"), held("b", is_decidable=False)]
    assert verdicts(decide(first(), second(requests, PRICE), NONE)) == {}
    assert verdicts(decide(first(), second(requests, 2 * PRICE), NONE)) == {"a": "paid"}


def test_a_request_of_unknown_price_leaves_only_zero_to_be_told() -> None:
    """An edit costs what its input is long."""
    requests = [held("a"), held("b", None)]
    assert decide(first(), second(requests, PRICE), NONE).decisions == ()
    assert set(verdicts(decide(first(), second(requests), NONE)).values()) == {"unpaid"}


def test_a_request_that_was_charged_before_the_first_reading_or_never_is_no_part_of_the_sum() -> (
    None
):
    """It is a day older, and a job sent after it shows there while it does not."""
    old = held("old", sent_at=START - 30 * HOUR)
    found = decide(first(), second([held("a"), old], PRICE), NONE)
    assert verdicts(found) == {"a": "paid"}
    younger_than_witness = held("old", sent_at=START - HOUR / 4)
    assert decide(first(), second([held("a"), younger_than_witness], PRICE), NONE).decisions == ()


def test_a_top_up_is_told_or_nothing_is_decided() -> None:
    """What was put on the account would hide what was taken from it."""
    later = second([held("a")], total=Decimal(150) - PRICE)
    assert verdicts(decide(first(), later, Decimal(50))) == {"a": "unpaid"}
    assert decide(first(), later, NONE).decisions == ()
    assert Obstacle.TOP_UP_UNKNOWN in decide(first(), second([held("a")]), None).obstacles
    assert decide(first(), second([held("a")]), None).decisions == ()


def test_a_top_up_that_hides_a_charge_is_seen_by_a_reading_between() -> None:
    """The sum of two readings is as if nothing had happened; the account grew all the same."""
    between = reading(START + 12 * HOUR, Decimal(99), [WITNESS])
    later = second([held("a")])
    assert verdicts(decide(first(), later, NONE)) == {"a": "unpaid"}
    books = decide(first(), later, NONE, [between])
    assert books.obstacles == (Obstacle.TOTAL_GREW,)
    assert books.decisions == ()
