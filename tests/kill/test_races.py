"""Many processes that want the same clip, or the same money, at the same moment."""

import secrets
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.kill.conftest import PRICE
from tests.kill.crew import PROCESSES, Api, end_all
from tests.kill.worker import ARCHIVED, Assignment, Place


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_of_many_processes_one_pays(
    count: int, api: Api, new_place: Callable[[int], Place]
) -> None:
    """Processes that start one clip at the same moment send one request and share its job."""
    task = Assignment(new_place(1), f"raced for by {count} {secrets.token_hex(4)}")
    before = api.read("stats")["posts"]
    endings = end_all([task] * count, PROCESSES.Barrier(count))
    (job,) = api.jobs_of(task.prompt)
    assert api.read("stats")["posts"] - before == 1
    assert [
        ending.outcome and (ending.outcome.kind, ending.outcome.job_id) for ending in endings
    ] == [(ARCHIVED, job["id"])] * count


@pytest.mark.parametrize(
    ("processes", "clips"), [(6, 2), pytest.param(16, 5, marks=pytest.mark.slow)]
)
def test_a_cap_holds_against_many_processes(
    processes: int, clips: int, api: Api, new_place: Callable[[int], Place]
) -> None:
    """Of the clips raced for, as many are made as the cap pays for, by the API's account too."""
    place = new_place(clips)
    tasks = [
        Assignment(place, f"one of {processes} {number} {secrets.token_hex(4)}")
        for number in range(processes)
    ]
    before = Decimal(str(api.read("stats")["paid_usd"]))
    endings = end_all(tasks, PROCESSES.Barrier(len(tasks)))
    kinds = [ending.outcome.kind for ending in endings if ending.outcome]
    assert (kinds.count(ARCHIVED), kinds.count("OverBudget")) == (clips, processes - clips)
    assert Decimal(str(api.read("stats")["paid_usd"])) - before == PRICE * clips
    assert sum(len(api.jobs_of(task.prompt)) for task in tasks) == clips
    accounts = place.archive().budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (PRICE * clips, {})
