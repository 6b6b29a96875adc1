"""What comes from outside is bounded, decoded, cleaned and freed of secrets before it is read."""

import asyncio
import base64
import functools
import gzip
import html
import json
import logging
import re
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from pydantic import SecretStr

from prefect_kling.kling import errors
from prefect_kling.kling.client import ClientSettings, KlingClient, amount
from prefect_kling.kling.gate import LARGEST_ANSWER, read_body
from prefect_kling.kling.job_ids import is_job_id
from prefect_kling.kling.parameters import ImageInput
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.sent_secrets import SentSecrets

KEY = "sk_0123456789abcdefghij"
TOKEN = "deadbeef" * 5
SIGNATURE = "0a1b2c3d" * 8
CALLBACK = f"https://cb.test/kling/{'c' * 32}/{'d' * 8}/{TOKEN}"
INPUT = f"https://s3.test/b/a.png?X-Amz-Credential=AKIAEXAMPLEEXAMPLE00&X-Amz-Signature={SIGNATURE}"
REQUEST = VideoRequest.model_validate(
    {
        "model": "kling-v3-omni",
        "prompt": "A lamp",
        "image_list": [{"image_url": INPUT}],
        "callback_url": CALLBACK,
    }
)


class Answering(BaseHTTPRequestHandler):
    """Answers every call with the script of the test that runs."""

    script: Callable[["Answering"], None]

    def do_GET(self) -> None:
        """Answer a read."""
        self.script()

    def do_POST(self) -> None:
        """Answer a paid call."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.script()

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def begin(self, **headers: str) -> None:
        """Send the head of an answer whose length is not said."""
        self.send_response(200)
        for name, value in {"connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


Serve = Callable[[Callable[[Answering], None]], KlingClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an API that follows a script, and give a client of it."""
    servers: list[ThreadingHTTPServer] = []

    def start(script: Callable[[Answering], None]) -> KlingClient:
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Scripted", (Answering,), {"script": script})
        )
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        settings = ClientSettings(
            base_url=url, read_attempts=1, read_seconds=0.3, create_seconds=1.0, connect_seconds=1.0
        )
        return KlingClient(SecretStr(KEY), settings)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def says(body: Any, status: int = 200) -> KlingClient:
    """A client whose API gives one answer."""
    content = body
    if not isinstance(body, bytes):
        content = json.dumps(body).encode()
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=content))
    return KlingClient(SecretStr(KEY), ClientSettings(read_attempts=1), transport)


async def refusal_of(client: KlingClient, *, paid: bool) -> errors.KlingError:
    """The error of a call."""
    async with client:
        call = partial(client.get, "c1")
        if paid:
            call = partial(client.create, REQUEST)
        with pytest.raises(errors.KlingError) as caught:
            await call()
    return caught.value


# Sizes and times


@functools.cache
def packed_zeros(layers: int) -> bytes:
    """Half a gigabyte of zeros, packed `layers` times."""
    content = bytes(500_000_000) if layers == 1 else packed_zeros(layers - 1)
    return gzip.compress(content, 1)


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
async def test_a_packed_answer_is_measured_while_it_is_unpacked(
    layers: int, paid: bool, serve: Serve
) -> None:
    """A few hundred kilobytes that stand for half a gigabyte take a few megabytes of memory."""
    packed = packed_zeros(layers)

    def bomb(get: Answering) -> None:
        get.begin(content_encoding=", ".join(["gzip"] * layers))
        with suppress(OSError):
            get.wfile.write(packed)

    client = serve(bomb)
    tracemalloc.start()
    error = await refusal_of(client, paid=paid)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * LARGEST_ANSWER
    assert type(error) is (errors.OutcomeUnknown if paid else errors.UnreadableReply)


