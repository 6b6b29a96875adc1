"""How long a film of sixty shots takes, and could: `python -m tests.bench.film [SLOTS ...]`.

The least is the longer of its longest chain and all its render time divided by the slots. Four
processes: the API, the S3 server, the Prefect server, and the film.
"""

import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.flows import produce_film
from prefect_kling.sandbox.settings import DEFAULT_KEY
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.storyboard import Storyboard

RENDER_SECONDS = (8.0, 16.0)
CHAINS = {"last_frame": 12, "reference_video": 10, "edit": 8}
CUTS = 30


def storyboard(title: str) -> Storyboard:
    """Three chains and a scene of cuts: sixty clips."""
    scenes = [("cut", CUTS), *CHAINS.items()]
    return Storyboard.model_validate(
        {
            "title": title,
            "defaults": {"duration": 3},
            "scenes": [
                {
                    "continuity": name,
                    "shots": [{"prompt": f"{title} {name} {n}"} for n in range(count)],
                }
                for name, count in scenes
            ],
        }
    )


def least_seconds(film: Film, slots: int | None) -> float:
    """The least time these very render times allow."""
    chains: dict[str, float] = {}
    for clip in film.clips:
        chains[clip.name.split(".")[0]] = chains.get(clip.name.split(".")[0], 0.0) + (
            clip.clip.made_in_seconds or 0.0
        )
    cut, *chained = chains.values()
    single = max(clip.clip.made_in_seconds or 0.0 for clip in film.clips)
    return max(single, *chained, (cut + sum(chained)) / slots if slots else 0.0)


def measure(slots: int | None, access: KlingCredentials, archive: KlingArchive) -> tuple[str, ...]:
    """Make the film once and return a row of the table."""
    credentials = access.model_copy(update={"parallel_jobs": slots})
    start = time.monotonic()
    film = asyncio.run(produce_film(storyboard(f"Bench {slots}"), credentials, archive))
    took, least = time.monotonic() - start, least_seconds(film, slots)
    return str(slots or "unlimited"), f"{least:.1f} s", f"{took:.1f} s", f"{took / least:.3f}"


def main(slots: list[int | None]) -> None:
    """Start the stand-ins, make the films, and print."""
    table = Table(title="a film of 60 shots", title_justify="left")
    for heading in ("slots", "least possible", "measured", "ratio"):
        table.add_column(heading, justify="right")
    (port,) = free_ports(1)
    with ExitStack() as stack:
        disk = Path(stack.enter_context(TemporaryDirectory()))
        code = (
            "from prefect_kling.sandbox import SandboxSettings, serve\n"
            f"serve(SandboxSettings(port={port}, folder={str(disk / 'api')!r}, "
            f"render_seconds={RENDER_SECONDS!r}, "
            "short_side=90, balance_usd=100_000))"
        )
        root = f"http://127.0.0.1:{port}"
        stack.enter_context(
            running([sys.executable, "-c", code], {}, disk / "api.log", lambda: _answers(root))
        )
        s3 = stack.enter_context(seaweed(disk / "s3", BUCKET))
        stack.enter_context(prefect_server(disk / "prefect"))
        stack.enter_context(temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}))
        access = KlingCredentials(
            api_key=SecretStr(DEFAULT_KEY),
            base_url=f"{root}/api/v1",
            first_poll_seconds=0.5,
            longest_poll_seconds=0.5,
        )
        for each in slots:
            table.add_row(*measure(each, access, local_archive(s3)))
    Console().print(table)


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/sandbox/stats").status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [4, 8, None])
