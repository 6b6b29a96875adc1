"""Many processes that want the same clip, or the same money, at the same moment."""

import secrets
from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.kill.conftest import PRICE
from tests.kill.crew import PROCESSES, Api, end_all
from tests.kill.worker import ARCHIVED, Assignment, Place


@pytest.mark.parametrize("count", [2, 16])
def test_of_many_processes_one_pays(
    count: int, api: Api, new_place: Callable[[int], Place]
) -> None:
    """Processes that start one clip at the same moment send one request, and all end with its one job."""
    task = Assignment(new_place(1), f"raced for by {count} {secrets.token_hex(4)}")
    before = api.read("stats")["posts"]
    endings = end_all([task] * count, PROCESSES.Barrier(count))
    (job,) = api.jobs_of(task.prompt)
    assert api.read("stats")["posts"] - before == 1
    assert [
        ending.outcome and (ending.outcome.kind, ending.outcome.job_id) for ending in endings
    ] == [(ARCHIVED, job["id"])] * count


def test_a_cap_holds_against_sixteen_processes(api: Api, new_place: Callable[[int], Place]) -> None:
    """Of sixteen clips raced for under a cap for five, five are made; the API's own account agrees."""
    place = new_place(5)
    tasks = [
        Assignment(place, f"one of sixteen {number} {secrets.token_hex(4)}") for number in range(16)
    ]
    before = Decimal(str(api.read("stats")["paid_usd"]))
    endings = end_all(tasks, PROCESSES.Barrier(len(tasks)))
    kinds = [ending.outcome.kind for ending in endings if ending.outcome]
    assert (kinds.count(ARCHIVED), kinds.count("OverBudget")) == (5, 11)
    assert Decimal(str(api.read("stats")["paid_usd"])) - before == PRICE * 5
    assert sum(len(api.jobs_of(task.prompt)) for task in tasks) == 5
    accounts = place.archive().budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (PRICE * 5, {})
