"""The account really follows the jobs, and can be made to misbehave."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.conftest import Caller

Open = Callable[..., Caller]
PRICE = 0.1899


def account(caller: Caller) -> tuple[float, float, float]:
    """Total, frozen and free money."""
    data = caller.http.get("/balance").json()["data"]
    return data["total"], data["frozen"], data["balance"]


def record(caller: Caller, job_id: str) -> dict[str, Any]:
    """What a job cost."""
    data: dict[str, Any] = caller.http.get(f"/records/{job_id}").json()["data"]
    return data


def test_a_running_job_freezes_its_price_and_a_completed_one_is_charged(
    open_sandbox: Open,
) -> None:
    """The total falls only on completion, and by what the record says."""
    caller = open_sandbox(paints=False, balance_usd=10)
    job = caller.create("a kite [seconds:60]")
    assert account(caller) == (10, PRICE, 10 - PRICE)
    assert record(caller, job)["settled"] is False
    ended = caller.finish("a dune")["taskId"]
    assert account(caller) == (pytest.approx(10 - PRICE), PRICE, pytest.approx(10 - 2 * PRICE))
    assert record(caller, ended) | {"settled": True, "credits": PRICE} == record(caller, ended)


def test_a_job_takes_as_long_as_its_prompt_asks_for(open_sandbox: Open) -> None:
    """Whatever the settings say."""
    caller = open_sandbox(paints=False, render_seconds=(60, 60))
    assert caller.finish("a kite [seconds:0]")["state"] == "completed"


def test_late_freezing_shows_later_and_once(open_sandbox: Open) -> None:
    """The job runs, and nothing is frozen for it yet."""
    caller = open_sandbox(paints=False, balance_usd=10, freeze_after_seconds=3600)
    caller.create("a kite [seconds:60]")
    assert account(caller) == (10, 0, 10)
    caller.finish("a dune")
    assert account(caller) == (pytest.approx(10 - PRICE), 0, pytest.approx(10 - PRICE))


def test_without_freezing_money_moves_on_completion_only(open_sandbox: Open) -> None:
    """Running jobs do not show."""
    caller = open_sandbox(paints=False, balance_usd=10, freezes=False)
    caller.create("a kite [seconds:60]")
    assert account(caller) == (10, 0, 10)


def test_charges_off_the_table_show_in_records_and_account(open_sandbox: Open) -> None:
    """By turns, in percent."""
    caller = open_sandbox(paints=False, balance_usd=10, charge_percent=(200, 50))
    first, second = (caller.finish("a kite")["taskId"] for _ in range(2))
    assert record(caller, first)["credits"] == pytest.approx(0.0949)
    assert record(caller, second)["credits"] == pytest.approx(0.3798)
    assert account(caller)[0] == pytest.approx(10 - 0.0949 - 0.3798)


def test_the_account_can_be_topped_up_and_charged_for_other_work(open_sandbox: Open) -> None:
    """No job shows for either."""
    caller = open_sandbox(paints=False, balance_usd=10)
    url = f"{caller.sandbox.root_url}/sandbox/account"
    changed = caller.http.post(url, json={"top_up_usd": "5", "elsewhere_usd": "0.5"})
    assert changed.json()["total"] == 14.5
    assert account(caller) == (14.5, 0, 14.5)
    assert caller.http.post(url, json={"top_up_usd": "much"}).status_code == 400
    assert caller.sandbox.stats()["created"] == 0


def test_charges_that_cannot_be_are_refused(open_sandbox: Open) -> None:
    """At once, when the sandbox is made."""
    with pytest.raises(ValueError, match="charge_percent"):
        open_sandbox(charge_percent=())
