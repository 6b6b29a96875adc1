"""From accepted to ended, failures, callbacks and restarts."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from prefect_kling.sandbox.store import Job

DONE = Job(1, "clx", {"model": "kling-v3-omni"}, "", created=0, ready=1000, held=0, ended=1500)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (0, "pending"),
        (199, "pending"),
        (200, "processing"),
        (1499, "processing"),
        (1500, "completed"),
    ],
)
def test_states_follow_time(now: int, state: str) -> None:
    """A job is pending, then processing, and completed when its time is over and it is painted."""
    assert DONE.state(now) == state


def test_render_time_is_kept(open_sandbox: Any) -> None:
    """A job does not complete before its render time, even if it was painted long before."""
    caller = open_sandbox(render_seconds=(0.3, 0.4))
    data = caller.finish()
    assert data["completeTime"] - data["createTime"] >= 300


def test_seeds_decide(open_sandbox: Any) -> None:
    """The same seed gives the same job ids and the same bytes, another seed gives others."""
    first, second, third = (open_sandbox(seed=seed) for seed in (7, 7, 8))
    ids = [[caller.create("a"), caller.create("b")] for caller in (first, second, third)]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])
    clips = [
        caller.http.get(caller.wait(ids[0][0])["resultUrls"][0]).content
        for caller in (first, second)
    ]
    assert clips[0] == clips[1]


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("CONTENT_MODERATION", False),
        ("INVALID_INPUT", False),
        ("UPSTREAM_BUSY", True),
        ("UPSTREAM_FAILED", True),
        ("TIMEOUT", True),
        ("INTERNAL_ERROR", True),
        ("OTHER", True),
    ],
)
def test_failures_on_order(caller: Any, code: str, retryable: bool) -> None:
    """A word in the prompt makes the job fail with that code and the advice that belongs to it."""
    data = caller.finish(f"a fox [fail:{code}] in snow")
    assert (data["state"], data["failCode"], data["retryable"]) == ("failed", code, retryable)


def test_part_fails_too(caller: Any) -> None:
    """The fail word works in a part of a multi-shot prompt."""
    parts = [{"prompt": "calm", "duration": "2"}, {"prompt": "[fail:OTHER]", "duration": "1"}]
    data = caller.finish(multi_shot=True, shot_type="customize", multi_prompt=json.dumps(parts))
    assert data["failCode"] == "OTHER"


def test_unusable_pictures(caller: Any, shelf: Any) -> None:
    """A job fails if a picture is missing, unreachable, damaged, too large or of another kind."""
    shelf.put("whole.png", Image.new("RGB", (300, 300)))
    addresses = [
        f"{shelf.url}/missing.png",
        "http://127.0.0.1:1/closed.png",
        shelf.put("cut.png", shelf.files["/whole.png"][:200]),
        shelf.put("text.png", b"hello"),
        shelf.put("anim.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
        shelf.put("large.png", bytes(10_000_001)),
    ]
    ids = [caller.create(image_list=[{"image_url": address}]) for address in addresses]
    ends = [caller.wait(job_id) for job_id in ids]
    assert [(end["state"], end["failCode"], end["retryable"]) for end in ends] == [
        ("failed", "INVALID_INPUT", False)
    ] * 6


def test_unusable_videos(caller: Any, shelf: Any) -> None:
    """A job fails if a video is damaged, is no video, or is longer than ten seconds."""
    long = caller.http.get(caller.link(duration="12")).content
    addresses = [
        shelf.put("long.mp4", long),
        shelf.put("text.mp4", b"hello"),
        shelf.put("half.mp4", long[:500]),
        shelf.put("picture.mp4", Image.new("RGB", (300, 300))),
    ]
    ids = [
        caller.create(video_list=[{"video_url": address, "refer_type": kind}])
        for address in addresses
        for kind in ("feature", "base")
    ]
    ends = [caller.wait(job_id) for job_id in ids]
    assert {(end["state"], end["failCode"]) for end in ends} == {("failed", "INVALID_INPUT")}
    assert "lasts 12.0 s" in ends[0]["failMsg"]


def test_callback(open_sandbox: Any, shelf: Any) -> None:
    """The callback says what a poll says, also of a failed job, and its answer does not matter."""
    caller = open_sandbox()
    for prompt in ("a fox", "[fail:OTHER]"):
        job_id = caller.create(prompt, callback_url=f"{shelf.url}/done")
        told = json.loads(shelf.posted.get(timeout=20))
        assert told == {"code": 200, "msg": "success", "data": caller.poll(job_id)}


def test_callback_is_made_once(open_sandbox: Any, shelf: Any, tmp_path: Path) -> None:
    """A restart does not repeat callbacks, and makes those that were still due."""
    caller = open_sandbox(folder=tmp_path)
    done = caller.create(callback_url=f"{shelf.url}/done")
    assert json.loads(shelf.posted.get(timeout=20))["data"]["taskId"] == done
    caller.sandbox.stop()
    slow = open_sandbox(folder=tmp_path, render_seconds=(1, 1))
    due = slow.create(callback_url=f"{shelf.url}/done")
    slow.sandbox.stop()
    open_sandbox(folder=tmp_path)
    assert json.loads(shelf.posted.get(timeout=20))["data"]["taskId"] == due


def test_unreachable_callback(open_sandbox: Any) -> None:
    """Nobody at the callback address harms nothing."""
    caller = open_sandbox()
    assert caller.finish(callback_url="http://127.0.0.1:1/done")["state"] == "completed"
    assert caller.finish()["state"] == "completed"


def test_restart_keeps_finished_jobs(open_sandbox: Any, tmp_path: Path) -> None:
    """After a restart on the same folder jobs, files, links, money and numbers are as before."""
    caller = open_sandbox(folder=tmp_path)
    before = caller.finish()
    data = caller.http.get(before["resultUrls"][0]).content
    painted = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()}
    caller.sandbox.stop()
    again = open_sandbox(folder=tmp_path)
    after = again.poll(before["taskId"])
    assert {**after, "resultUrls": []} == {**before, "resultUrls": []}
    assert again.http.get(after["resultUrls"][0]).content == data
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()} == painted
    assert (again.sandbox.stats()["paid_usd"], again.sandbox.stats()["created"]) == (0.1899, 1)
    assert again.create() != before["taskId"]


def test_restart_goes_on_with_open_jobs(open_sandbox: Any, tmp_path: Path) -> None:
    """A job that was not painted when the sandbox stopped is painted by the next one."""
    caller = open_sandbox(folder=tmp_path, short_side=None)
    job_id = caller.create(mode="pro", duration="15")
    caller.sandbox.stop()
    assert list((tmp_path / "clips").iterdir()) == []
    again = open_sandbox(folder=tmp_path, short_side=90, balance_usd=10)
    assert again.http.get("/balance").json()["data"]["frozen"] == 1.2795
    assert again.wait(job_id)["state"] == "completed"


def test_same_request_is_painted_once(open_sandbox: Any) -> None:
    """Without job ids in the picture, equal requests are separate jobs that share one file."""
    caller = open_sandbox(stamp_job_id=False)
    links = [caller.link(), caller.link(), caller.link(prompt="other")]
    tags = [httpx.get(link, trust_env=False).headers["etag"] for link in links]
    assert (len(set(links)), tags[0] == tags[1], tags[0] == tags[2]) == (3, True, False)
    assert caller.sandbox.stats()["created"] == 3


def test_new_bytes_are_new_pictures(open_sandbox: Any, shelf: Any) -> None:
    """Equal requests whose input changed behind its address are painted anew."""
    caller, tags = open_sandbox(stamp_job_id=False), []
    for color in ("red", "blue"):
        address = shelf.put("a.png", Image.new("RGB", (320, 180), color))
        link = caller.link(image_list=[{"image_url": address}])
        tags.append(httpx.get(link, trust_env=False).headers["etag"])
    assert tags[0] != tags[1]
