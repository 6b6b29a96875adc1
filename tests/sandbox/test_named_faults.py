"""Every named fault is played over HTTP, by its name, its rate and its seed."""

import json
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.sandbox.named_faults import NAMED_FAULTS, fault_list, fault_table

INPUT = "https://a.example/in.png?X-Amz-Signature=secret"
BODY = {
    "model": "kling-v3-omni",
    "prompt": "a fox [fail:OTHER]",
    "duration": "3",
    "image_list": [{"image_url": INPUT}],
    "callback_url": "http://127.0.0.1:9/callback/token",
}
Check = Callable[[httpx.Response, bytes], bool]


def says(**fields: Any) -> Check:
    """The data of a good answer has these fields."""

    def check(reply: httpx.Response, raw: bytes) -> bool:
        content = json.loads(raw)
        return content["code"] == 200 and fields.items() <= content["data"].items()

    return check


def refuses(status: int, wait: str | None = None) -> Check:
    """The status, and Retry-After."""

    def check(reply: httpx.Response, raw: bytes) -> bool:
        return (reply.status_code, reply.headers.get("retry-after")) == (status, wait)

    return check


def has_id(is_odd: Callable[[Any], bool]) -> Check:
    """The id of the job is odd in this way."""
    return lambda reply, raw: is_odd(json.loads(raw)["data"]["taskId"])


def fails_with(part: str) -> Check:
    """The job is told to have failed, with this in the text."""

    def check(reply: httpx.Response, raw: bytes) -> bool:
        data = json.loads(raw)["data"]
        return data["state"] == "failed" and part in data["failMsg"]

    return check


def unpacked(raw: bytes) -> int:
    """The length of a gzip body once it is unpacked, a piece at a time."""
    unpacker = zlib.decompressobj(31)
    length = len(unpacker.decompress(raw, 1_000_000))
    while unpacker.unconsumed_tail:
        length += len(unpacker.decompress(unpacker.unconsumed_tail, 1_000_000))
    return length


ANSWERS: dict[str, Check] = {
    "moderation": refuses(400),
    "too-many-requests": refuses(429),
    "too-many-requests-wait": refuses(429, "1"),
    "too-many-requests-absurd": refuses(429, "Fri, 31 Dec 99999 23:59:59 GMT"),
    "key-limited": refuses(403),
    "id-surrogate": has_id(lambda job: "\ud800" in job),
    "id-nul": has_id(lambda job: "\0" in job),
    "id-megabyte": has_id(lambda job: len(job) > 1_000_000),
    "id-list": has_id(lambda job: isinstance(job, list)),
    "id-number": has_id(lambda job: isinstance(job, int)),
    "id-shell": has_id(lambda job: "| sh" in job),
    "failmsg-control": fails_with("\0\x07\x08"),
    "failmsg-markdown": fails_with("![x]("),
    "failmsg-rich": fails_with("[/closing]"),
    "failmsg-osc": fails_with("\x1b]52;c;"),
    "failmsg-5mb": lambda reply, raw: len(json.loads(raw)["data"]["failMsg"]) > 5_000_000,
    "deep-json": lambda reply, raw: b"[" * 100_000 in raw,
    "bom": lambda reply, raw: raw.startswith(b"\xef\xbb\xbf{"),
    "odd-charset": lambda reply, raw: "x-klingon" in reply.headers["content-type"],
    "utf-16": lambda reply, raw: json.loads(raw.decode("utf-16"))["code"] == 200,
    "gzip-bomb": lambda reply, raw: len(raw) < 200_000 and unpacked(raw) > 64_000_000,
    "key-echoed": lambda reply, raw: (
        b"sk_" not in raw and "sk_sandbox" in json.loads(raw)["msg"] and reply.status_code == 200
    ),
    "links-echoed": lambda reply, raw: (
        INPUT in json.loads(raw)["msg"] and "/callback/token" in json.loads(raw)["msg"]
    ),
    "older-state": says(state="processing"),
    "unsettled": says(settled=False, credits=None),
    "charge-off-table": says(settled=True, credits=0.4321),
    "charge-negative": says(credits=-5.0),
    "charge-huge": says(credits=1e30),
    "charge-nan": says(credits="NaN"),
    "charge-currency": says(credits=100.0, currency="JPY"),
}
FILES = {name for name, fault in NAMED_FAULTS.items() if fault.calls == ("file",)}
CALLBACKS = {name for name, fault in NAMED_FAULTS.items() if fault.calls == ("callback",)}


def order(caller: Any, **rule: Any) -> None:
    """Order one fault over HTTP."""
    address = f"{caller.sandbox.root_url}/sandbox/faults"
    caller.http.post(address, json=[rule]).raise_for_status()