@pytest.mark.parametrize("paid", [True, False])
async def test_an_endless_answer_is_ended_and_its_id_kept(paid: bool, serve: Serve) -> None:
    """No more than about a megabyte is taken of it."""
    sent = 0
    ended = threading.Event()

    def endless(get: Answering) -> None:
        nonlocal sent
        get.begin()
        piece = b'{"code": 200, "data": {"taskId": "c7", "filler": "' + b"x" * 100_000
        with suppress(OSError):
            while sent < 10**9:
                sent += get.connection.send(piece)
        ended.set()

    error = await refusal_of(serve(endless), paid=paid)
    assert ended.wait(5)
    assert sent < 20 * LARGEST_ANSWER
    if paid:
        assert type(error) is errors.OutcomeUnknown
        assert error.job_id == "c7"


@pytest.mark.parametrize("paid", [True, False])
async def test_an_answer_that_trickles_in_is_ended_and_its_id_kept(
    paid: bool, serve: Serve
) -> None:
    """Each byte comes in time, and the whole never."""

    def trickling(get: Answering) -> None:
        get.begin()
        with suppress(OSError):
            get.wfile.write(b'{"code": 200, "data": {"taskId": "c7", "f": "')
            for _ in range(1000):
                get.wfile.write(b"x")
                time.sleep(0.05)

    start = time.monotonic()
    error = await refusal_of(serve(trickling), paid=paid)
    assert time.monotonic() - start < 4
    if paid:
        assert type(error) is errors.OutcomeUnknown
        assert error.job_id == "c7"
    else:
        assert type(error) is errors.Unavailable


async def test_a_whole_answer_to_a_paid_call_that_breaks_off_is_no_plain_success(
    serve: Serve,
) -> None:
    """More was promised than came: the clip is held, with the id."""

    def broken(get: Answering) -> None:
        get.begin(content_length="500")
        get.wfile.write(b'{"code": 200, "data": {"taskId": "c7", "state": "pending"}}')

    error = await refusal_of(serve(broken), paid=True)
    assert type(error) is errors.OutcomeUnknown
    assert error.job_id == "c7"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
async def test_packed_answers_are_read(coding: str, serve: Serve) -> None:
    """Compression is usual and no fault."""

    def packed(get: Answering) -> None:
        content = b'{"code": 200, "data": {"taskId": "c7", "state": "pending"}}'
        if coding == "gzip":
            content = gzip.compress(content)
        if coding == "deflate":
            content = zlib.compress(content)[2:-4]
        get.begin(content_encoding=coding, content_length=str(len(content)))
        get.wfile.write(content)

    async with serve(packed) as client:
        assert (await client.create(REQUEST)).job_id == "c7"


# Encodings, depth, texts and numbers


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
async def test_every_encoding_of_json_is_read(encoding: str) -> None:
    """With and without a byte order mark; a charset in the header is not asked."""
    body = '{"code": 200, "data": {"taskId": "c7", "state": "pending", "msg": "灯"}}'
    async with says(body.encode(encoding)) as client:
        assert (await client.create(REQUEST)).job_id == "c7"


@pytest.mark.parametrize("depth", [10, 40, 900, 100_000])
async def test_depth_never_hides_the_id(depth: int) -> None:
    """Whatever nests how deeply: the id is found, and nothing is raised but our errors."""
    deep = b"[" * depth + b"]" * depth
    beside = b'{"code": 200, "x": ' + deep + b', "data": {"taskId": "c7", "state": "pending"}}'
    around = b'{"data":' * depth + b'{"taskId": "c7"}' + b"}" * depth
    for body in (beside, around):
        async with says(body) as client:
            job_id: str | None = None
            try:
                job_id = (await client.create(REQUEST)).job_id
            except errors.OutcomeUnknown as error:
                job_id = error.job_id
        assert job_id == "c7"


BAD = ["\x00", "\x1b[2J", "\x9b31m", "\ud800", "\u202e", "\x7f", "\ufffe"]


