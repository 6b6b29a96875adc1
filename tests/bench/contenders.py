"""Four ways to make many clips; each returns the jobs and when their clips stood in the store.

All poll by the same policy, share one pool of connections each, and bound what is under way.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, cast

import httpx
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POLLS = PollPolicy(first=5.0, longest=10.0)
SENDS_AT_ONCE = 16
DOWNLOADS_AT_ONCE = 16
CALLS_AT_ONCE = 64


@dataclass(frozen=True)
class Kept:
    """A job, and when its clip was in the store (epoch seconds)."""

    job_id: str
    at: float


@dataclass(frozen=True)
class Place:
    """Where clips are made and kept."""

    base_url: str
    key: str
    s3: "S3Client"
    bucket: str
    prefix: str
    credentials: KlingCredentials
    archive: KlingArchive

    def http(self) -> httpx.AsyncClient:
        """Return a client with one pool."""
        return httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self.key}"},
            limits=httpx.Limits(max_connections=CALLS_AT_ONCE, keepalive_expiry=45),
            timeout=60,
        )


Work = Callable[[Sequence[VideoRequest], Place], Awaitable[list[Kept]]]


async def floor(requests: Sequence[VideoRequest], place: Place) -> list[Kept]:
    """asyncio, httpx and boto3 alone; it keeps no promise at all."""
    sending = asyncio.Semaphore(SENDS_AT_ONCE)
    calling = asyncio.Semaphore(CALLS_AT_ONCE)
    fetching = asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    async with place.http() as http:

        async def make(request: VideoRequest) -> Kept:
            async with sending:
                answer = await http.post("/video/generations", json=request.body("string"))
            job_id = answer.json()["data"]["taskId"]
            delays = POLLS.delays()
            await asyncio.sleep(next(delays))
            while True:
                async with calling:
                    answer = await http.get("/video/generations", params={"task_id": job_id})
                job = answer.json()["data"]
                if job["state"] == "completed":
                    break
                await asyncio.sleep(next(delays))
            async with fetching:
                with SpooledTemporaryFile(max_size=4 * 2**20) as file:
                    async with http.stream("GET", job["resultUrls"][0]) as response:
                        async for piece in response.aiter_raw():
                            file.write(piece)
                    await asyncio.to_thread(_put, place, job_id, file, answer.content)
            return Kept(job_id, time.time())

        return list(await asyncio.gather(*(make(request) for request in requests)))


def _put(place: Place, job_id: str, file: Any, record: bytes) -> None:
    file.seek(0)
    key = f"{place.prefix}/clips/{job_id}"
    place.s3.put_object(Bucket=place.bucket, Key=f"{key}.mp4", Body=file)
    place.s3.put_object(Bucket=place.bucket, Key=f"{key}.json", Body=record)


class _NotDoneError(Exception):
    """The job is not completed yet."""


async def _send(http: httpx.AsyncClient, request: VideoRequest) -> str:
    answer = await http.post("/video/generations", json=request.body("string"))
    return cast("str", answer.json()["data"]["taskId"])


async def _read(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await http.get("/video/generations", params={"task_id": job_id})
    return cast("dict[str, Any]", answer.json()["data"])


async def _archive(http: httpx.AsyncClient, url: str, job_id: str, place: Place) -> Kept:
    video = (await http.get(url)).content
    await asyncio.to_thread(
        place.s3.put_object,
        Bucket=place.bucket,
        Key=f"{place.prefix}/clips/{job_id}.mp4",
        Body=video,
    )
    return Kept(job_id, time.time())


async def plain(requests: Sequence[VideoRequest], place: Place) -> list[Kept]:
    """The plain Prefect way: tasks that submit, poll (retried until done) and archive."""
    sending = asyncio.Semaphore(SENDS_AT_ONCE)
    calling = asyncio.Semaphore(CALLS_AT_ONCE)
    fetching = asyncio.Semaphore(DOWNLOADS_AT_ONCE)
    middle = (POLLS.first + POLLS.longest) / 2

    async with place.http() as http:

        @task(cache_policy=NO_CACHE)
        async def submit(request: VideoRequest) -> str:
            async with sending:
                return await _send(http, request)

        @task(
            cache_policy=NO_CACHE,
            retries=1000,
            retry_delay_seconds=middle,
            retry_jitter_factor=0.3,
        )
        async def poll(job_id: str) -> str:
            async with calling:
                job = await _read(http, job_id)
            if job["state"] != "completed":
                raise _NotDoneError
            return cast("str", job["resultUrls"][0])

        @task(cache_policy=NO_CACHE)
        async def archive(url: str, job_id: str) -> Kept:
            async with fetching:
                return await _archive(http, url, job_id, place)

        async def make(request: VideoRequest) -> Kept:
            job_id = await submit(request)
            return await archive(await poll(job_id), job_id)

        @flow
        async def run() -> list[Kept]:
            return list(await asyncio.gather(*(make(request) for request in requests)))

        return await run()


async def task_per_poll(requests: Sequence[VideoRequest], place: Place) -> list[Kept]:
    """The same with a task run for each poll, by a loop in the flow."""
    sending = asyncio.Semaphore(SENDS_AT_ONCE)
    calling = asyncio.Semaphore(CALLS_AT_ONCE)
    fetching = asyncio.Semaphore(DOWNLOADS_AT_ONCE)

    async with place.http() as http:

        @task(cache_policy=NO_CACHE)
        async def submit(request: VideoRequest) -> str:
            async with sending:
                return await _send(http, request)

        @task(cache_policy=NO_CACHE)
        async def poll(job_id: str) -> dict[str, Any]:
            async with calling:
                return await _read(http, job_id)

        @task(cache_policy=NO_CACHE)
        async def archive(url: str, job_id: str) -> Kept:
            async with fetching:
                return await _archive(http, url, job_id, place)

        async def make(request: VideoRequest) -> Kept:
            job_id = await submit(request)
            delays = POLLS.delays()
            await asyncio.sleep(next(delays))
            while True:
                job = await poll(job_id)
                if job["state"] == "completed":
                    return await archive(job["resultUrls"][0], job_id)
                await asyncio.sleep(next(delays))

        @flow
        async def run() -> list[Kept]:
            return list(await asyncio.gather(*(make(request) for request in requests)))

        return await run()


async def ours(requests: Sequence[VideoRequest], place: Place) -> list[Kept]:
    """`generate_batch`, with all clips at once."""
    # By its path: Prefect takes 512 kB of parameters, which is about 2,400 requests.
    table = f"tables/{random.randbytes(6).hex()}.jsonl"
    lines = [request.model_dump_json(exclude_defaults=True) for request in requests]
    key = f"{place.archive.prefix.strip('/')}/{table}"
    place.s3.put_object(Bucket=place.bucket, Key=key, Body="\n".join(lines).encode())
    # Each row reads the record of its clip when it is asked for: once is enough.
    rows = list(await generate_batch(table, place.credentials, place.archive))
    trouble = [row.trouble for row in rows if row.trouble]
    if trouble:
        raise RuntimeError(f"{len(trouble)} rows have trouble: {trouble[0]}")
    clips = [row.clip for row in rows if row.clip is not None]
    return [Kept(clip.job_id, clip.archived_at.timestamp()) for clip in clips]


CONTENDERS: dict[str, tuple[str, Work]] = {
    "floor": ("asyncio, httpx, boto3 alone", floor),
    "plain": ("plain Prefect", plain),
    "polls": ("a task run for each poll", task_per_poll),
    "ours": ("`generate_batch`", ours),
}


def requests_of(count: int, renders: tuple[float, float]) -> list[VideoRequest]:
    """Return so many requests that nobody has made before; each says how long its render takes."""
    mark = random.randbytes(6).hex()
    shortest, longest = renders
    requests = []
    for number in range(count):
        seconds = round(random.uniform(shortest, longest))
        prompt = f"Clip {number} of {mark} [seconds:{seconds}]"
        requests.append(VideoRequest(model="kling-v3-omni", prompt=prompt, duration=5))
    return requests
