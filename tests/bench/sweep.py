"""Ten thousand paid clips whose runs all died, and one sweep: `python -m tests.bench.sweep [N]`.

Three processes: the API and the S3 server as they are, one that submits and dies, one that sweeps.
Printed are the time and the peak memory of the sweep.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from pydantic import SecretStr

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import SandboxSettings, serve
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import reconcile
from prefect_kling.studio.money.submission import submit_once
from prefect_kling.studio.storage.bucket import Bucket

REQUEST = VideoRequest(model="kling-v3-omni", prompt="One of very many", duration=3)
AT_ONCE = 32


async def submit(client: KlingClient, archive: Archive, count: int) -> None:
    """Pay for so many takes of one request, and die."""
    takes = iter(range(1, count + 1))

    async def work() -> None:
        for take in takes:
            await submit_once(ClipOrder(request=REQUEST, take=take), client, archive)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    os._exit(0)


async def collect(client: KlingClient, archive: Archive) -> None:
    """Sweep once and print what it took."""
    before, start = peak_mib(), time.perf_counter()
    findings = await reconcile(archive, client)
    took = time.perf_counter() - start
    print(
        f"{findings.counts} in {took:.0f} s, peak {peak_mib():.0f} MiB "
        f"({peak_mib() - before:.0f} MiB on top)"
    )


def peak_mib() -> float:
    """The highest memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def play(part: str, count: int, where: list[str]) -> None:
    """Be one of the two clients."""
    url, endpoint, access, secret = where
    archive = Archive(Bucket(LocalS3(endpoint, access, secret).client(), BUCKET, "many"))
    async with KlingClient(
        SecretStr(SandboxSettings().key), ClientSettings(base_url=url)
    ) as client:
        await (submit(client, archive, count) if part == "submit" else collect(client, archive))


def direct(count: int) -> None:
    """Start the servers, then one client after the other."""
    with TemporaryDirectory() as disk, ExitStack() as servers:
        s3 = servers.enter_context(seaweed(Path(disk) / "s3", BUCKET))
        port = str(free_ports(1)[0])
        url = f"http://127.0.0.1:{port}/api/v1"
        command = [sys.executable, "-m", "tests.bench.sweep", "api", port, f"{disk}/api"]
        servers.enter_context(
            running(command, os.environ, Path(disk) / "api.log", lambda: _answers(url))
        )
        for part in ("submit", "collect"):
            start = time.perf_counter()
            where = [url, s3.endpoint, s3.access_key, s3.secret_key]
            subprocess.run(
                [sys.executable, "-m", "tests.bench.sweep", part, str(count), *where], check=True
            )
            print(f"{part}: {time.perf_counter() - start:.0f} s for {count} clips", flush=True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/balance").status_code == 401
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["api", port, folder]:
            dear = {
                "render_seconds": (0.0, 0.0),
                "balance_usd": 10**6,
                "stamp_job_id": False,
                "short_side": 90,
            }
            serve(SandboxSettings(port=int(port), folder=folder, **dear))  # type: ignore[arg-type]
        case [("submit" | "collect") as part, count, *where]:
            asyncio.run(play(part, int(count), where))
        case [count]:
            direct(int(count))
        case _:
            direct(10_000)
