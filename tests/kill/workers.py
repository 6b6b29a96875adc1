"""`python -m tests.kill workers ROWS`: a batch over several workers, some of which are shot.

A real Prefect server, a process pool, workers that take one run at a time, a real S3 server, and
the sandbox in a process of its own. While the batch is made, workers are shot with SIGKILL together
with the runs they started. Exit code 1 when a rule is broken.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.flows import generate_batch
from prefect_kling.studio.batch.results import BatchResult, RowState
from tests.kill.crew import Api, api_process

ROOT = Path(__file__).parent.parent.parent
PREFECT = str(Path(sys.executable).parent / "prefect")
POOL = "kling"


@dataclass(frozen=True)
class Tally:
    """What became of the batch."""

    rows: int
    counts: dict[RowState, int]
    jobs: int
    paid_twice: int
    results: int
    most_running: int
    busy: float
    refill_p95: float
    """Seconds from the poll that was told a job's end to the job that took its place."""
    limit: int | None
    seconds: float

    @property
    def broken(self) -> list[str]:
        """Name the rules that were broken."""
        rules = {
            "a clip was paid twice": self.paid_twice > 0,
            "a row is not archived": self.counts.get(RowState.ARCHIVED, 0) != self.rows,
            "the results are not complete": self.results != self.rows,
            "more jobs ran than the limit": self.limit is not None
            and self.most_running > self.limit,
        }
        return [rule for rule, is_broken in rules.items() if is_broken]


def surroundings(address: str) -> dict[str, str]:
    """What a process needs to use the Prefect server."""
    quick = {"PREFECT_API_URL": f"{address}/api", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return dict(os.environ) | quick


def deploy(address: str) -> None:
    """Deploy everything into a process pool."""

    async def make_pool() -> None:
        async with get_client() as api:
            await api.create_work_pool(WorkPoolCreate(name=POOL, type="process"))

    asyncio.run(make_pool())
    file = str(ROOT / "deployments" / "prefect.yaml")
    command = [PREFECT, "--no-prompt", "deploy", "--prefect-file", file, "--all"]
    subprocess.run(command, env=surroundings(address), check=True, stdout=subprocess.DEVNULL)


@contextmanager
def workers(count: int, folder: Path, address: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers that take one run at a time, each with its runs in a session of its own."""
    environment = surroundings(address)
    command = [PREFECT, "worker", "start", "--pool", POOL, "--limit", "1"]
    started = []
    for number in range(count):
        with (folder / f"worker-{number}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            )
    try:
        yield started
    finally:
        for process in started:
            shoot(process)


def shoot(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all that it has started: none of them can say so."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    worker.wait()


def table(rows: int) -> str:
    """A table with an id in each row."""
    lines = ["id,prompt,duration"]
    lines += [f"SKU-{number},mug {number},3" for number in range(1, rows + 1)]
    return "\n".join(lines)


async def shoot_on_the_way(
    started: Sequence[subprocess.Popen[bytes]], shots: int, rows: int, api: Api
) -> None:
    """Shoot a worker whenever another part of the rows has been ordered."""
    for number in range(shots):
        ordered = rows * (number + 1) // (shots + 1)
        while len(await asyncio.to_thread(api.read, "jobs")) < ordered:
            await asyncio.sleep(0.5)
        await asyncio.to_thread(shoot, started[number])
        print(f"worker {number} was shot after {ordered} jobs", flush=True)


@dataclass(frozen=True)
class Running:
    """How many jobs ran at a time, by the API's own clock."""

    most: int
    busy: float
    """The part of the places that was taken while there was a backlog, on average over time."""
    refill_p95: float

    @classmethod
    def of(cls, jobs: Sequence[dict[str, Any]], limit: int | None) -> "Running":
        """Count the jobs of a batch. The backlog ends with the last job that was created."""
        changes = [(job["created"], 1) for job in jobs]
        changes += [(job["ended"], -1) for job in jobs if job["ended"] is not None]
        changes.sort()
        until = max(job["created"] for job in jobs)
        running = 0
        most = 0
        full_since = None
        taken = 0.0
        last = 0
        for at, change in changes:
            if full_since is not None and at <= until:
                taken += running * (at - last)
            last = at
            running += change
            most = max(most, running)
            if full_since is None and running == limit:
                full_since = at
        busy = 0.0
        if full_since is not None and limit is not None and until > full_since:
            busy = taken / (limit * (until - full_since))
        return cls(most, busy, _refill_p95(jobs, limit))


def _refill_p95(jobs: Sequence[dict[str, Any]], limit: int | None) -> float:
    """Return how long nineteen of twenty places were free that a poll had told to be, in seconds.

    The first job beyond the limit takes the place that was told first, and so on.
    """
    if limit is None:
        return 0.0
    told = sorted(job["told"] for job in jobs if job["told"] is not None)
    later = sorted(job["created"] for job in jobs)[limit:]
    delays = [max(0, at - free) / 1000 for free, at in zip(told, later, strict=False)]
    if len(delays) < 2:
        return 0.0
    return statistics.quantiles(delays, n=20, method="inclusive")[18]


async def make(
    rows: int,
    count: int,
    shots: int,
    api: Api,
    archive: KlingArchive,
    limit: int | None,
    address: str,
    disk: Path,
) -> Tally:
    """Make the batch and count."""
    credentials = KlingCredentials(
        api_key=SecretStr(api.key), base_url=api.url, parallel_jobs=limit
    )
    await credentials.asave("default", overwrite=True)
    await archive.asave("default", overwrite=True)
    begun = time.monotonic()
    with workers(count, disk, address) as started:
        shooting = asyncio.create_task(shoot_on_the_way(started, shots, rows, api))
        result: BatchResult = await generate_batch(table(rows), credentials, archive, workers=count)
        shooting.cancel()
        await asyncio.gather(shooting, return_exceptions=True)
    jobs = api.read("jobs")
    running = Running.of(jobs, limit)
    prompts = Counter(job["body"]["prompt"] for job in jobs)
    lines = list(result.read_rows(archive.get_archive()))
    return Tally(
        rows=rows,
        counts=dict(result.counts),
        jobs=prompts.total(),
        paid_twice=sum(times - 1 for times in prompts.values()),
        results=len({row.given["id"] for row in lines}),
        most_running=running.most,
        busy=running.busy,
        refill_p95=running.refill_p95,
        limit=limit,
        seconds=time.monotonic() - begun,
    )


def main(arguments: Sequence[str]) -> int:
    """Run it as the arguments say, and print what became of it."""
    parser = argparse.ArgumentParser("python -m tests.kill workers")
    parser.add_argument("rows", type=int, nargs="?", default=2000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None, help="running jobs of the account")
    parser.add_argument("--render", type=float, nargs=2, default=(10.0, 30.0))
    given = parser.parse_args(arguments)
    with ExitStack() as stack:
        temporary = TemporaryDirectory(prefix="prefect-kling-", ignore_cleanup_errors=True)
        disk = Path(stack.enter_context(temporary))
        api = stack.enter_context(api_process(disk / "api", tuple(given.render)))
        s3 = stack.enter_context(seaweed(disk / "s3", BUCKET))
        address = stack.enter_context(prefect_server(disk / "prefect"))
        deploy(address)
        tally = asyncio.run(
            make(
                given.rows,
                given.workers,
                given.shots,
                api,
                local_archive(s3),
                given.limit,
                address,
                disk,
            )
        )
    print(tally)
    for rule in tally.broken:
        print(f"BROKEN: {rule}")
    return int(bool(tally.broken))
