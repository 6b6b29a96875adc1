"""Faults, as a plain client sees them."""

import io
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest

BODY = {"model": "kling-v3-omni", "prompt": "a fox", "duration": "3"}


def order(caller: Any, *rules: dict[str, Any]) -> httpx.Response:
    """Order faults over HTTP."""
    reply: httpx.Response = caller.http.post(
        f"{caller.sandbox.root_url}/sandbox/faults", json=rules
    )
    return reply


def until_broken(reply: httpx.Response) -> Iterator[bytes]:
    """Yield what arrives until the connection breaks, which it must."""
    try:
        yield from reply.iter_raw()
    except httpx.RemoteProtocolError:
        return
    raise AssertionError("the download ended well")


def test_status(caller: Any) -> None:
    """A status is answered with the envelope, as often as the rule says, and then no more."""
    assert order(caller, {"on": "balance", "do": {"status": 503}, "times": 2}).status_code == 200
    replies = [caller.http.get("/balance") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [503, 503, 200]
    assert replies[0].json()["code"] == 503


def test_status_with_body(caller: Any) -> None:
    """A status can bring a body of its own and a Retry-After."""
    order(caller, {"on": "get", "do": {"status": 429, "body": "slow down", "retry_after": 2}})
    reply = caller.http.get("/video/generations", params={"task_id": "x"})
    assert (reply.status_code, reply.text, reply.headers["retry-after"]) == (429, "slow down", "2")


@pytest.mark.parametrize(
    "body",
    [{"code": 1299, "data": {"taskId": "clx1", "state": None}}, [], 17, False, "not JSON"],
)
@pytest.mark.parametrize("status", [201, 302, 418, 499, 599])
def test_any_status_with_any_body(open_sandbox: Any, status: int, body: Any) -> None:
    """A create call can be answered with any status and any JSON or text after the job was made."""
    caller = open_sandbox()
    rule = {"on": "create", "do": {"status": status, "body": body}, "after_commit": True}
    assert order(caller, rule).json()[0]["do"] == rule["do"]
    reply = caller.http.post("/video/generations", json=BODY)
    answered = reply.text if isinstance(body, str) else reply.json()
    assert (reply.status_code, answered) == (status, body)
    assert caller.sandbox.stats()["created"] == 1


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(caller: Any, status: int) -> None:
    """A status that HTTP defines without a body is answered without one."""
    order(caller, {"on": "balance", "do": {"status": status, "body": {"ignored": True}}})
    reply = caller.http.get("/balance")
    assert (reply.status_code, reply.content) == (status, b"")


def test_code(caller: Any) -> None:
    """An error can hide as a code in a 200 answer."""
    order(caller, {"on": "record", "do": {"code": 500}})
    reply = caller.http.get("/records/x")
    assert (reply.status_code, reply.json()["code"]) == (200, 500)


def test_html(caller: Any) -> None:
    """An API answer can be an HTML page with status 200."""
    order(caller, {"on": "balance", "do": {"html": True}})
    reply = caller.http.get("/balance")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")


# The system resets a connection that is closed before the whole body has been read.
DROPPED = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.mark.parametrize("after_commit", [True, False])
@pytest.mark.parametrize(
    ("deed", "symptoms"),
    [({"drop": True}, DROPPED), ({"stall": 30}, (httpx.ReadTimeout,))],
    ids=["drop", "stall"],
)
def test_lost_answer(
    open_sandbox: Any, deed: Any, symptoms: tuple[type[Exception], ...], after_commit: bool
) -> None:
    """A create call can lose its answer, with the job made or not; the caller cannot tell which."""
    caller = open_sandbox()
    order(caller, {"on": "create", "do": deed, "after_commit": after_commit})
    with pytest.raises(symptoms):
        caller.http.post("/video/generations", json=BODY, timeout=0.3)
    stats = caller.sandbox.stats()
    assert (stats["posts"], stats["created"]) == (1, int(after_commit))
    assert caller.finish()["state"] == "completed"


def test_stall_ends(caller: Any) -> None:
    """A stalled call is not left hanging for ever: the connection closes without an answer."""
    order(caller, {"on": "get", "do": {"stall": 0.05}})
    with pytest.raises(httpx.RemoteProtocolError):
        caller.http.get("/video/generations", params={"task_id": "x"}, timeout=20)


def test_error_after_commit(open_sandbox: Any) -> None:
    """A create call can be answered with an error although the job was made."""
    caller = open_sandbox()
    caller.sandbox.fault(on="create", do={"status": 500}, after_commit=True)
    assert caller.http.post("/video/generations", json=BODY).status_code == 500
    assert caller.sandbox.stats()["created"] == 1


def test_cut(caller: Any) -> None:
    """A download can declare its whole length and break off; the rest can be had by range."""
    link = caller.link()
    whole = caller.http.get(link).content
    order(caller, {"on": "file", "do": {"cut_after": 5000}})
    with caller.http.stream("GET", link) as reply:
        received = list(until_broken(reply))
    assert int(reply.headers["content-length"]) == len(whole)
    assert b"".join(received) == whole[:5000]
    rest = caller.http.get(
        link, headers={"Range": "bytes=5000-", "If-Range": reply.headers["etag"]}
    )
    assert (rest.status_code, rest.content) == (206, whole[5000:])


def test_cut_beyond_the_end(caller: Any) -> None:
    """A cut behind the last byte cuts nothing."""
    link = caller.link()
    order(caller, {"on": "file", "do": {"cut_after": 10_000_000}})
    assert caller.http.get(link).content[4:8] == b"ftyp"


def test_truncated(caller: Any) -> None:
    """A file can be served short without contradicting itself, which leaves a broken video."""
    link = caller.link()
    order(caller, {"on": "file", "do": {"truncate": 1000}, "times": 2})
    short = caller.http.get(link)
    assert (short.status_code, short.headers["content-length"], len(short.content)) == (
        200,
        "1000",
        1000,
    )
    tail = caller.http.get(link, headers={"Range": "bytes=900-", "If-Range": short.headers["etag"]})
    assert (tail.status_code, tail.headers["content-range"]) == (206, "bytes 900-999/1000")
    with pytest.raises(av.FFmpegError):
        av.open(io.BytesIO(short.content))
    assert caller.http.get(link).headers["etag"] != short.headers["etag"]


def test_replaced(caller: Any) -> None:
    """A file can turn out to be an HTML page with status 200."""
    link = caller.link()
    order(caller, {"on": "file", "do": {"replace": "html"}})
    assert caller.http.get(link).text.startswith("<!doctype html>")


def test_unknown_state(caller: Any) -> None:
    """A poll can report a state nobody knows, without a result."""
    job_id = caller.finish()["taskId"]
    order(caller, {"on": "get", "do": {"state": "reticulating"}})
    model = "kling-video/kling-v3-omni"
    assert caller.poll(job_id) == {"taskId": job_id, "state": "reticulating", "model": model}
    assert caller.poll(job_id)["state"] == "completed"


def test_completed_without_link(caller: Any) -> None:
    """A completed job can lack its link once; the order waits for the job to complete."""
    order(caller, {"on": "get", "do": {"no_url": True}})
    first = caller.finish()
    assert "resultUrls" not in first
    assert len(caller.poll(first["taskId"])["resultUrls"]) == 1


def test_expired_link(caller: Any) -> None:
    """A link can expire early. The next poll gives one that works; the old one stays expired."""
    job_id = caller.finish()["taskId"]
    old = caller.poll(job_id)["resultUrls"][0]
    order(caller, {"on": "file", "do": {"expire": True}})
    assert caller.http.get(old).status_code == 404
    new = caller.poll(job_id)["resultUrls"][0]
    assert (new != old, caller.http.get(new).status_code, caller.http.get(old).status_code) == (
        True,
        200,
        404,
    )


def test_order_and_aim(caller: Any) -> None:
    """Rules are met in order, and a rule for one job leaves others alone."""
    mine, other = caller.create(), caller.create()
    order(
        caller,
        {"on": "get", "do": {"status": 500}, "job_id": mine},
        {"on": "get", "do": {"status": 502}, "job_id": mine},
    )
    ask = [(mine, 500), (other, 200), (mine, 502), (mine, 200)]
    statuses = [
        caller.http.get("/video/generations", params={"task_id": job}).status_code for job, _ in ask
    ]
    assert statuses == [status for _, status in ask]


def test_for_ever_until_cleared(caller: Any) -> None:
    """A rule without a number of times holds until the faults are deleted."""
    order(caller, {"on": "balance", "do": {"status": 500}, "times": None})
    assert [caller.http.get("/balance").status_code for _ in range(5)] == [500] * 5
    assert caller.http.delete(f"{caller.sandbox.root_url}/sandbox/faults").json() == []
    assert caller.http.get("/balance").status_code == 200


def test_own_downloads_are_spared(caller: Any) -> None:
    """Faults and counters are about the client: what the sandbox fetches from itself is neither."""
    video = caller.link()
    before = caller.sandbox.stats()["downloads"]
    order(caller, {"on": "file", "do": {"status": 500}, "times": None})
    data = caller.finish(video_list=[{"video_url": video, "refer_type": "feature"}])
    assert (data["state"], caller.sandbox.stats()["downloads"]) == ("completed", before)


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "get"},
        {"on": "nowhere", "do": {"drop": True}},
        {"on": "get", "do": {}},
        {"on": "get", "do": {"drop": True, "html": True}},
        {"on": "get", "do": {"explode": True}},
        {"on": "get", "do": {"drop": True}, "after_commit": True},
        {"on": "get", "do": {"cut_after": 5}},
        {"on": "create", "do": {"no_url": True}},
        {"on": "get", "do": {"drop": True}, "times": 0},
        {"on": "get", "do": {"drop": True, "retry_after": 3}},
        {"on": "get", "do": {"code": 500, "body": {}}},
        {"on": "get", "do": {"status": 101}},
        {"on": "get", "do": {"status": 600}},
    ],
)
def test_nonsense_is_refused(caller: Any, rule: dict[str, Any]) -> None:
    """A rule that cannot work is refused, over HTTP and in-process alike."""
    assert order(caller, rule).status_code == 400
    with pytest.raises(ValueError, match=r".+"):
        caller.sandbox.fault(**rule)
    assert caller.http.get(f"{caller.sandbox.root_url}/sandbox/faults").json() == []


