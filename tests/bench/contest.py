"""Many clips made in four ways, measured in one run: `python -m tests.bench.contest [COUNT ...]`.

API, S3 server and Prefect server run in processes of their own, and so does each contender: its
processor time and memory are its own. Every contender is warmed up with two clips first. All clips
share one static video.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL
from pydantic import SecretStr

from prefect_kling.blocks import KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.sandbox import SandboxSettings, serve
from prefect_kling.sandbox.painter import paint_clip
from prefect_kling.sandbox.settings import DEFAULT_KEY
from prefect_kling.studio.media.picture_checks import PictureChecks
from tests import documents
from tests.bench.contenders import CONTENDERS, Place, requests_of
from tests.bench.gauge import count_calls, gauge

DOCUMENT = documents.ROOT / "docs" / "benchmarks.md"
WARM_UP = 2
INSTANT = (0.0, 0.0)
RENDERED = (30.0, 60.0)
"""Shortest and longest render times, in seconds."""
HEADINGS = (
    "way",
    "clips",
    "wall",
    "clips/s",
    "CPU per clip",
    "peak above start",
    "loop lag p99",
    "API calls per clip",
    "connections",
    "store calls per clip",
    "Prefect's calls / task runs / events per clip",
    "ready → archived p50 / p95",
)


@dataclass(frozen=True)
class Match:
    """One measurement: who makes how many clips, and how long their renders take in seconds."""

    contender: str
    count: int
    renders: tuple[float, float]


@dataclass(frozen=True)
class Servers:
    """Where the servers are."""

    api_port: int
    s3: LocalS3
    prefect_url: str

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self.api_port}/api/v1"


async def compete(match: Match, servers: Servers) -> dict[str, Any]:
    """Make the clips in this process and return what it cost."""
    prefix = f"{match.contender}-{match.count}-{os.getpid()}"
    prefect_port = urlsplit(servers.prefect_url).port or 0
    calls = count_calls(servers.api_port, prefect_port, prefix)
    credentials = KlingCredentials(api_key=SecretStr(DEFAULT_KEY), base_url=servers.base_url)
    # The other ways check nothing, and all clips are one video.
    unchecked = {"picture_checks": PictureChecks(enabled=False)}
    archive = local_archive(servers.s3, prefix).model_copy(update=unchecked)
    place = Place(
        servers.base_url, DEFAULT_KEY, servers.s3.client(), BUCKET, prefix, credentials, archive
    )
    _, work = CONTENDERS[match.contender]
    await work(requests_of(WARM_UP, INSTANT), place)
    await _drain()
    calls.api.clear()
    calls.store.clear()
    calls.prefect = 0
    calls.connections = 0
    before = await _settled()
    async with gauge() as cost:
        kept = await work(requests_of(match.count, match.renders), place)
        await _drain()
    after = await _settled()
    return {
        "cost": asdict(cost),
        "api": dict(calls.api),
        "store": dict(calls.store),
        "prefect": calls.prefect,
        "connections": calls.connections,
        "seen": {name: after[name] - before[name] for name in after},
        "kept": [[each.job_id, each.at] for each in kept],
    }


async def _drain() -> None:
    await asyncio.to_thread(APILogWorker.drain_all, 60)
    await asyncio.to_thread(EventsWorker.drain_all, 60)


async def _settled() -> dict[str, int]:
    """Return what the server knows once it has worked through what it was sent."""
    seen = await _seen_by_prefect()
    while True:
        await asyncio.sleep(5)
        now = await _seen_by_prefect()
        if now == seen:
            return now
        seen = now


async def _seen_by_prefect() -> dict[str, int]:
    async with httpx.AsyncClient(timeout=120) as http:
        url = PREFECT_API_URL.value()
        runs = await http.post(f"{url}/task_runs/count", json={})
        events = await http.post(f"{url}/events/filter", json={"limit": 1})
        return {"task runs": runs.json(), "events": events.json()["total"]}


def measure(match: Match, servers: Servers, disk: Path) -> tuple[str, ...]:
    """Run one contender in a process of its own, and return its row."""
    told = disk / "figures.json"
    command = [sys.executable, "-m", "tests.bench.contest", "compete", json.dumps(asdict(match))]
    command += [json.dumps(asdict(servers)), str(told)]
    environment = os.environ | {
        "PREFECT_API_URL": servers.prefect_url,
        "PREFECT_HOME": str(disk / "prefect-client"),
        "DO_NOT_TRACK": "1",
    }
    with (disk / f"{match.contender}-{match.count}.log").open("wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        tail = Path(log.name).read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{match} failed:\n{tail}")
    found = json.loads(told.read_text())
    print(match, found["cost"], found["api"], found["store"], flush=True)
    return _row(match, found, _delays(found["kept"], servers))


def _delays(kept: list[tuple[str, float]], servers: Servers) -> list[float]:
    """Return how long each clip took from the end of its job, by the API's clock, to the store."""
    delays = []
    headers = {"Authorization": f"Bearer {DEFAULT_KEY}"}
    with httpx.Client(base_url=servers.base_url, headers=headers) as http:
        for job_id, at in kept:
            job = http.get("/video/generations", params={"task_id": job_id}).json()["data"]
            delays.append(at - job["completeTime"] / 1000)
    return delays


