"""Every kind of S3 failure, on every call about the ledger that a clip needs."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.submission import SubmitOptions
from tests.kill.crew import Api, resume
from tests.kill.fault_proxy import FORBIDDEN, LOST, RESET, UNAVAILABLE, FaultProxy, fault_proxy
from tests.kill.worker import ARCHIVED, Assignment, Outcome, Place
from tests.lane import rest_is_slow

ENDS = {(ARCHIVED, EntryState.ARCHIVED), ("ClipHeld", EntryState.HELD)}
STOPS = {"StorageUnavailable", "StorageRefused", "ClipHeld"}
UNTIL_BUSY = SubmitOptions(window=6.0, busy=0.0, look_again=0.1)
"""It does not queue for an API that is busy."""


@dataclass(frozen=True)
class Story:
    """One clip: which call went wrong, how both runs ended, and how many jobs were made."""

    task: Assignment
    call: str
    first: Outcome
    last: Outcome
    jobs: int


@pytest.fixture(scope="module")
def proxy(s3: LocalS3) -> Iterator[FaultProxy]:
    """The S3 server behind a proxy that can spoil calls."""
    with fault_proxy(s3.endpoint) as running:
        yield running


def make_through(
    tasks: Sequence[Assignment], proxy: FaultProxy, attempts: int = 1
) -> list[Outcome]:
    """Make clips in other processes, whose calls of the store go through the proxy.

    As many at once as may be between claim and job id, so that none of them is held up.
    """
    disturbed = []
    for task in tasks:
        s3 = replace(task.place.s3, endpoint=proxy.endpoint)
        disturbed.append(replace(task, place=replace(task.place, s3=s3, s3_attempts=attempts)))
    outcomes = resume(disturbed, at_once=4)
    return [outcomes[task.prompt] for task in tasks]


@pytest.fixture(scope="module")
def ledger_calls(proxy: FaultProxy, new_place: Callable[[int], Place]) -> list[str]:
    """The calls about the ledger that one clip needs when nothing goes wrong."""
    place = new_place(1)
    (outcome,) = make_through([Assignment(place, f"undisturbed {place.prefix}")], proxy)
    assert outcome.kind == ARCHIVED
    return list(proxy.calls[place.prefix])


# boto3 tries a failed call again by itself: with one attempt its caller meets the failure, with two
# only its traces. A refusal it does not try again.
@pytest.mark.parametrize(
    ("kind", "attempts"),
    rest_is_slow([(LOST, 1), (UNAVAILABLE, 1), (FORBIDDEN, 1), (RESET, 1), (LOST, 2)], (LOST, 1)),
)
def test_a_failing_store_never_makes_it_pay_twice(
    kind: str,
    attempts: int,
    api: Api,
    proxy: FaultProxy,
    ledger_calls: list[str],
    new_place: Callable[[int], Place],
) -> None:
    """The run recovers or stops with one job at most; the next one finishes or holds the clip."""
    tasks = [Assignment(new_place(1), f"disturbed {secrets.token_hex(6)}") for _ in ledger_calls]
    for number, task in enumerate(tasks):
        proxy.spoil(task.place.prefix, number, kind)
    first = make_through(tasks, proxy, attempts)
    # The first processes are gone for certain, so the next ones need not give them long.
    unfinished = [
        task for task, outcome in zip(tasks, first, strict=True) if outcome.kind != ARCHIVED
    ]
    second = resume(
        [replace(task, terms=replace(task.terms, window=2.0)) for task in unfinished], processes=1
    )
    jobs = Counter(job["body"]["prompt"] for job in api.read("jobs"))
    for number, (task, outcome) in enumerate(zip(tasks, first, strict=True)):
        call = f"{kind} at call {number}, {proxy.calls[task.place.prefix][number]}"
        check(Story(task, call, outcome, second.get(task.prompt, outcome), jobs[task.prompt]))
    if attempts > 1:
        assert {outcome.kind for outcome in first} == {ARCHIVED}


@pytest.fixture(scope="module")
def busy_calls(api: Api, proxy: FaultProxy, new_place: Callable[[int], Place]) -> list[str]:
    """The calls about the ledger that one clip needs whose request is not taken, the API busy."""
    place = new_place(1)
    with busy(api):
        (outcome,) = make_through(
            [Assignment(place, f"busy {place.prefix}", terms=UNTIL_BUSY)], proxy
        )
    assert outcome.kind == "Unavailable"
    return list(proxy.calls[place.prefix])


@contextmanager
def busy(api: Api) -> Iterator[None]:
    """The API takes no request until the block ends."""
    api.fault({"on": "create", "do": {"status": 429}, "times": None})
    try:
        yield
    finally:
        api.behave()


@pytest.mark.parametrize("kind", rest_is_slow([LOST, UNAVAILABLE, FORBIDDEN, RESET], LOST))
def test_a_failing_store_keeps_no_money_of_a_request_that_was_not_taken(
    kind: str,
    api: Api,
    proxy: FaultProxy,
    busy_calls: list[str],
    new_place: Callable[[int], Place],
) -> None:
    """Whatever it left, the next run has the whole cap, which is one clip's, for the same clip."""
    terms = replace(UNTIL_BUSY, window=2.0)
    tasks = [
        Assignment(new_place(1), f"not taken {secrets.token_hex(6)}", terms=terms)
        for _ in busy_calls
    ]
    for number, task in enumerate(tasks):
        proxy.spoil(task.place.prefix, number, kind)
    with busy(api):
        first = make_through(tasks, proxy)
    assert {outcome.kind for outcome in first} <= STOPS | {"Unavailable"}
    for number, task in enumerate(tasks):
        assert len(proxy.calls[task.place.prefix]) > number, "each call was met by its failure"
    patient = Assignment(tasks[0].place, "").terms
    second = resume(
        [replace(task, terms=replace(patient, window=2.0)) for task in tasks], processes=1
    )
    for task in tasks:
        outcome = second[task.prompt]
        version = task.place.archive().ledger.read(task.order.clip_key)
        assert version is not None
        assert (outcome.kind, version.entry.state) in ENDS, (task.prompt, outcome)
        if outcome.kind == ARCHIVED:
            accounts = task.place.archive().budget.accounts()
            assert accounts is not None
            assert accounts.reserved == {}


def check(story: Story) -> None:
    """One job at most; finished, or held with what is known about it."""
    archive, order = story.task.place.archive(), story.task.order
    page, accounts = archive.ledger.read(order.clip_key), archive.budget.accounts()
    assert page is not None, story
    assert story.jobs <= 1, story
    assert story.first.kind in {ARCHIVED} | STOPS, story
    assert (story.last.kind, page.entry.state) in ENDS, story
    # Once paid, the clip is finished or the person who is asked is told the job's id.
    assert story.jobs == 0 or story.last.kind == ARCHIVED or story.first.job_id, story
    if story.last.kind == ARCHIVED:
        assert accounts is not None, story
        assert accounts.reserved == {}, story
