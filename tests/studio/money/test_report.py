"""A report sums up exactly what the ledger has booked, whatever became of the clips."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import WrongReport
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import Attempt, Entry, EntryState, LateJob
from prefect_kling.studio.money.report import (
    DIMENSIONS,
    Money,
    Period,
    Report,
    Reported,
    make_report,
    parse_dimensions,
)

LISTED = Decimal("0.1899")
NOVEMBER = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, 0, 1, tzinfo=UTC)


def entry(state: EntryState = EntryState.ARCHIVED, name: str = "A lamp", **said: Any) -> Entry:
    """The record of a clip of three seconds, sent in November."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=name, duration=3))
    facts: dict[str, Any] = {
        "clip_key": order.clip_key,
        "state": state,
        "order": order,
        "at_most_usd": LISTED,
        "claim": "c" * 32,
        "by": "test",
        "film": "dawn",
        "sending_since": NOVEMBER,
    }
    return Entry.model_validate(facts | said)


def attempt(state: str = "given_up", **said: Any) -> Attempt:
    """An earlier request of the same clip."""
    facts = {"number": 1, "claim": "a" * 32, "state": state, "at_most_usd": LISTED}
    return Attempt.model_validate(facts | said)


def report(*entries: Entry, by: str = "film") -> Report:
    """The report of some records."""
    return make_report(map(Reported, entries), parse_dimensions(by))


def test_a_period_has_its_first_and_its_last_day_in_utc() -> None:
    """Each request counts on its own day: an earlier attempt in November, the clip in December."""
    both = entry(
        sending_since=DECEMBER,
        charged_usd=LISTED,
        attempts=(attempt(charged_usd=Decimal("0.5"), sent_at=NOVEMBER),),
    )
    november = Period(date(2026, 11, 30), date(2026, 11, 30))
    december = Period(since=date(2026, 12, 1))
    parsed = parse_dimensions("film")
    assert make_report([Reported(both)], parsed, november).total.paid_usd == Decimal("0.5")
    assert make_report([Reported(both)], parsed, december).total.paid_usd == LISTED
    with pytest.raises(WrongReport, match="no day is meant"):
        Period(date(2026, 12, 1), date(2026, 11, 30))


def rows(report: Report) -> dict[str, Money]:
    """Its money by the words of each group."""
    return {" ".join(row.group): row.money for row in report.rows}


amounts = some.decimals("0", "2", places=4)
attempts = some.builds(
    attempt,
    state=some.sampled_from(["failed", "unknown", "given_up", "gone", "paid"]),
    charged_usd=some.none() | amounts,
    claim=some.sampled_from(["a" * 32, "b" * 32, "c" * 32]),
    film=some.none() | some.sampled_from(["dawn", "dusk", ""]),
)
entries = some.builds(
    entry,
    state=some.sampled_from(list(EntryState)),
    name=some.sampled_from(["A lamp", "A jug", "A mug"]),
    charged_usd=some.none() | amounts,
    attempts=some.lists(attempts, max_size=3).map(tuple),
    film=some.sampled_from(["dawn", "dusk", ""]),
    tags=some.dictionaries(some.sampled_from(["project", "client"]), some.text(max_size=3)),
    job_id=some.none() | some.just("clx1"),
)


@given(some.lists(entries, max_size=8), some.sets(some.sampled_from(DIMENSIONS), min_size=1))
def test_what_is_paid_is_what_the_records_have_booked(records: list[Entry], by: set[str]) -> None:
    """To the last digit, in all and in the rows together, by whatever it is grouped."""
    made = make_report(map(Reported, records), tuple(by))
    booked = sum((each.booked_usd for each in records), Decimal(0))
    assert made.total.paid_usd == booked
    assert sum((row.money.paid_usd for row in made.rows), Decimal(0)) == booked


