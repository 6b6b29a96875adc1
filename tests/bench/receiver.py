"""Clips archived by the receiver alone: `python -m tests.bench.receiver [N=60]`.

All are submitted at once; nobody waits for one half of them, and a run waits for each of the other.
Printed is the time from the API's own end of a job to the clip in the archive, and the GETs a clip
took, whoever made them (polls, charge and file). API, S3 server, receiver and the waiting runs
share this machine.
"""

import asyncio
import logging
import re
import statistics
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from prefect_kling.blocks import KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.deployments.receiver import Receiver
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import (
    Collected,
    Outcome,
    keep_paid_job,
    wait_for_paid_job,
)
from prefect_kling.studio.money.submission import SubmitOptions, submit_once

JOB_ID = re.compile(r"GET \S*(clx[0-9a-z]{22})")
QUIET_SECONDS = 120.0


class Gets(logging.Handler):
    """Counts the GETs of each job by the HTTP client's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        if found := JOB_ID.search(record.getMessage()):
            self.of[found[1]] += 1


async def make(count: int, sandbox: Sandbox, archive: Archive) -> list[Clip]:
    """Submit so many clips with a receiver; return them when archived, the awaited ones last."""
    port, clips, all_there = free_ports(1)[0], [], asyncio.Event()
    loop = asyncio.get_running_loop()
    block = KlingCredentials(
        api_key=SecretStr(sandbox.key),
        base_url=sandbox.base_url,
        receiver_url=f"http://127.0.0.1:{port}",
        receiver_secret=SecretStr("a secret for one benchmark"),
    )
    assert block.callbacks is not None

    async def announce(entry: Entry, collected: Collected) -> None:
        if collected.outcome is Outcome.ARCHIVED and collected.clip is not None:
            clips.append(collected.clip)
        if len(clips) == count:
            loop.call_soon_threadsafe(all_there.set)

    app = Receiver(block.callbacks, block.get_client(), archive, announce).app()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        async with block.get_client() as client, asyncio.timeout(QUIET_SECONDS + count):
            request = VideoRequest(model="kling-v3-omni", prompt="One of many", duration=3)
            orders = [ClipOrder(request=request, take=take) for take in range(1, count + 1)]
            terms = SubmitOptions(callback=block.callback)
            entries = await asyncio.gather(
                *(submit_once(order, client, archive, terms) for order in orders)
            )
            await asyncio.gather(
                *(follow(entry, block, client, archive) for entry in entries[count // 2 :])
            )
            await all_there.wait()
    finally:
        server.should_exit = True
        thread.join()
    return sorted(clips, key=lambda clip: clip.order.take)


async def follow(
    entry: Entry, block: KlingCredentials, client: KlingClient, archive: Archive
) -> None:
    """Wait for a clip and keep it, as a run does."""
    job = await wait_for_paid_job(entry, client, archive, block.poll_policy, is_watched=True)
    await keep_paid_job(entry, job, client, archive)


async def ready_to_archived(clips: list[Clip], sandbox: Sandbox) -> list[float]:
    """Seconds from the API's end of each job to its clip in the archive."""
    async with KlingClient(
        SecretStr(sandbox.key), ClientSettings(base_url=sandbox.base_url)
    ) as client:
        jobs = [await client.get(clip.job_id) for clip in clips]
    ends = [job.completed_at for job in jobs]
    return [
        (clip.archived_at - end).total_seconds()
        for clip, end in zip(clips, ends, strict=True)
        if end
    ]


def bench(count: int) -> Table:
    """Make the clips with local stand-ins and return the figures."""
    gets, log = Gets(), logging.getLogger("httpx")
    log.setLevel(logging.INFO)
    log.addHandler(gets)
    log.propagate = False
    with TemporaryDirectory() as disk, ExitStack() as servers:
        s3 = servers.enter_context(seaweed(Path(disk) / "s3", BUCKET))
        settings = SandboxSettings(
            render_seconds=(4.0, 12.0),
            short_side=180,
            folder=Path(disk),
            balance_usd=Decimal(count * 5),
            stamp_job_id=False,
        )
        sandbox = servers.enter_context(Sandbox(settings))
        clips = asyncio.run(make(count, sandbox, local_archive(s3).get_archive()))
        counts = [gets.of[clip.job_id] for clip in clips]
        seconds = asyncio.run(ready_to_archived(clips, sandbox))
    parts = statistics.quantiles(seconds, n=20, method="inclusive")
    left, waited = counts[: count // 2], counts[count // 2 :]
    table = Table("figure", "value", title=f"{count} clips, finished by the receiver")
    table.add_row("ready → archived, p50", f"{statistics.median(seconds):.2f} s")
    table.add_row("ready → archived, p95", f"{parts[18]:.2f} s")
    table.add_row("ready → archived, longest", f"{max(seconds):.2f} s")
    table.add_row(
        "GETs of a clip nobody waits for, mean and most",
        f"{statistics.mean(left):.2f}, {max(left)}",
    )
    table.add_row(
        "GETs of a clip a run waits for, mean and most",
        f"{statistics.mean(waited):.2f}, {max(waited)}",
    )
    return table


if __name__ == "__main__":
    Console().print(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
