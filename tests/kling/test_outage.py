"""An API that comes back meets no stampede: calls after an outage are no denser than before."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import Unavailable
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.outage import FAILURES
from prefect_kling.kling.polling import PollPolicy, poll_until_done

JOBS = 120
POLLS = PollPolicy(first=0.8, longest=0.8, deadline=120)
WINDOW = 0.5
"""Seconds over which calls are counted."""


class Api:
    """An API that is away from one moment to another; it notes when it is asked."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble
        self.calls: list[float] = []
        self.away_from = float("inf")
        self.away_until = float("inf")
        self.ends = float("inf")

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one poll."""
        now = time.monotonic()
        self.calls.append(now)
        if self.away_from <= now < self.away_until:
            return await self._fail(now)
        state = "completed" if now >= self.ends else "processing"
        job_id = request.url.params["task_id"]
        data = {"taskId": job_id, "state": state, "resultUrls": ["https://x.example/a.mp4"]}
        return httpx.Response(200, json={"code": 200, "data": data})

    async def _fail(self, now: float) -> httpx.Response:
        match self.trouble:
            case "refuses":
                raise httpx.ConnectError("refused")
            case "hangs":
                await asyncio.sleep(self.away_until - now)
                raise httpx.ReadError("reset")
            case "names its return":
                back = datetime.now(UTC) + timedelta(seconds=self.away_until - now)
                headers = {"Retry-After": format_datetime(back, usegmt=True)}
                return httpx.Response(503, headers=headers)
        return httpx.Response(503)

    def densest(self, start: float, end: float) -> int:
        """The most calls in any window between two moments."""
        within = [each for each in self.calls if start <= each < end]
        counts = [
            sum(first <= each < first + WINDOW for each in within[index:])
            for index, first in enumerate(within)
        ]
        return max(counts, default=0)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["refuses", "hangs", "is out of order", "names its return"])
async def test_polls_after_an_outage_are_no_denser_than_before_it(trouble: str) -> None:
    """Whatever ended the calls, no job fails, few ask meanwhile, all come back in time."""
    api = Api(trouble)
    start = time.monotonic()
    api.away_from = start + 3.0
    api.away_until = start + 6.5
    api.ends = start + 10.0
    settings = ClientSettings(base_url="https://api.example/v1")
    async with KlingClient(SecretStr("sk_x"), settings, httpx.MockTransport(api)) as client:

        async def wait(number: int) -> VideoJob:
            # As jobs are sent one after the other, their polls are.
            await asyncio.sleep(number / JOBS * POLLS.first)
            return await poll_until_done(client, f"job{number}", POLLS)

        jobs = await asyncio.gather(*map(wait, range(JOBS)))
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    before = api.densest(start + 1.0, api.away_from)
    meanwhile = [each for each in api.calls if api.away_from <= each < api.away_until]
    after = api.densest(api.away_until, api.ends)
    # Chance, and an event loop that stalls on a busy machine, make the densest window differ; a
    # stampede brings nearly all jobs into one.
    assert after <= 1.5 * before
    # 64 may be under way when it begins; after the first failures one looks at a time.
    assert len(meanwhile) <= 64 + 2 * FAILURES + 10


async def test_one_job_that_fails_alone_does_not_stop_the_others() -> None:
    """A server that fails at one job and answers the rest is not away."""

    def answer(request: httpx.Request) -> httpx.Response:
        job_id = request.url.params["task_id"]
        if job_id == "poisoned":
            return httpx.Response(500)
        return httpx.Response(
            200, json={"code": 200, "data": {"taskId": job_id, "state": "pending"}}
        )

    async with _client(answer) as client:
        for _ in range(2 * FAILURES):
            with pytest.raises(Unavailable):
                await client.get("poisoned")
            assert (await client.get("healthy")).job_id == "healthy"


async def test_a_look_that_is_cancelled_leaves_the_next_to_another() -> None:
    """An outage is never believed for ever because the one that looked was cancelled."""
    is_away = True
    hanging = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if not is_away:
            data = {"taskId": request.url.params["task_id"], "state": "pending"}
            return httpx.Response(200, json={"code": 200, "data": data})
        if hanging.is_set():
            await asyncio.sleep(60)
        return httpx.Response(503)

    async with _client(answer) as client:
        for _ in range(FAILURES):
            with pytest.raises(Unavailable):
                await client.get("c1")
        hanging.set()
        async with asyncio.timeout(30):
            look = asyncio.create_task(client.get("c1"))
            await asyncio.sleep(1.0)
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)
            is_away = False
            while True:
                try:
                    job = await client.get("c1")
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                break
    assert job.job_id == "c1"


def _client(answer: Any) -> KlingClient:
    settings = ClientSettings(base_url="https://api.example/v1", read_attempts=1)
    return KlingClient(SecretStr("sk_x"), settings, httpx.MockTransport(answer))
