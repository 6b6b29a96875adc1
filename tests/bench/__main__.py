"""Benchmarks: `make bench N="300 1000"` prints its tables and writes them into docs/benchmarks.md.

Figures of parts are medians on this machine, against the local stand-ins.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.media.contact_sheet import Caption, contact_sheet
from prefect_kling.studio.media.frames import last_frame
from prefect_kling.studio.media.join import Chapter, Part, join
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import submit_once
from tests.bench import assembly, costs
from tests.bench.contest import compare, markdown, write_section

WAITING = 1000
ROUNDS = 5
Row = tuple[str, str]


def seconds_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median time of a piece of work."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def order(name: str, **fields: object) -> ClipOrder:
    """An order for a clip of this name."""
    return ClipOrder(
        request=VideoRequest.model_validate({"model": "kling-v3-omni", "prompt": name} | fields)
    )


async def made(client: KlingClient, asked: ClipOrder) -> VideoJob:
    """The completed job of an order."""
    job = await client.create(asked.request)
    return await poll_until_done(client, job.job_id, PollPolicy(0.1, 0.5, deadline=120))


async def bench_waiting(sandbox: Sandbox, client: KlingClient) -> list[Row]:
    """A thousand clips waited for at once, ten polls each."""
    job = await client.create(order("waiting").request)
    sandbox.fault(on="get", do={"state": "processing"}, times=None)
    cpu = time.process_time()
    patience = PollPolicy(first=1.0, longest=1.0, deadline=10.5)
    waits = [poll_until_done(client, job.job_id, patience) for _ in range(WAITING)]
    start = time.perf_counter()
    await asyncio.gather(*waits, return_exceptions=True)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    sandbox.clear_faults()
    return [
        (f"{WAITING} clips waiting, about ten polls each: wall", f"{wall:.1f} s"),
        ("  processor time, sandbox included", f"{cpu:.1f} s"),
    ]


async def bench_money(client: KlingClient, archive: Archive) -> list[Row]:
    """What the ledger adds to a submission."""

    async def median(work: Callable[[int], Awaitable[object]]) -> float:
        times = []
        for number in range(20):
            start = time.perf_counter()
            await work(number)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    bare = await median(lambda number: client.create(order(f"bare {number}").request))
    safe = await median(lambda number: submit_once(order(f"safe {number}"), client, archive))
    rows = [("submit without the ledger", bare), ("submit through the ledger", safe)]
    return [(name, f"{took * 1000:.0f} ms") for name, took in rows]


def bench_archive(archive: Archive, job: VideoJob, access: ResultAccess) -> list[Row]:
    """From a finished job to a verified object in S3."""
    numbers = iter(range(1000))
    took = seconds_of(
        lambda: archive.keep(order(f"kept {next(numbers)}", mode="pro"), job, access=access),
        rounds=10,
    )
    size = archive.keep(order("kept 0", mode="pro"), job, access=access).bytes
    return [(f"archive a clip of {size / 1e6:.1f} MB, verified", f"{took * 1000:.0f} ms")]


def bench_media(clips: list[Path], disk: Path) -> list[Row]:
    """Last frame, joins and contact sheet of 1080p clips of five seconds."""
    film = disk / "film.mp4"
    parts = [Part(clip, [Chapter(clip.stem)]) for clip in clips]
    report = join(parts, film)
    sheet = [Caption(start, 5.0, "") for start in report.starts]
    rows = [
        ("last frame of a 1080p clip of 5 s", seconds_of(lambda: last_frame(clips[0]))),
        (f"join {len(clips)} such clips, copied", seconds_of(lambda: join(parts, film))),
        ("contact sheet of that film", seconds_of(lambda: contact_sheet(film, sheet))),
    ]
    return [(name, f"{took:.2f} s") for name, took in rows]


async def measure(sandbox: Sandbox, archive: Archive, disk: Path) -> list[Row]:
    """All figures, one after the other."""
    settings = ClientSettings(base_url=sandbox.base_url, read_attempts=1)
    async with KlingClient(SecretStr(sandbox.key), settings) as client:
        rows = await bench_money(client, archive)
        jobs = [await made(client, order(f"film {number}", mode="pro")) for number in range(4)]
        rows += await bench_waiting(sandbox, client)
    rows += bench_archive(archive, jobs[0], client.result_access)
    clips = []
    for number, job in enumerate(jobs):
        clip = archive.keep(order(f"film {number}", mode="pro"), job, access=client.result_access)
        clips.append(disk / f"{number}.mp4")
        with clips[-1].open("w+b") as file:
            archive.copy_out(clip, file)
    return rows + bench_media(clips, disk)


def main(counts: list[int]) -> None:
    """Start the stand-ins, measure, print, and write docs/benchmarks.md."""
    print(compare(counts))
    costs.main()
    with ExitStack() as running:
        disk = Path(running.enter_context(TemporaryDirectory()))
        s3 = running.enter_context(seaweed(disk / "s3", BUCKET))
        settings = SandboxSettings(render_seconds=(0.0, 0.0), balance_usd=100_000)
        sandbox = running.enter_context(Sandbox(settings))
        rows = asyncio.run(measure(sandbox, local_archive(s3).get_archive(), disk))
    assembled = assembly.measure()
    if assembled:
        write_section("films", "\n".join(markdown(assembly.HEADINGS, assembled)))
    write_section("medians", "\n".join(markdown(("what", "figure"), rows)))
    table = Table(title="medians on this machine", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [300, 1000])