@pytest.mark.parametrize("bad", BAD, ids=ascii)
async def test_no_text_of_an_answer_holds_what_a_store_or_terminal_cannot(bad: str) -> None:
    """Control characters, halves of characters and marks of direction are replaced."""
    failed = {"taskId": "c1", "state": "failed", "failMsg": f"a{bad}b", "failCode": f"X{bad}",
              "model": f"m{bad}", f"n{bad}": [f"v{bad}"]}  # fmt: skip
    async with says({"code": 200, "data": failed}) as client:
        job = await client.get("c1")
    texts = [job.fail_words, job.fail_code, job.model, job.said_state, json.dumps(job.raw)]
    texts.append(str(await refusal_of(says({"code": 400, "msg": f"a{bad}b"}, 400), paid=True)))
    for text in texts:
        assert bad not in str(text)
        str(text).encode()
    assert "a" in job.fail_words
    assert json.dumps(bad)[1:-1] not in json.dumps(job.raw)


async def test_texts_are_cut() -> None:
    """Five megabytes of reasons become a line."""
    long = "because " * 20_000
    async with says(
        {"data": {"taskId": "c1", "state": "failed", "failMsg": long, "failCode": long}}
    ) as api:
        job = await api.get("c1")
    assert len(job.fail_words) <= 300
    assert len(job.fail_code or "") <= 80
    assert len(job.model_dump_json()) < 4000
    assert len(str(await refusal_of(says({"code": 400, "msg": long}, 400), paid=True))) < 1000


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("0.3165", Decimal("0.3165")),
        (0, Decimal(0)),
        (-1, Decimal(-1)),
        (10**14, Decimal(10) ** 14),
        (10**30, None),
        (True, None),
        (None, None),
        ("NaN", None),
        ("-Infinity", None),
        (float("inf"), None),
        ("1e999999999", None),
        ("1e-999999", None),
        ("0.00", Decimal(0)),
        ("9" * 4400, None),
        ([1], None),
        ({"usd": 1}, None),
        ("1 USD", None),
        ("", None),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_an_amount_is_a_finite_number(said: Any, read: Decimal | None) -> None:
    """What is none is none, and never an error."""
    assert amount(said) == read


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "9" * 4400, "-" + "9" * 700])
async def test_absurd_numbers_anywhere_are_no_error(number: str) -> None:
    """As code, time, id or amount."""
    data = f'{{"taskId": "c1", "state": "pending", "createTime": {number}, "retryable": {number}}}'
    async with says(f'{{"x": {number}, "data": {data}}}'.encode()) as client:
        job = await client.get("c1")
        assert job.created_at is None
        assert (await client.create(REQUEST)).job_id == "c1"
    error = await refusal_of(says(f'{{"code": {number}, "data": {data}}}'.encode()), paid=True)
    assert type(error) is errors.OutcomeUnknown
    assert error.job_id == "c1"


# Ids


ODD_IDS = [
    "c1; rm -rf /",
    "../../etc",
    "c 1",
    "-c1",
    "c\x00",
    "c\ud800",
    "j" * 201,
    "灯",
    "=1+1",
    "<b>",
    ".",
]


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd)[:20])
async def test_a_plain_success_with_an_odd_id_is_held_and_the_id_kept(odd: str) -> None:
    """It may be paid; a person sees the API's words in quotes, and nothing breaks on them."""
    body = json.dumps({"code": 200, "data": {"taskId": odd, "state": "pending"}}).encode()
    error = await refusal_of(says(body), paid=True)
    assert type(error) is errors.OutcomeUnknown
    assert error.job_id
    assert not is_job_id(error.job_id) or len(odd) > 200
    assert error.job_id.isascii()
    assert error.job_id.isprintable()
    assert ascii(odd)[1:-1][:8] in error.job_id
    assert ascii(error.job_id)[:200] in str(error)


@pytest.mark.parametrize("odd", ["c 1;x", "c\x00", "c\u202e1", "灯", "a/b?c", "'q'", "c" * 300])
async def test_odd_ids_of_old_records_are_read_as_before(odd: str) -> None:
    """Earlier versions wrote down any id; its job is still polled, and the record keeps it."""
    body = {"code": 200, "data": {"taskId": odd, "state": "failed", "failMsg": "no"}}
    async with says(body) as client:
        job = await client.get(odd)
        assert job.job_id == odd
        await client.record(odd)