def test_links_as_ordered(caller: Any) -> None:
    """A completed job reports the links it is told to, and an unknown state may have one, too."""
    job_id = caller.finish()["taskId"]
    link = caller.poll(job_id)["resultUrls"][0]
    order(
        caller,
        {"on": "get", "do": {"links": [" {link}\n", "//{host}", "https://a.example/cover.jpg"]}},
        {"on": "get", "do": {"state": "preview", "links": ["{link}"]}},
    )
    told = caller.poll(job_id)
    assert told["state"] == "completed"
    host = link.partition("://")[2]
    assert told["resultUrls"] == [f" {link}\n", f"//{host}", "https://a.example/cover.jpg"]
    preview = caller.poll(job_id)
    assert (preview["state"], preview["resultUrls"]) == ("preview", [link])


def test_envelope_around_true_data(caller: Any) -> None:
    """The code of the envelope may contradict what is inside."""
    job_id = caller.finish()["taskId"]
    order(caller, {"on": "get", "do": {"envelope": 500}})
    said = caller.http.get("/video/generations", params={"task_id": job_id}).json()
    assert (said["code"], said["data"]["state"]) == (500, "completed")


def test_sound_videos_in_an_odd_form(caller: Any) -> None:
    """A file comes with a tail, packed, as WebM, or under another name."""
    job_id = caller.finish()["taskId"]
    link = caller.poll(job_id)["resultUrls"][0]
    whole = caller.http.get(link).content
    order(
        caller,
        {"on": "file", "do": {"append": "zeros"}},
        {"on": "file", "do": {"gzip": True}},
        {"on": "file", "do": {"media_type": "text/plain"}},
        {"on": "file", "do": {"webm": True}},
        {"on": "file", "do": {"replace": "picture"}},
    )
    assert caller.http.get(link).content == whole + bytes(1024)
    packed = caller.http.get(link)
    assert (packed.headers["content-encoding"], packed.content) == ("gzip", whole)
    assert caller.http.get(link).headers["content-type"].startswith("text/plain")
    with av.open(io.BytesIO(caller.http.get(link).content), format="matroska") as film:
        assert sum(1 for _ in film.decode(video=0)) == 72
    assert caller.http.get(link).content.startswith(b"\x89PNG")
    assert caller.http.get(link).content == whole


