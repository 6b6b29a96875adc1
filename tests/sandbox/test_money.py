"""Prices, balance and records."""

from decimal import Decimal
from typing import Any

import pytest

from prefect_kling.sandbox.prices import price_of, worst_price

KEEP = [{"video_url": "http://x.test/v", "refer_type": "feature", "keep_original_sound": "yes"}]
MUTE = [{"video_url": "http://x.test/v", "refer_type": "feature", "keep_original_sound": "no"}]
EDIT = [{"video_url": "http://x.test/v", "refer_type": "base", "keep_original_sound": "no"}]

# The page's tables for clips of 10 seconds.
TEN_SECONDS = [
    ("kling-video-o1", {}, "0.633"),
    ("kling-video-o1", {"sound": "on"}, "0.956"),
    ("kling-video-o1", {"mode": "pro"}, "0.853"),
    ("kling-video-o1", {"mode": "pro", "sound": "on"}, "1.280"),
    ("kling-video-o1", {"video_list": KEEP}, "0.633"),
    ("kling-v3-omni", {}, "0.633"),
    ("kling-v3-omni", {"video_list": MUTE}, "0.633"),
    ("kling-v3-omni", {"video_list": KEEP}, "0.853"),
    ("kling-v3-omni", {"sound": "on"}, "0.956"),
    ("kling-v3-omni", {"mode": "pro"}, "0.853"),
    ("kling-v3-omni", {"mode": "pro", "video_list": KEEP}, "1.059"),
    ("kling-v3-omni", {"mode": "pro", "sound": "on"}, "1.280"),
]


@pytest.mark.parametrize(("model", "more", "usd"), TEN_SECONDS)
def test_price_table(model: str, more: dict[str, Any], usd: str) -> None:
    """Each row of the page's price table is charged per second."""
    body = {"model": model, "duration": "10"} | more
    assert price_of(body, 10) == worst_price(body) == Decimal(usd)


@pytest.mark.parametrize(("seconds", "charged"), [(3.04, 3), (4.5, 5), (4.49, 4), (9.9, 10)])
def test_edits_pay_for_their_input(seconds: float, charged: int) -> None:
    """An edit pays for the whole seconds of its input, and freezes ten seconds until then."""
    body = {"model": "kling-v3-omni", "duration": "3", "video_list": EDIT}
    assert (price_of(body, seconds), worst_price(body)) == (
        Decimal("0.0633") * charged,
        Decimal("0.633"),
    )


def balance(caller: Any) -> dict[str, Any]:
    """Read the account."""
    data: dict[str, Any] = caller.http.get("/balance").json()["data"]
    return data


def record(caller: Any, job_id: str) -> dict[str, Any]:
    """Read what a job cost."""
    data: dict[str, Any] = caller.http.get(f"/records/{job_id}").json()["data"]
    return data


def test_running_jobs_freeze_money(open_sandbox: Any) -> None:
    """A running job holds its price, is not settled, and is not paid."""
    caller = open_sandbox(balance_usd=10, render_seconds=(60, 60))
    job_id = caller.create(mode="pro", duration="10")
    assert balance(caller) == {"balance": 9.147, "total": 10.0, "frozen": 0.853, "currency": "USD"}
    assert record(caller, job_id) == {
        "task_id": job_id,
        "model": "kling-video/kling-v3-omni",
        "state": "pending",
        "settled": False,
        "credits": None,
        "currency": "USD",
    }
    assert caller.sandbox.stats()["paid_usd"] == 0


def test_completed_jobs_are_paid(open_sandbox: Any) -> None:
    """A completed job is paid once, however often it is read."""
    caller = open_sandbox(balance_usd=10)
    job_id = caller.finish(sound="on")["taskId"]
    for _ in range(3):
        caller.wait(job_id)
    assert balance(caller) == {"balance": 9.7132, "total": 9.7132, "frozen": 0.0, "currency": "USD"}
    settled = {name: record(caller, job_id)[name] for name in ("state", "settled", "credits")}
    assert settled == {"state": "completed", "settled": True, "credits": 0.2868}
    assert caller.sandbox.stats()["paid_usd"] == 0.2868


def test_failed_jobs_are_free(open_sandbox: Any) -> None:
    """A failed job gives back what it held and is settled at zero."""
    caller = open_sandbox(balance_usd=10)
    job_id = caller.finish("[fail:TIMEOUT]")["taskId"]
    assert balance(caller) == {"balance": 10.0, "total": 10.0, "frozen": 0.0, "currency": "USD"}
    assert (record(caller, job_id)["settled"], record(caller, job_id)["credits"]) == (True, 0.0)


def test_edit_is_charged_by_its_input(open_sandbox: Any) -> None:
    """The real charge of an edit follows the fetched video."""
    caller = open_sandbox()
    video = caller.link(duration="4")
    job_id = caller.finish(duration="10", video_list=[{"video_url": video, "refer_type": "base"}])[
        "taskId"
    ]
    assert record(caller, job_id)["credits"] == 0.2532


def test_empty_account(open_sandbox: Any) -> None:
    """A job that could cost more than is free is refused with 402, even if the total suffices."""
    caller = open_sandbox(balance_usd="0.3", render_seconds=(60, 60))
    caller.create()
    body = {"model": "kling-v3-omni", "prompt": "another", "duration": "3"}
    reply = caller.http.post("/video/generations", json=body)
    assert (reply.status_code, reply.json()) == (
        402,
        {"code": 402, "msg": "Payment Required - Insufficient credits"},
    )
    assert caller.sandbox.stats()["created"] == 1