@pytest.mark.parametrize("odd", [".", "..", "", "a/../b", "\ud800", "c" * 100_000])
async def test_asking_about_any_id_raises_nothing_else(odd: str) -> None:
    """An id from an old record or a command line."""
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path.decode().partition("?")[0])
        return httpx.Response(404)

    settings = ClientSettings(base_url="https://api.test/v1", read_attempts=1)
    async with KlingClient(SecretStr(KEY), settings, httpx.MockTransport(answer)) as client:
        assert await client.record(odd) is None
        with pytest.raises(errors.KlingError):
            await client.get(odd)
    assert all(path.startswith(("/v1/records/", "/v1/video/generations")) for path in paths)


# Secrets


def spellings(secret: str) -> Iterator[str]:
    """Ways in which programs write a text down again."""
    yield secret
    yield f"Bearer {secret}"
    yield secret.upper()
    yield "".join(f"\\u{ord(each):04x}" for each in secret)
    yield f"\\u{ord(secret[0]):04x}{secret[1:]}"
    yield f"\\\\u{ord(secret[0]):04x}{secret[1:]}"
    yield f"\\x{ord(secret[0]):02x}{secret[1:]}"
    yield json.dumps(json.dumps({"key": secret}))
    yield quote(quote(secret.replace("_", "%5F")))
    yield "".join(f"%{ord(each):02X}" for each in secret)
    yield "".join(f"&#{ord(each)};" for each in secret)
    yield html.escape(f"<{secret}>")
    yield f"{secret[:9]}\n{secret[9:]}"
    yield "\u200b".join(secret)


def only_the_keys(secret: str) -> Iterator[str]:
    """Further ones that are looked for in the case of the key."""
    yield secret[::-1]
    yield secret.encode().hex()
    for before in ("", "a", "ab"):
        yield base64.b64encode(f"{before}{secret}:".encode()).decode()
    yield secret[:-4]


LEAKS = [*spellings(KEY), *only_the_keys(KEY), *spellings(TOKEN), *spellings(SIGNATURE)]
LEAKS += [
    INPUT,
    CALLBACK,
    quote(INPUT, safe=""),
    quote(CALLBACK, safe=""),
    INPUT.replace("/", "\\/"),
]
LEAKS += [
    CALLBACK.partition("cb.test")[2],
    INPUT.partition("?")[2],
    f'"X-Amz-Signature": "{SIGNATURE}"',
]


def undone(text: str) -> str:
    """A text as somebody reads it who wants the secret."""
    for _ in range(3):
        text = html.unescape(text).replace("\\\\", "\\")
        text = re.sub(r"\\[ux]([0-9a-fA-F]{2,4})", lambda each: chr(int(each[1], 16)), text)
        text = unquote(text)
    return "".join(text.split()).replace("\u200b", "").lower()


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: ascii(leak)[:30])
async def test_nothing_that_was_sent_is_told(leak: str) -> None:
    """However an answer quotes a secret: errors, states, codes and the kept reply have none."""
    told: list[str] = []
    for body in (
        {"code": 400, "msg": f"bad: {leak}"},
        {"error": {"message": leak}},
        {"code": 500, "data": {"taskId": leak}},
        {"code": 200, "data": {"taskId": leak, "state": leak}},
        {"code": 200, leak: leak},
    ):
        error = await refusal_of(says(body, 200), paid=True)
        told += [str(error), error.detail, str(error.job_id)]
    error = await refusal_of(says(f"<html>{leak}".encode(), 502), paid=True)
    told += [str(error), error.detail]
    failed = {"taskId": "c1", "state": "failed", "failMsg": f"cannot fetch {leak}",
              "failCode": leak, "model": leak, "input": {leak: [leak]}}  # fmt: skip
    client = says({"code": 200, "data": failed})
    async with client:
        with suppress(errors.OutcomeUnknown):
            await client.create(REQUEST)
        told.append(repr(await client.get("c1")))
        told.append(repr(await client.record("c1")))
    for text in told:
        for form in (text, undone(text)):
            for secret in (KEY, KEY[::-1], KEY.encode().hex(), TOKEN, SIGNATURE, KEY[:14]):
                assert secret.lower() not in form.lower()


