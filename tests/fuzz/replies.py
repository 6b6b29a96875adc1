"""Mutated answers and calls of the API, read by client and receiver as they read real ones."""

import asyncio
import gzip
import json
import random
import unicodedata
import zlib
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import SecretStr

from prefect_kling.deployments.receiver import _find_job_id
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.job_ids import is_job_id
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.charges import read_charge
from tests.fuzz.report import Report

KEY = "sk_fuzzing0123456789abcdef"
TOKEN = "f" * 40
SIGNATURE = "0123456789abcdef" * 4
REQUEST = VideoRequest.model_validate(
    {
        "model": "kling-v3-omni",
        "prompt": "A lamp",
        "image_list": [{"image_url": f"https://s3.test/b/a.png?X-Amz-Signature={SIGNATURE}"}],
        "callback_url": f"https://cb.test/kling/{'a' * 32}/{'b' * 8}/{TOKEN}",
    }
)
REQUEST_USD = quote(REQUEST).at_most_usd
JOB = {
    "taskId": "clx1",
    "state": "completed",
    "model": "kling-video/kling-v3-omni",
    "resultUrls": ["https://r2.test/v.mp4?sig=1"],
    "resultJson": '{"resultUrls": ["https://r2.test/v.mp4"]}',
    "createTime": 1705123450000,
    "completeTime": 1705123500000,
    "failCode": "UPSTREAM_BUSY",
    "failMsg": "busy",
    "retryable": True,
}
BASES: list[Any] = [
    {"code": 200, "msg": "success", "data": {"taskId": "clx1", "state": "pending"}},
    {"code": 200, "msg": "success", "data": JOB},
    {"code": 400, "msg": "bad prompt", "data": None},
    {"error": {"code": 504, "message": "upstream"}},
    {"code": 200, "data": {"settled": True, "credits": 0.3165, "currency": "USD"}},
    {"code": 200, "data": {"balance": "12.30", "total": 15, "frozen": 2.7}},
    {"code": 200, "data": [JOB, JOB]},
    JOB,
]
LEAVES: list[Any] = [
    None, True, False, "", "0", -1, 0, 1e308, 10**30, -(10**30), 2**63, "\x00", "\ud800", "\udfff",
    "a\x1b[2Jb", "\u202eevil", "🎬", "NaN", "Infinity", "1e999999", "x" * 5000, [], {}, [[]],
    KEY, KEY[::-1], KEY.encode().hex(), f"Bearer {KEY}", TOKEN, f"/kling/a/b/{TOKEN}",
    f"X-Amz-Signature={SIGNATURE}", f"https%3A%2F%2Fs3.test%2Fa%3FX-Amz-Signature%3D{SIGNATURE}",
    "http://[::1", "https://r2.test/" + "a" * 9000, " , ;" * 3000, "//h/p", "HTTPS:\\\\h\\p",
    '{"taskId": "clx2"}', "[" * 3000, '{"a":' * 3000, "; rm -rf /", "../../etc", "clx1\n", "%00",
]  # fmt: skip
TEXTS = [
    b"", b"null", b"[" * 200_000, b'{"a":' * 150_000, b'{"code":' + b"9" * 5000 + b"}",
    b'{"data":{"taskId":"clx1"' , b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"<html>no</html>",
    b'{"data": {"taskId": NaN, "credits": -Infinity}}', b'"taskId":' + b" " * 900_000,
    b"1," * 400_000, b"{" + b'"a":1,' * 150_000 + b'"taskId":"clx1"}', b"\x00" * 100_000,
    b"\\" * 500_000, b'{"data":{"failMsg":"' + b"https://" * 120_000 + b'"}}', b"&#115;" * 150_000,
    b'{"data":{"resultUrls":[' + b'"x",' * 200_000 + b'"x"]}}', b"%25" * 300_000,
]  # fmt: skip
HEADERS: list[dict[str, str]] = [
    {},
    {"retry-after": "9" * 400},
    {"retry-after": "Mon, 99 Xxx 99999 99:99:99 +9999"},
    {"content-type": "application/json; charset=klingon"},
    {"content-encoding": "br"},
    {"content-encoding": "gzip"},
    {"content-encoding": "deflate, gzip, gzip, gzip"},
]


class _Pieces(httpx.AsyncByteStream):
    """A body that arrives in pieces, and may break off."""

    def __init__(self, content: bytes, size: int, *, breaks: bool) -> None:
        self._content = content
        self._size = size
        self._breaks = breaks

    async def __aiter__(self) -> Any:
        """Give the pieces."""
        for start in range(0, len(self._content), self._size):
            yield self._content[start : start + self._size]
        if self._breaks:
            raise httpx.ReadError("the connection broke")


