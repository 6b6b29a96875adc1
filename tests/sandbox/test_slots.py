"""How many jobs may run at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

BODY = {"model": "kling-v3-omni", "prompt": "a fox", "duration": "3"}
FOR_EVER = {"render_seconds": (600, 600)}
FULL = {"code": 429, "msg": "Too Many Requests - parallel task over resource pack limit (1303)"}


def order(caller: Any, **more: Any) -> httpx.Response:
    """Try to start a job."""
    reply: httpx.Response = caller.http.post("/video/generations", json=BODY | more)
    return reply


def crowd(caller: Any) -> tuple[int, int, int]:
    """Return how many jobs there are, ran at once at most, and were refused for lack of a slot."""
    stats = caller.sandbox.stats()
    return stats["created"], stats["peak"], stats["turned_away"]


def test_one_too_many(open_sandbox: Any) -> None:
    """One job more than there are slots is answered 429, and is neither made nor charged."""
    caller = open_sandbox(slots=2, **FOR_EVER)
    caller.create()
    caller.create()
    frozen = caller.http.get("/balance").json()["data"]["frozen"]
    reply = order(caller)
    assert (reply.status_code, reply.json(), "retry-after" in reply.headers) == (429, FULL, False)
    assert crowd(caller) == (2, 2, 1)
    assert caller.http.get("/balance").json()["data"]["frozen"] == frozen


def test_no_limit(open_sandbox: Any) -> None:
    """Without slots set any number of jobs may run, and the highest number is told."""
    caller = open_sandbox(**FOR_EVER)
    for _ in range(12):
        caller.create()
    assert crowd(caller) == (12, 12, 0)


@pytest.mark.parametrize(
    ("prompt", "end"), [("a fox", "completed"), ("a fox [fail:OTHER]", "failed")]
)
def test_slot_is_free_when_the_state_says_so(open_sandbox: Any, prompt: str, end: str) -> None:
    """A job holds its slot exactly until its state is completed or failed."""
    caller = open_sandbox(slots=1, render_seconds=(0.3, 0.3))
    first, status = caller.create(prompt), 429
    while status == 429:
        before = caller.poll(first)["state"]
        status = order(caller).status_code
        after = caller.poll(first)["state"]
        assert (before == end, after == end) in {(False, False), (False, True), (True, True)}
        assert (status == 200) >= (before == end)
        assert (status == 200) <= (after == end)
    assert (status, crowd(caller)[:2]) == (200, (2, 1))


def test_peak_is_not_the_sum(open_sandbox: Any) -> None:
    """Jobs one after the other never ran at once."""
    caller = open_sandbox()
    for _ in range(3):
        caller.finish()
    assert crowd(caller) == (3, 1, 0)


def test_crowd_at_the_door(open_sandbox: Any) -> None:
    """Of many calls in the same moment as many get in as there are slots."""
    caller = open_sandbox(slots=3, **FOR_EVER)
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda _: order(caller).status_code, range(12)))
    assert sorted(statuses) == [200] * 3 + [429] * 9
    assert crowd(caller) == (3, 3, 9)


def test_restart_keeps_slots_taken(open_sandbox: Any, tmp_path: Path) -> None:
    """After a restart a job that is still running uses its slot, and one that ended does not."""
    caller = open_sandbox(slots=2, folder=tmp_path)
    caller.finish()
    caller.sandbox.stop()
    slow = open_sandbox(slots=2, folder=tmp_path, **FOR_EVER)
    slow.create()
    slow.sandbox.stop()
    again = open_sandbox(slots=1, folder=tmp_path)
    assert crowd(again) == (2, 1, 0)
    assert order(again).status_code == 429


def test_other_refusals_come_first(open_sandbox: Any) -> None:
    """A bad request, a wrong key and an empty account are told even when all slots are taken."""
    caller = open_sandbox(slots=1, balance_usd="0.3", **FOR_EVER)
    caller.create()
    stranger = httpx.post(
        f"{caller.sandbox.base_url}/video/generations", json=BODY, trust_env=False
    )
    statuses = [
        stranger.status_code,
        order(caller, mode="4k").status_code,
        order(caller).status_code,
    ]
    assert statuses == [401, 400, 402]
    assert crowd(caller) == (1, 1, 0)