def test_a_length_that_is_promised_and_not_kept(caller: Any) -> None:
    """More bytes are announced than come; the connection closes at the end."""
    link = caller.poll(caller.finish()["taskId"])["resultUrls"][0]
    whole = caller.http.get(link).content
    order(caller, {"on": "file", "do": {"promise": 10}})
    with caller.http.stream("GET", link) as reply:
        assert int(reply.headers["content-length"]) == len(whole) + 10
        assert b"".join(until_broken(reply)) == whole


def test_wrong_bytes_in_a_range(caller: Any) -> None:
    """Only a request for a range is answered with wrong bytes."""
    link = caller.poll(caller.finish()["taskId"])["resultUrls"][0]
    whole = caller.http.get(link).content
    order(caller, {"on": "file", "do": {"damage_range": True}})
    assert caller.http.get(link).content == whole
    part = caller.http.get(link, headers={"Range": "bytes=100-"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert len(part.content) == len(whole) - 100
    assert part.content != whole[100:]


def test_a_slow_file(caller: Any) -> None:
    """A file comes in small pieces, and whole."""
    link = caller.poll(caller.finish()["taskId"])["resultUrls"][0]
    whole = caller.http.get(link).content
    order(caller, {"on": "file", "do": {"slow": len(whole)}})
    with caller.http.stream("GET", link) as reply:
        pieces = list(reply.iter_raw())
    assert len(pieces) > 5
    assert b"".join(pieces) == whole
