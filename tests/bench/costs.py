"""What a clip's processor time goes to: `python -m tests.bench.costs`, also part of `make bench`.

Each step is done many times in this process; its processor time is divided by their number. API,
S3 server and Prefect server are processes of their own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.media.probe import inspect
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.result_files import fetch_result
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger
from tests.bench.contest import markdown, write_section
from tests.kill.crew import api_process

TIMES = 200
TASK_RUNS = 3
LOG_LINES = 6
STORE_CALLS = 13
API_CALLS = 3
"""Of one clip of a batch: request, poll, charge. The file counts as a download."""


@dataclass(frozen=True)
class Step:
    """A step of a clip's life, how often a clip needs it, and what one costs in milliseconds."""

    name: str
    per_clip: int
    milliseconds: float


async def cpu_of(work: Callable[[int], Awaitable[object]]) -> float:
    """Return the processor time of one piece of work in milliseconds, all threads included."""
    await work(-1)
    before = time.process_time()
    for number in range(TIMES):
        await work(number)
    return 1000 * (time.process_time() - before) / TIMES


@task(cache_policy=NO_CACHE, persist_result=False)
async def do_nothing() -> None:
    """A task run that does nothing; Prefect logs its end."""


@flow(persist_result=False)
async def runs_and_lines() -> tuple[float, float]:
    """Return what a task run costs, and what a line in its run's log costs."""

    async def log(number: int) -> None:
        run_logger().info("clip %d: job %s, at most $%s", number, "clx5y1", "0.1899")

    return await cpu_of(lambda number: do_nothing()), await cpu_of(log)


async def calls(client: KlingClient, bucket: Bucket) -> list[Step]:
    """Return what calls of the API and of the store cost, a download, and a look at the file."""
    request = VideoRequest(model="kling-v3-omni", prompt="Costs", duration=5)
    order = ClipOrder(request=request)
    job = await client.create(request)
    job = await poll_until_done(client, job.job_id, PollPolicy(0.1, 0.5, deadline=60))

    async def write(number: int) -> None:
        await in_thread(bucket.put, f"costs/{number}", b"{}" * 500, "application/json")

    async def read(number: int) -> None:
        await in_thread(bucket.read, "costs/0")

    with TemporaryFile("w+b") as file:

        def download() -> None:
            file.seek(0)
            fetch_result(job.urls[0], file, order, client.result_access)

        def look() -> None:
            file.seek(0)
            inspect(file)

        poll = await cpu_of(lambda number: client.get(job.job_id))
        written = await cpu_of(write)
        stored = (written + await cpu_of(read)) / 2
        downloaded = await cpu_of(lambda number: asyncio.to_thread(download))
        looked_at = await cpu_of(lambda number: asyncio.to_thread(look))
    return [
        Step("call of the store, 1 kB", STORE_CALLS, stored),
        Step("call of the API", API_CALLS, poll),
        Step("download of the file, over a connection of its own", 1, downloaded),
        Step("check of the file", 1, looked_at),
    ]


def measure() -> str:
    """Start what is needed, measure, and return the table as Markdown."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        disk = Path(folder)
        api = stack.enter_context(api_process(disk / "api", (0.0, 0.0)))
        s3 = stack.enter_context(seaweed(disk / "s3", BUCKET))
        stack.enter_context(prefect_server(disk / "prefect"))
        run, line = asyncio.run(runs_and_lines())

        async def measure_calls() -> list[Step]:
            settings = ClientSettings(base_url=api.url)
            async with KlingClient(SecretStr(api.key), settings) as client:
                return await calls(client, local_archive(s3).get_archive().bucket)

        steps = asyncio.run(measure_calls())
    # A task run logs one line, which is counted among the lines.
    steps.append(Step("task run, without its line in the log", TASK_RUNS, run - line))
    steps.append(Step("line in the log of a run", LOG_LINES, line))
    rows = []
    for step in steps:
        share = step.per_clip * step.milliseconds
        rows.append((step.name, str(step.per_clip), f"{step.milliseconds:.1f}", f"{share:.0f}"))
    total = sum(step.per_clip * step.milliseconds for step in steps)
    rows.append(("together", "", "", f"{total:.0f}"))
    headings = ("step", "for each clip", "CPU, ms", "ms for each clip")
    return "\n".join(markdown(headings, rows))


def main() -> None:
    """Measure, print, and write docs/benchmarks.md."""
    table = measure()
    write_section("costs", table)
    print(table)


if __name__ == "__main__":
    main()
