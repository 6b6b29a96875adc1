"""Downloading results."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_kling.sandbox import SandboxSettings


@pytest.fixture(scope="module")
def http() -> Any:
    """A client without a key."""
    with httpx.Client(trust_env=False) as client:
        yield client


def test_needs_no_key(caller: Any, http: httpx.Client) -> None:
    """A result is a video of declared length with an entity tag, for anyone who has the link."""
    reply = http.get(caller.link())
    assert (reply.status_code, reply.headers["content-type"]) == (200, "video/mp4")
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert reply.headers["etag"].startswith('"')
    assert reply.content[4:8] == b"ftyp"


def test_ranges(caller: Any, http: httpx.Client) -> None:
    """A range is served as such if the entity tag still holds, else the whole file."""
    link = caller.link()
    whole = http.get(link)
    size, tag = len(whole.content), whole.headers["etag"]
    part = http.get(link, headers={"Range": "bytes=1000-", "If-Range": tag})
    assert (part.status_code, part.content) == (206, whole.content[1000:])
    assert part.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    assert part.headers["etag"] == tag
    other = http.get(link, headers={"Range": "bytes=1000-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    beyond = http.get(link, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("status", [404, 403, 410])
def test_results_expire(open_sandbox: Any, status: int) -> None:
    """After the retention time a result is gone, while the job is still known."""
    caller = open_sandbox(retention_seconds=0, expired_status=status)
    data = caller.finish()
    reply = caller.http.get(data["resultUrls"][0])
    assert (reply.status_code, reply.json()["code"]) == (status, status)
    assert caller.poll(data["taskId"])["state"] == "completed"


def test_tokens_are_checked(caller: Any) -> None:
    """A link without its token, or with another, leads nowhere."""
    link = caller.link().partition("?")[0]
    assert [caller.http.get(link + query).status_code for query in ("", "?t=0000000000000000")] == [
        404,
        404,
    ]


def test_no_file_before_the_end(open_sandbox: Any) -> None:
    """A job that has not ended has no file, and an unknown job neither."""
    caller = open_sandbox(render_seconds=(60, 60))
    assert [
        caller.http.get(f"/files/{job}.mp4").status_code for job in (caller.create(), "clxnobody")
    ] == [404, 404]


def test_one_given_clip_is_every_jobs_result(
    open_sandbox: Any, http: httpx.Client, tmp_path: Path
) -> None:
    """Without painting, all links lead to the file in the settings; with painting it is refused."""
    clip = tmp_path / "given.mp4"
    clip.write_bytes(b"a video, or whatever a benchmark needs")
    caller = open_sandbox(paints=False, clip=clip)
    assert http.get(caller.link()).content == clip.read_bytes()
    assert http.get(caller.link()).content == clip.read_bytes()
    with pytest.raises(ValueError, match="paints"):
        SandboxSettings(clip=clip)
