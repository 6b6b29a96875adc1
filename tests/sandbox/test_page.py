"""The routes, examples and error codes of the operator's page."""

import json
import shutil
import subprocess
from typing import Any

import httpx
import pytest

# Byte for byte as on the page, with its address and its key.
PAGE_EXAMPLE = r"""curl -X POST https://apimodels.app/api/v1/video/generations \
-H "Authorization: Bearer YOUR_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"model": "kling-video-o1",
"prompt": "A girl dancing on the beach at sunset, cinematic lighting",
"mode": "std",
"duration": "5",
"aspect_ratio": "16:9"
}'"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_page_example_by_curl(caller: Any) -> None:
    """The page's curl command works with nothing but its address and key replaced."""
    command = PAGE_EXAMPLE.replace("https://apimodels.app/api/v1", caller.sandbox.base_url)
    command = command.replace("YOUR_API_KEY", caller.sandbox.key).replace(
        "curl ", "curl -sS --noproxy '*' ", 1
    )
    answer = json.loads(
        subprocess.run(["bash", "-c", command], check=True, capture_output=True).stdout
    )
    job_id = answer["data"]["taskId"]
    assert answer == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": job_id, "state": "pending", "model": "kling-video/kling-video-o1"},
    }
    assert caller.wait(job_id)["state"] == "completed"


def test_job_ids(caller: Any) -> None:
    """Job ids look like the page's."""
    job_id = caller.create()
    assert (job_id[:3], len(job_id), job_id.isalnum(), job_id.islower()) == ("clx", 25, True, True)


def test_success_response(caller: Any) -> None:
    """A completed job is told exactly in the page's shape."""
    job_id = caller.create()
    data = caller.wait(job_id)
    link, started, ended = data["resultUrls"][0], data["createTime"], data["completeTime"]
    reply = caller.http.get("/video/generations", params={"task_id": job_id})
    assert reply.json() == {
        "code": 200,
        "msg": "success",
        "data": {
            "taskId": job_id,
            "state": "completed",
            "model": "kling-video/kling-v3-omni",
            "resultUrls": [link],
            "createTime": started,
            "completeTime": ended,
        },
    }
    assert started <= ended
    assert link.startswith(f"{caller.sandbox.base_url}/files/{job_id}.mp4?t=")


def test_failed_response(caller: Any) -> None:
    """A failed job has the page's failMsg, and the code and advice seen in the wild."""
    data = caller.finish("blood [fail:CONTENT_MODERATION]")
    assert data == {
        "taskId": data["taskId"],
        "state": "failed",
        "model": "kling-video/kling-v3-omni",
        "failMsg": "Content policy violation",
        "failCode": "CONTENT_MODERATION",
        "retryable": False,
    }


def test_open_response(open_sandbox: Any) -> None:
    """A job that has not ended shows no result and no end."""
    caller = open_sandbox(render_seconds=(60, 60))
    job_id = caller.create()
    assert caller.poll(job_id) == {
        "taskId": job_id,
        "state": "pending",
        "model": "kling-video/kling-v3-omni",
    }


@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer sk_wrong"}, {"Authorization": "sk_sandbox0000000000000"}],
)
@pytest.mark.parametrize("path", ["/video/generations?task_id=x", "/balance", "/records/x"])
def test_key_is_checked(caller: Any, path: str, header: dict[str, str]) -> None:
    """Without the right bearer key every API route answers 401 in the page's envelope."""
    reply = httpx.get(caller.sandbox.base_url + path, headers=header, trust_env=False)
    assert (reply.status_code, reply.json()) == (
        401,
        {"code": 401, "msg": "Unauthorized - Invalid API key"},
    )


def test_key_is_checked_before_the_body(caller: Any) -> None:
    """A create call with a wrong key makes no job."""
    before = caller.sandbox.stats()["created"]
    reply = httpx.post(
        f"{caller.sandbox.base_url}/video/generations", json={"model": "x"}, trust_env=False
    )
    assert (reply.status_code, caller.sandbox.stats()["created"]) == (401, before)


def test_key_can_be_set(open_sandbox: Any) -> None:
    """The sandbox accepts the key it was given."""
    caller = open_sandbox(key="sk_another0000000000000")
    assert caller.http.get("/balance").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/video/generations", 400, "task_id is required"),
        ("/video/generations?taskId=x", 400, "task_id is required"),
        ("/video/generations?task_id=clxnobody", 404, "Not Found - Task ID not found"),
        ("/records/clxnobody", 404, "Not Found - Task ID not found"),
        ("/video/generations/clxnobody", 404, "Not Found - check the base URL"),
    ],
)
def test_bad_reads(caller: Any, path: str, status: int, message: str) -> None:
    """Reads that cannot be answered say so with the same number as status and code."""
    reply = caller.http.get(path)
    assert (reply.status_code, reply.json()) == (status, {"code": status, "msg": message})


def test_bad_create_names_everything(caller: Any) -> None:
    """A refused create lists all violations in msg and makes no job."""
    before = caller.sandbox.stats()["created"]
    reply = caller.http.post(
        "/video/generations", json={"model": "kling-v3-omni", "duration": 5, "seed": 1}
    )
    message = "Bad Request - duration must be a string; unknown parameter seed"
    assert (reply.status_code, reply.json()) == (400, {"code": 400, "msg": message})
    assert caller.sandbox.stats()["created"] == before


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]"])
def test_unreadable_create(caller: Any, body: bytes) -> None:
    """A body that is no JSON object is a bad request, not a crash."""
    reply = caller.http.post("/video/generations", content=body)
    assert (reply.status_code, reply.json()["code"]) == (400, 400)


def test_stats(open_sandbox: Any) -> None:
    """The statistics count calls and jobs, refused calls included."""
    caller = open_sandbox()
    link = caller.link(sound="on")
    caller.finish("[fail:OTHER]")
    caller.http.post("/video/generations", json={})
    caller.http.get(link)
    stats = httpx.get(f"{caller.sandbox.root_url}/sandbox/stats", trust_env=False).json()
    assert stats.pop("polled") >= 2
    jobs = {
        "created": 2,
        "completed": 1,
        "failed": 1,
        "peak": 1,
        "turned_away": 0,
        "paid_usd": 0.2868,
    }
    assert stats == jobs | {"posts": 3, "downloads": 1, "uploads": 0}


def test_jobs_are_listed(open_sandbox: Any) -> None:
    """The job list shows each job with its body, state and cost, and when it began and ended."""
    caller = open_sandbox()
    job_id = caller.finish("a fox")["taskId"]
    listed = httpx.get(f"{caller.sandbox.root_url}/sandbox/jobs", trust_env=False).json()
    assert listed[0].pop("created") <= listed[0].pop("ended") <= listed[0].pop("told")
    body = {"model": "kling-v3-omni", "prompt": "a fox", "duration": "3"}
    assert listed == [{"id": job_id, "state": "completed", "cost": 0.1899, "body": body}]
