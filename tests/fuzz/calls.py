"""Mutated calls of the API over ASGI, into the application that ships."""

import asyncio
import json
import random
from typing import cast

import httpx
from pydantic import SecretStr

from prefect_kling.deployments.receiver import Receiver
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.storage.bucket import Bucket
from tests.fuzz.replies import BASES, body
from tests.fuzz.report import Report

SECRET = "a secret of the receiver 0123456789"
CLIP_KEY = "a" * 32
CLAIM = "b" * 8
PIECES = ["..", "%2e%2e", "%00", "\x00", "%ff", "/", "//", "?", "#", "A" * 5000, "🎬", "'", "%0a"]


def path_of(chance: random.Random, right: str) -> str:
    """Return the path of a call: the right one in most cases, for only then its body is read."""
    if chance.random() < 0.7:
        return right
    at = chance.randrange(len(right))
    return right[:at] + chance.choice(PIECES) + right[at + chance.choice([0, 1, 8]) :]


def content(chance: random.Random) -> bytes:
    """Return what is posted: mutated JSON in most cases."""
    if chance.random() < 0.8:
        return body(chance)
    return chance.choice(
        [b"", b"\xff\xfe", b"[" * 50_000, b"x" * 2_000_000, json.dumps(BASES).encode()]
    )


class _EmptyBucket:
    """A bucket without any record: what a call is about was never sent."""

    prefix = ""

    def read(self, path: str) -> None:
        """There is nothing."""


def fuzz_callbacks(cases: int, first_seed: int = 0) -> Report:
    """Post so many mutated calls; each is answered, and what is done with it raises nothing."""
    report = Report("callbacks")

    async def run() -> None:
        addresses = CallbackAddresses("https://cb.test/kling", SecretStr(SECRET))
        token = addresses._token(CLIP_KEY, CLAIM)
        right = f"/kling/{CLIP_KEY}/{CLAIM}/{token}"
        client = KlingClient(SecretStr("sk_fuzz"), ClientSettings(base_url="https://api.test/v1"))
        receiver = Receiver(
            addresses, client, Archive(cast("Bucket", _EmptyBucket())), lambda *_: None
        )
        transport = httpx.ASGITransport(receiver.app("/kling"))
        async with httpx.AsyncClient(transport=transport, base_url="https://cb.test") as caller:
            for seed in range(first_seed, first_seed + cases):
                chance = random.Random(seed)
                with report.case(str(seed)):
                    try:
                        url = httpx.URL(f"https://cb.test{path_of(chance, right)}")
                    except httpx.InvalidURL:
                        continue
                    answer = await caller.request(
                        chance.choice(["POST", "POST", "POST", "GET", "PUT"]),
                        url,
                        content=content(chance),
                    )
                    assert answer.status_code in (202, 307, 400, 404, 405, 413), answer

    asyncio.run(run())
    return report
