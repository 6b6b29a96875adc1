"""An API that goes away under 500 waiting clips: `python -m tests.bench.outage [CLIPS SECONDS]`.

Polls are those of the block's defaults, over HTTP, against an API in a process of its own. Printed
are the calls a second before, during and after the outage, and what became of the waiting.
"""

import asyncio
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from pydantic import SecretStr

from prefect_kling.blocks import KlingCredentials
from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.polling import poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import SandboxSettings, serve
from prefect_kling.sandbox.settings import DEFAULT_KEY

STEADY_SECONDS = 40.0
"""How long the calls are counted before and after the outage."""
WINDOW = 5
"""Seconds over which calls are counted."""
AWAY = [{"on": "get", "do": {"drop": True}, "times": None}]


async def watch(root: str, counts: list[tuple[float, int]]) -> None:
    """Note how many polls the API has counted, every second."""
    async with httpx.AsyncClient(timeout=60) as http:
        while True:
            stats = (await http.get(f"{root}/sandbox/stats")).json()
            counts.append((time.monotonic(), stats["polled"]))
            await asyncio.sleep(1.0)


def densest(counts: list[tuple[float, int]], start: float, end: float) -> float:
    """Return the most calls a second in any window of some seconds between two moments."""
    within = [each for each in counts if start <= each[0] <= end]
    rates = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in zip(within, within[WINDOW:], strict=False)
    ]
    return max(rates, default=0.0)


async def measure(root: str, clips: int, away_seconds: float) -> None:
    """Wait for so many jobs through an outage, and print the figures."""
    block = KlingCredentials(api_key=SecretStr(DEFAULT_KEY), base_url=f"{root}/api/v1")
    seconds = round(2 * STEADY_SECONDS + away_seconds + 30)
    request = VideoRequest(model="kling-v3-omni", prompt=f"Waiting [seconds:{seconds}]", duration=3)
    counts: list[tuple[float, int]] = []
    async with block.get_client() as client, httpx.AsyncClient(timeout=60) as http:
        jobs = await _make(client, request, clips)
        watching = asyncio.ensure_future(watch(root, counts))
        waits = [poll_until_done(client, job.job_id, block.poll_policy) for job in jobs]
        waiting = asyncio.gather(*waits, return_exceptions=True)
        # The first polls are five seconds apart, later ones ten.
        await asyncio.sleep(20)
        start = time.monotonic()
        await asyncio.sleep(STEADY_SECONDS)
        away_from = time.monotonic()
        await http.post(f"{root}/sandbox/faults", json=AWAY)
        await asyncio.sleep(away_seconds)
        await http.delete(f"{root}/sandbox/faults")
        away_until = time.monotonic()
        await asyncio.sleep(STEADY_SECONDS)
        end = time.monotonic()
        outcomes = await waiting
        watching.cancel()
    failed = [each for each in outcomes if isinstance(each, BaseException)]
    print(f"{clips} clips, {away_seconds:g} s without the API: {len(failed)} failed")
    print(f"calls a second at most, before: {densest(counts, start, away_from):.0f}")
    print(
        f"calls a second at most, meanwhile: {densest(counts, away_from + WINDOW, away_until):.0f}"
    )
    print(f"calls a second at most, after: {densest(counts, away_until, end):.0f}")


async def _make(client: KlingClient, request: VideoRequest, clips: int) -> list[VideoJob]:
    sending = asyncio.Semaphore(16)

    async def one() -> VideoJob:
        async with sending:
            return await client.create(request)

    return list(await asyncio.gather(*(one() for _ in range(clips))))


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/sandbox/stats").status_code == 200
    except httpx.HTTPError:
        return False


def main(words: list[str]) -> None:
    """Play one part."""
    match words:
        case ["api", api_port, folder]:
            serve(
                SandboxSettings(port=int(api_port), folder=folder, paints=False, balance_usd=10**6)
            )
        case _:
            clips, away_seconds = map(int, words or ("500", "60"))
            with TemporaryDirectory() as disk, ExitStack() as stack:
                (port,) = free_ports(1)
                root = f"http://127.0.0.1:{port}"
                command = [sys.executable, "-m", "tests.bench.outage", "api", str(port), disk]
                log = Path(disk) / "api.log"
                stack.enter_context(running(command, os.environ, log, lambda: _answers(root)))
                asyncio.run(measure(root, clips, away_seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