def ask(caller: Any, call: str, job_id: str) -> tuple[httpx.Response, bytes]:
    """Make one call, and return its answer and its body as it came."""
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "create": ("POST", "/video/generations", {"json": BODY}),
        "get": ("GET", "/video/generations", {"params": {"task_id": job_id}}),
        "balance": ("GET", "/balance", {}),
        "record": ("GET", f"/records/{job_id}", {}),
        "upload": ("POST", "/files", {"files": {"file": ("a.png", b"picture")}}),
        "models": ("GET", "/models", {}),
    }
    method, path, more = requests[call]
    with caller.http.stream(method, path, **more) as reply:
        return reply, b"".join(reply.iter_raw())


def test_no_fault_is_left_out() -> None:
    """Each row of the table is played by a test of this module."""
    elsewhere = {"late-links", "freeze-late"}
    assert set(NAMED_FAULTS) == set(ANSWERS) | FILES | CALLBACKS | elsewhere
    assert set(FILE_CHECKS) == FILES
    assert set(CALLBACK_CHECKS) | {"callback-never"} == CALLBACKS


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name in ANSWERS for call in NAMED_FAULTS[name].calls]
)
def test_answers(caller: Any, name: str, call: str) -> None:
    """The answer is spoilt once, and only what is said to commit makes a job."""
    job_id = caller.create(**BODY)
    caller.wait(job_id)
    made = caller.sandbox.stats()["created"]
    order(caller, name=name, on=call)
    assert ANSWERS[name](*ask(caller, call, job_id))
    assert caller.sandbox.stats()["created"] == made + (
        call == "create" and NAMED_FAULTS[name].commits
    )
    assert json.loads(ask(caller, call, job_id)[1])["code"] == 200


def test_links_that_come_late(caller: Any) -> None:
    """Polls of a running job do not use up the fault; the first with the link does."""
    order(caller, name="late-links")
    first = caller.finish()
    assert (first["state"], "resultUrls" in first) == ("completed", False)
    assert len(caller.poll(first["taskId"])["resultUrls"]) == 1


def test_money_that_is_frozen_late(open_sandbox: Any) -> None:
    """An account with a running job shows nothing frozen, once."""
    caller = open_sandbox(render_seconds=(60, 60))
    order(caller, name="freeze-late")
    assert caller.sandbox.stats()["created"] == 0
    assert ask(caller, "balance", "")[0].status_code == 200
    caller.create()
    shown = [json.loads(ask(caller, "balance", "")[1])["data"] for _ in range(2)]
    assert shown[0]["frozen"] == 0
    assert shown[0]["balance"] == shown[0]["total"]
    assert shown[1]["frozen"] > 0


def _endless(caller: Any, link: str, whole: bytes) -> bool:
    received = b""
    with caller.http.stream("GET", link) as reply:
        for piece in reply.iter_raw():
            received += piece
            if len(received) > len(whole) + 3_000_000:
                break
    return "content-length" not in reply.headers and received.startswith(whole)


def _one_byte(caller: Any, link: str, whole: bytes) -> bool:
    received = b""
    for start in range(3):
        try:
            with caller.http.stream("GET", link, headers={"Range": f"bytes={start}-"}) as reply:
                for piece in reply.iter_raw():
                    received += piece
        except httpx.RemoteProtocolError:
            continue
        return False
    return received == whole[:3]


def _short(caller: Any, link: str, whole: bytes) -> bool:
    try:
        caller.http.get(link)
    except httpx.RemoteProtocolError:
        return True
    return False