def mutated(value: Any, chance: random.Random, depth: int = 0) -> Any:
    """Return JSON in which some values are others, are gone, or stand elsewhere."""
    if chance.random() < 0.06:
        return chance.choice(LEAVES)
    if chance.random() < 0.02:
        nested: Any = value
        for _ in range(chance.choice([3, 40, 300])):
            nested = chance.choice([[nested], {"data": nested}])
        return nested
    if isinstance(value, dict):
        changed = {}
        for name, inner in value.items():
            if chance.random() < 0.04:
                continue
            if chance.random() < 0.03:
                name = chance.choice(
                    ["id", "task_id", "TASKID", "status", name.upper(), "\ud83d", ""]
                )
            changed[name] = mutated(inner, chance, depth + 1)
        return changed
    if isinstance(value, list):
        return [mutated(item, chance, depth + 1) for item in value]
    return value


def body(chance: random.Random) -> bytes:
    """Return the bytes of one answer."""
    kind = chance.random()
    if kind < 0.01:
        return chance.choice(TEXTS)
    text = json.dumps(mutated(chance.choice(BASES), chance), ensure_ascii=chance.random() < 0.8)
    encoded = text.encode(
        chance.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32"]), "surrogatepass"
    )
    if kind < 0.2:
        spoiled = bytearray(encoded)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(spoiled))
            spoiled[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
            if not spoiled:
                break
        return bytes(spoiled)
    if kind < 0.3:
        return encoded[: chance.randrange(len(encoded) + 1)]
    return encoded


def answer(chance: random.Random) -> httpx.Response:
    """Return one answer, packed or not, whole or not."""
    content = body(chance)
    headers = dict(chance.choice(HEADERS))
    if headers.get("content-encoding") == "gzip":
        packed = [
            content,
            gzip.compress(content),
            zlib.compress(content),
            gzip.compress(content)[:-9],
        ]
        content = chance.choice(packed)
        if chance.random() < 0.01:
            content = gzip.compress(bytes(40_000_000), 1)
    status = chance.choice([200, 200, 200, 200, 201, 302, 400, 401, 404, 409, 429, 499, 500, 503])
    stream = _Pieces(content, chance.choice([7, 1000, 65_536]), breaks=chance.random() < 0.05)
    return httpx.Response(status, headers=headers, stream=stream)


def check(text: str) -> None:
    """Fail if a text holds what no log, store or terminal may get."""
    for secret in (KEY, KEY[::-1], TOKEN, SIGNATURE):
        assert secret.lower() not in text.lower(), "a secret is told"
    assert not any(unicodedata.category(each) in ("Cc", "Cs") for each in text.replace("\n", ""))
    assert len(text) < 3000, "a text is not cut"


def check_alone(error: BaseException) -> None:
    """Fail if an error carries another one, which has the request with the key in it."""
    assert error.__context__ is None


def check_job(job: VideoJob, asked: str | None) -> None:
    """Fail if a job holds what it may not."""
    assert job.job_id == asked or (asked is None and is_job_id(job.job_id))
    for text in (job.said_state, job.model, job.fail_code or "", job.fail_words):
        check(text)
    raw = json.dumps(job.raw, ensure_ascii=False, allow_nan=False)
    for secret in (KEY, KEY[::-1], TOKEN, SIGNATURE):
        assert secret not in raw, "a secret is kept"
    raw.encode()


async def read_one(seed: int, ask: Callable[[KlingClient], Any]) -> None:
    """Give one answer to one call; whatever the client raises has to be one of its own errors."""
    chance = random.Random(seed)
    transport = httpx.MockTransport(lambda request: answer(chance))
    settings = ClientSettings(base_url="https://api.test/v1", read_attempts=1)
    async with KlingClient(SecretStr(KEY), settings, transport) as client:
        try:
            await ask(client)
        except KlingError as error:
            check(str(error))
            check(error.job_id or "")
            check_alone(error)


async def create(client: KlingClient) -> None:
    """A paid call."""
    check_job(await client.create(REQUEST), None)


async def get(client: KlingClient) -> None:
    """A poll."""
    check_job(await client.get("clx1"), "clx1")


async def charge(client: KlingClient) -> None:
    """What a job cost."""
    usd = await read_charge(client, "clx1", REQUEST_USD)
    assert usd is None or 0 <= usd <= 5 * max(REQUEST_USD, 1)


async def balance(client: KlingClient) -> None:
    """What is on the account."""
    found = await client.balance()
    assert found.balance.is_finite()
    check(found.currency)


def call(chance: random.Random) -> None:
    """A call of the API to the receiver."""
    job_id = _find_job_id(body(chance))
    assert job_id is None or (job_id.isascii() and job_id.isprintable() and len(job_id) <= 256)


def fuzz_replies(cases: int, first_seed: int = 0) -> Report:
    """Read so many mutated answers and calls; the same seeds give the same inputs."""
    report = Report("replies")
    asks = (create, create, get, get, charge, balance)

    async def run() -> None:
        for seed in range(first_seed, first_seed + cases):
            with report.case(str(seed)):
                number = seed % 7
                if number == 6:
                    call(random.Random(seed))
                else:
                    await read_one(seed, asks[number])

    asyncio.run(run())
    return report