async def test_a_result_link_that_shares_a_part_with_a_sent_one_stays_whole() -> None:
    """Hiding must never spoil the address of a paid video."""
    folder = "https://r2.test/kling-video-results-bucket/0123456789abcdef0123"
    sent = f"{folder}/v.mp4?Expires=1700000000000000000"
    result = sent.replace("v.mp4", "w.mp4")
    request = REQUEST.model_copy(
        update={"image_list": [REQUEST.image_list[0].model_copy(update={"image_url": sent})]}
    )
    data = {"taskId": "0123456789abcdef0123", "state": "completed", "resultUrls": [result]}
    async with says({"code": 200, "data": data}) as client:
        await client.create(request)
        job = await client.get("0123456789abcdef0123")
    assert job.urls == (result,)


async def test_an_id_in_a_link_that_was_sent_stays_readable() -> None:
    """The result of one job is the input of the next, and both are polled."""
    image = ImageInput(
        image_url="https://r2.test/clxearlierjob0123456789?task_id=clxearlierjob0123456789"
    )
    odd = {"image": ["http://[::1?X-Amz-Signature=" + SIGNATURE]}
    request = REQUEST.model_copy(update={"image_list": [image], "extra": odd})
    data = {"taskId": "clxearlierjob0123456789", "state": "pending"}
    async with says({"code": 200, "data": data}) as client:
        await client.create(request)
        assert (await client.get("clxearlierjob0123456789")).said_state == "pending"


async def test_errors_do_not_carry_the_request(serve: Serve) -> None:
    """The request holds the key in its head; whoever walks along an error must not meet it."""

    def hang_up(get: Answering) -> None:
        get.connection.shutdown(socket.SHUT_RDWR)

    for paid in (True, False):
        error: BaseException | None = await refusal_of(serve(hang_up), paid=paid)
        while error is not None:
            assert not hasattr(error, "request")
            assert KEY not in repr(vars(error))
            error = error.__cause__ or error.__context__


async def test_the_logs_of_the_http_libraries_hold_no_query_and_no_key(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG they write addresses, and the headers of answers."""

    def moved(get: Answering) -> None:
        get.begin(location=INPUT, set_cookie=f"session={TOKEN}")

    with caplog.at_level(logging.DEBUG):
        client = serve(moved)
        await refusal_of(client, paid=True)
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{client.settings.base_url}/v.mp4?X-Amz-Signature={SIGNATURE}")
    text = caplog.text
    assert "HTTP Request: GET" in text
    assert "receive_response_headers" in text
    for secret in (KEY, TOKEN, SIGNATURE):
        assert secret not in text


async def test_a_call_passes_the_same_gate() -> None:
    """The receiver reads the bodies of calls with it."""
    deep = read_body(b"[" * 100_000, SentSecrets(""))
    assert (deep.body, deep.is_broken) == (None, True)
    long = read_body(b'{"taskId": "c7", "x": "' + b"x" * 2 * LARGEST_ANSWER, SentSecrets(""))
    assert (long.ids_in_text, long.is_broken) == (("c7",), True)
    assert len(long.text) <= LARGEST_ANSWER


async def test_no_text_takes_long() -> None:
    """Runs of the characters that our patterns look for are read once."""
    for run in (
        "\\",
        "%25",
        "&#115;",
        " ",
        '"taskId":',
        "https://",
        "http:\\/",
        ",",
        "Signature=",
        "a.",
        "[{",
    ):
        text = run * (LARGEST_ANSWER // len(run))
        for body in (
            text,
            json.dumps(
                {"data": {"taskId": "c1", "failMsg": text, "resultUrls": [text[:8000]] * 60}}
            ),
        ):
            start = time.perf_counter()
            async with says(body.encode()[:LARGEST_ANSWER]) as client:
                with suppress(errors.KlingError):
                    await asyncio.wait_for(client.get("c1"), 20)
            assert time.perf_counter() - start < 2, run