FILE_CHECKS: dict[str, Callable[[Any, str, bytes], bool]] = {
    "file-endless": _endless,
    "file-one-byte": _one_byte,
    "file-internal": lambda caller, link, whole: (
        caller.http.get(link).headers["location"].startswith("http://169.254.169.254/")
    ),
    "file-html": lambda caller, link, whole: caller.http.get(link).text.startswith("<!doctype"),
    "file-short": _short,
    "file-wrong-range": lambda caller, link, whole: (
        caller.http.get(link, headers={"Range": "bytes=9-"}).content != whole[9:]
    ),
    "file-webm": lambda caller, link, whole: (
        caller.http.get(link).headers["content-type"] == "video/webm"
    ),
    "file-trailing": lambda caller, link, whole: (
        caller.http.get(link).content.removeprefix(whole)[:1] == b"{"
    ),
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_files(caller: Any, name: str) -> None:
    """A download is spoilt while the fault is in force, and whole afterwards."""
    link = caller.link()
    whole = caller.http.get(link).content
    order(caller, name=name, times=None)
    assert FILE_CHECKS[name](caller, link, whole)
    caller.sandbox.clear_faults()
    assert caller.http.get(link).content == whole


CALLBACK_CHECKS: dict[str, Callable[[list[bytes], str], bool]] = {
    "callback-late": lambda posted, job: json.loads(posted[0])["data"]["taskId"] == job,
    "callback-twice": lambda posted, job: posted[0] == posted[1],
    "callback-wrong-id": lambda posted, job: json.loads(posted[0])["data"]["taskId"] != job,
    "callback-foreign": lambda posted, job: posted[0].startswith(b"event=push"),
    "callback-flat": lambda posted, job: json.loads(posted[0])["task_id"] == job,
    "callback-list": lambda posted, job: json.loads(posted[0])["data"][0]["task_id"] == job,
    "callback-reordered": lambda posted, job: (
        [json.loads(each)["data"]["state"] for each in posted] == ["completed", "processing"]
    ),
}


@pytest.mark.parametrize("name", sorted(CALLBACK_CHECKS))
def test_callbacks(caller: Any, shelf: Any, name: str) -> None:
    """The callback of a job arrives as the fault says."""
    order(caller, name=name)
    began = time.monotonic()
    job_id = caller.create(callback_url=f"{shelf.url}/callback")
    expected = 2 if name in ("callback-twice", "callback-reordered") else 1
    posted = [shelf.posted.get(timeout=20) for _ in range(expected)]
    assert CALLBACK_CHECKS[name](posted, job_id)
    assert name != "callback-late" or time.monotonic() - began > 3


def test_callback_that_never_comes(caller: Any, shelf: Any) -> None:
    """Of two jobs that end one after the other only the second calls back."""
    order(caller, name="callback-never")
    caller.finish(callback_url=f"{shelf.url}/callback")
    told = caller.create(callback_url=f"{shelf.url}/callback")
    assert json.loads(shelf.posted.get(timeout=20))["data"]["taskId"] == told
    assert shelf.posted.empty()


def spoilt(caller: Any, **rule: Any) -> list[bool]:
    """Which of forty calls a rule spoils."""
    caller.sandbox.clear_faults()
    order(caller, name="bom", on="balance", times=None, **rule)
    return [ask(caller, "balance", "")[1].startswith(b"\xef\xbb\xbf") for _ in range(40)]


def test_rate_and_seed(caller: Any) -> None:
    """A share of the calls is spoilt, the same ones for the same seed."""
    seventh = spoilt(caller, rate=0.3, seed=7)
    assert 4 <= sum(seventh) <= 20
    assert spoilt(caller, rate=0.3, seed=7) == seventh
    assert spoilt(caller, rate=0.3, seed=8) != seventh


def test_shares_leave_later_rules_alone(caller: Any) -> None:
    """A call that one rule leaves alone is taken by the next, whatever kinds the two are."""
    order(caller, on="balance", do={"status": 503}, rate=0.3, times=None)
    order(caller, name="bom", on="balance", times=None)
    heads = {ask(caller, "balance", "")[1][:3] for _ in range(30)}
    assert heads == {b"\xef\xbb\xbf", b'{"c'}


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "no such fault"},
        {"name": "bom", "on": "file"},
        {"name": "bom", "do": {"drop": True}},
        {"name": "bom", "rate": 0},
        {"name": "bom", "rate": 1.5},
        {"name": "id-list", "after_commit": True},
        {"on": "callback", "do": {"status": 500}},
    ],
)
def test_nonsense_is_refused(caller: Any, rule: dict[str, Any]) -> None:
    """A named rule that cannot work is refused."""
    with pytest.raises(ValueError, match=r".+"):
        caller.sandbox.fault(**rule)


def test_faults_of_the_command_line(tmp_path: Path) -> None:
    """`--fault` puts rules into force from the start, with their shares and the seed."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/sandbox/faults"
    words = ["--port", str(port), "--fault", "bom", "--fault", "late-links:0.05", "--seed", "7"]
    program = Path(sys.executable).with_name("prefect-kling")
    command = [str(program), "sandbox", *words]

    def is_ready() -> bool:
        try:
            return httpx.get(address, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    with running(command, {}, tmp_path / "sandbox.log", is_ready):
        assert httpx.get(address, trust_env=False).json() == [
            {"name": "bom", "seed": 7, "after_commit": False},
            {"name": "late-links", "rate": 0.05, "seed": 7, "after_commit": False},
        ]


def test_the_documents_show_the_table() -> None:
    """docs/sandbox.md holds the table of the code, to the letter."""
    page = Path(__file__).parents[2] / "docs" / "sandbox.md"
    assert fault_table() in page.read_text()
    assert all(name in fault_list() for name in NAMED_FAULTS)