@pytest.mark.parametrize(
    ("state", "said", "told"),
    [
        (EntryState.CLAIMED, {"sending_since": None}, {"reserved_usd": LISTED}),
        (EntryState.SENDING, {}, {"requests": 1, "reserved_usd": LISTED}),
        (EntryState.INTENT, {}, {"requests": 1, "reserved_usd": LISTED}),
        (EntryState.SUBMITTED, {"job_id": "j"}, {"requests": 1, "reserved_usd": LISTED}),
        (EntryState.HELD, {}, {"requests": 1, "held_usd": LISTED}),
        (EntryState.FAILED, {"job_id": "j"}, {"requests": 1, "failed": 1}),
    ],
)
def test_what_is_open_is_told_at_its_worst_price(
    state: EntryState, said: dict[str, Any], told: dict[str, Any]
) -> None:
    """And what has failed costs nothing."""
    assert report(entry(state, **said)).total == Money(**told)


def test_what_was_not_taken_is_left_out() -> None:
    """A request that was refused is nobody's cost."""
    assert report(entry(EntryState.RELEASED)).rows == ()


def test_what_was_paid_for_no_clip_is_wasted() -> None:
    """A clip that was given up, and the second video of an archived one."""
    given_up = entry(EntryState.GIVEN_UP, "one", charged_usd=LISTED)
    late = attempt("paid", charged_usd=Decimal("0.15"))
    made = report(given_up, entry(name="two", charged_usd=LISTED, attempts=(late,)))
    assert made.total.wasted_usd == LISTED + Decimal("0.15")
    assert made.total.paid_usd == 2 * LISTED + Decimal("0.15")
    assert made.total.estimated_usd == 3 * LISTED


def test_a_request_whose_job_was_named_late_is_held_once() -> None:
    """Its worst price and that of its job are the same money."""
    late = LateJob(job_id="late", claim="a" * 8, at=NOVEMBER)
    record = entry(
        EntryState.HELD,
        attempts=(attempt("unknown"),),
        late_jobs=(late,),
        at_most_usd=2 * LISTED,
        maybe_paid_usd=LISTED,
    )
    assert report(record).total.held_usd == 2 * LISTED


def test_each_request_counts_for_whoever_paid_it_when_it_was_sent() -> None:
    """A clip that one film gave up in November, and another film made in December."""
    first = attempt(charged_usd=LISTED, film="dusk", tags={"client": "Acme"}, sent_at=NOVEMBER)
    second = entry(charged_usd=Decimal("0.2"), sending_since=DECEMBER, attempts=(first,))
    found = rows(report(second, by="film,month,client"))
    assert {name: money.paid_usd for name, money in found.items()} == {
        "dawn 2026-12 ": Decimal("0.2"),
        "dusk 2026-11 Acme": LISTED,
    }


def test_an_attempt_of_an_earlier_version_counts_for_the_films_of_its_record() -> None:
    """Such records name one film, and no tags."""
    stored = json.loads(
        entry(charged_usd=LISTED, attempts=(attempt(charged_usd=LISTED),)).model_dump_json()
    )
    del stored["tags"]
    for name in ("film", "tags"):
        del stored["attempts"][0][name]
    found = rows(report(Entry.model_validate(stored), by="film,project"))
    assert {name: money.paid_usd for name, money in found.items()} == {"dawn ": 2 * LISTED}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("projct,month", "'projct'.* did you mean project"),
        ("Film", "did you mean film"),
        ("tag.", "'tag.'"),
        ("colour", "possible are project, client, film, .*tag.NAME"),
        (" , ", "not said what to report by"),
    ],
)
def test_what_there_is_nothing_to_report_by_is_refused(text: str, told: str) -> None:
    """With what was meant, before anything is read."""
    with pytest.raises(WrongReport, match=told):
        parse_dimensions(text)


def test_a_tag_of_ones_own_is_a_dimension_and_a_misspelled_one_is_told() -> None:
    """No record has it, so the column is empty."""
    made = report(entry(tags={"team": "blue"}, charged_usd=LISTED), by="tag.team,tag.taem,client")
    assert [row.group for row in made.rows] == [("blue", "", "")]
    assert made.unused_tags == ("taem", "client")