def _row(match: Match, found: dict[str, Any], delays: list[float]) -> tuple[str, ...]:
    cost = found["cost"]
    count = match.count
    api = sum(found["api"].values())
    polls = found["api"].get("poll", 0)
    seen = found["seen"]
    percentiles = statistics.quantiles(delays, n=20, method="inclusive")
    return (
        CONTENDERS[match.contender][0],
        f"{count:,}",
        f"{cost['wall_seconds']:.0f} s",
        f"{count / cost['wall_seconds']:.1f}",
        f"{1000 * cost['cpu_seconds'] / count:.0f} ms",
        f"{cost['peak_bytes'] / 1e6:.0f} MB",
        f"{1000 * cost['lag_p99_seconds']:.0f} ms",
        f"{api / count:.1f} ({polls / count:.1f} polls)",
        f"{found['connections']:,}",
        f"{sum(found['store'].values()) / count:.1f}",
        " / ".join(
            f"{each / count:.1f}" for each in (found["prefect"], seen["task runs"], seen["events"])
        ),
        f"{percentiles[9]:.1f} / {percentiles[18]:.1f} s",
    )


def contest(matches: Sequence[Match]) -> Iterator[tuple[Match, tuple[str, ...]]]:
    """Yield a row for each match."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        disk = Path(folder)
        servers = start(stack, disk)
        for match in matches:
            yield match, measure(match, servers, disk)


def start(stack: ExitStack, disk: Path) -> Servers:
    """Start the servers that all use, until the stack is closed."""
    video = disk / "static.mp4"
    body = {"model": "kling-v3-omni", "prompt": "Static", "duration": 5}
    paint_clip(body, [], video, number=1)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.contest", "api", str(port), str(disk / "api")]
    command.append(str(video))
    s3 = stack.enter_context(seaweed(disk / "s3", BUCKET))
    servers = Servers(port, s3, "")
    stack.enter_context(
        running(command, os.environ, disk / "api.log", lambda: _answers(servers.base_url))
    )
    address = stack.enter_context(prefect_server(disk / "prefect"))
    return Servers(port, s3, f"{address}/api")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/balance").status_code == 401
    except httpx.HTTPError:
        return False


def all_matches(counts: Sequence[int]) -> list[Match]:
    """Return everybody at the smallest count, and the floor and ours at each."""
    matches = []
    for renders in (INSTANT, RENDERED):
        matches += [Match(name, min(counts), renders) for name in CONTENDERS]
        for count in sorted(set(counts) - {min(counts)}):
            matches += [Match(name, count, renders) for name in ("floor", "ours")]
    return matches


def compare(counts: Sequence[int]) -> str:
    """Measure everybody, write the table into docs/benchmarks.md, and return it."""
    rows: dict[tuple[float, float], list[tuple[str, ...]]] = {}
    text = ""
    for match, row in contest(all_matches(counts)):
        rows.setdefault(match.renders, []).append(row)
        lines = []
        for (low, high), found in rows.items():
            told = f"Renders of {low:g} to {high:g} s:" if high else "Instant renders:"
            lines += ["", told, "", *markdown(HEADINGS, found)]
        text = "\n".join(lines)
        # After each row: a long run that is stopped has told what it has measured.
        write_section("ways", f"Measured {datetime.now(UTC):%Y-%m-%d}, {machine()}.\n{text}")
    return text


def machine() -> str:
    """Return what the figures were measured on, and how busy it was just now."""
    busy = os.getloadavg()[1]
    return f"{os.cpu_count()} cores, load average {busy:.0f} over five minutes"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown."""
    rule = ["---"] + ["---:"] * (len(headings) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]


def write_section(name: str, text: str) -> None:
    """Replace a section of docs/benchmarks.md."""
    documents.write_section(DOCUMENT, name, text)


def main(words: list[str]) -> None:
    """Play one part."""
    match words:
        case ["api", port, folder, clip]:
            serve(
                SandboxSettings(
                    port=int(port),
                    folder=folder,
                    render_seconds=INSTANT,
                    paints=False,
                    clip=clip,
                    balance_usd=10**6,
                )
            )
        case ["compete", match_json, servers_json, told]:
            given = json.loads(servers_json)
            servers = Servers(given["api_port"], LocalS3(**given["s3"]), given["prefect_url"])
            figures = asyncio.run(compete(Match(**json.loads(match_json)), servers))
            Path(told).write_text(json.dumps(figures))
        case _:
            print(compare([int(word) for word in words] or [300, 1000]))


if __name__ == "__main__":
    main(sys.argv[1:])
