"""The command line: `prefect-kling`.

What a command does is imported when it is called: Prefect alone takes longer to import than most commands to run.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import cyclopts
import httpx
from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from prefect_kling.kling.error_details import DetailedError

app = cyclopts.App(name="prefect-kling", help="Kling Omni-Video as dependable Prefect work.")
ROOM = "prefect_kling.deployments"
app.command(
    f"{ROOM}.automations:automations",
    help="Create the automations of this package that do not exist yet: messages about alarms, and films that go on.",
)
app.command(f"{ROOM}.cli.ledger:ledger", help="Show what was paid, and decide about held clips.")
app.command(
    f"{ROOM}.cli.receiver:receiver",
    help="Answer the API's calls until interrupted: whatever it says is finished is archived at once. Costs nothing."
    "\n\nPut it behind TLS at the receiver URL of the credentials block; it answers below that URL's path, and "
    "`/health`.",
)


@app.command
def demo(storyboard: Path | None = None, *, folder: Path = Path("demo-film")) -> None:
    """Make a film on this machine with painted pictures: no key, no cloud, no cost.

    Args:
        storyboard: A YAML or JSON file; the example film unless given.
        folder: Where film, contact sheet and manifest are left.
    """
    from prefect_kling.deployments.cli import film as film_cli

    film_cli.demo(storyboard, folder)


@dataclass(frozen=True)
class Blocks:
    """Names of the blocks to use."""

    credentials: str = "default"
    """Name of the KlingCredentials block."""
    archive: str = "default"
    """Name of the KlingArchive block."""


@app.command
def film(
    storyboard: Path,
    *,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    budget_usd: Decimal | None = None,
    approve_above_usd: Decimal | None = None,
) -> None:
    """Make a film from a storyboard. Costs money for every shot that is not archived yet; see `quote`.

    Args:
        storyboard: A YAML or JSON file.
        blocks: The blocks to use.
        budget_usd: The most the film may cost in US dollars, earlier runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
    """
    from prefect_kling.deployments.cli import film as film_cli

    film_cli.film(storyboard, blocks, budget_usd, approve_above_usd)


@app.command
def quote(storyboard: Path, *, archive: str | None = None) -> None:
    """Show the shots of a storyboard, what each costs, what exists already and what is to be paid. Free, needs no key.

    Args:
        storyboard: A YAML or JSON file.
        archive: Name of the KlingArchive block to look clips up in; `default` if a Prefect server is configured.
    """
    from prefect_kling.deployments.cli import film as film_cli

    film_cli.quote(storyboard, archive)


@app.command
def doctor(*, credentials: str = "default", archive: str = "default") -> int:
    """Check everything a production run needs, and say what is wrong and what to do. Free; exit code 1 for a fault.

    Args:
        credentials: Name of the KlingCredentials block.
        archive: Name of the KlingArchive block.
    """
    from prefect_kling.deployments.cli import doctor as doctor_cli

    return doctor_cli.doctor(credentials, archive)


@app.command
def setup(
    *,
    name: str = "default",
    yes: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Create the blocks from questions, or from the environment with --yes or without a terminal; then run the doctor.

    Read from the environment: APIMODELS_API_KEY, KLING_BUCKET; optional APIMODELS_BASE_URL, KLING_PREFIX,
    KLING_RECEIVER_URL, KLING_RECEIVER_SECRET and the AWS variables. What is not given stays as a block has it.

    Args:
        name: What the blocks are called.
        yes: Ask nothing.
        overwrite: Change blocks that exist with other values.
    """
    from prefect_kling.deployments.cli import doctor as doctor_cli

    return doctor_cli.setup(name, yes=yes, overwrite=overwrite)


@app.command
def schema() -> None:
    """Print the JSON Schema of storyboards, for editors."""
    from prefect_kling.studio.film.reading.reader import storyboard_schema

    print(json.dumps(storyboard_schema(), indent=2))


@app.command
def sandbox(
    port: int = 8484,
    folder: Path | None = None,
    render_seconds: Annotated[tuple[float, float], Parameter(negative="")] = (20.0, 60.0),
    *,
    store: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the local stand-in of the Kling API until it is interrupted.

    Args:
        port: Where it listens, on 127.0.0.1.
        folder: Where jobs and videos are kept across restarts; a temporary folder unless given.
        render_seconds: Shortest and longest render time.
        store: Run an S3 server with a bucket, too, and print what `prefect-kling setup` wants to know.
    """
    from prefect_kling.sandbox import SandboxSettings, serve

    settings = SandboxSettings(port=port, folder=folder, render_seconds=render_seconds)
    if not store:
        serve(settings)
        return
    from prefect_kling.deployments.local.practice import practise

    practise(settings, folder)


@app.command
def serve(*, at_once: int = 5) -> None:
    """Serve every deployment of this package from this process until it is interrupted; no work pool is needed.

    Runs are processes of their own on this machine. What is deployed and how: see `deployments/prefect.yaml`.

    Args:
        at_once: How many runs may go on at the same time.
    """
    import prefect
    from prefect.settings import PREFECT_API_URL

    from prefect_kling.deployments.catalogue import runnable

    if not PREFECT_API_URL.value():
        _fail(
            "no Prefect server is named; start one with `prefect server start`, and set PREFECT_API_URL"
        )
    deployments = asyncio.run(runnable())
    Console().print(f"registering {len(deployments)} deployments …")
    prefect.serve(*deployments, limit=at_once)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line, of this process unless words are given; an expected error is told in words."""
    try:
        app(sys.argv[1:] if words is None else words)
    except httpx.ConnectError as error:
        from prefect.settings import PREFECT_API_URL

        where = PREFECT_API_URL.value() or "http://127.0.0.1"
        _fail(
            f"the Prefect server at {where} cannot be reached; start it, or set PREFECT_API_URL ({error})"
        )
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        _fail(str(error), type(error).__name__)


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors that are told in words."""
    from prefect_kling.blocks.load import BlockMissing

    return DetailedError, BlockMissing, ValidationError, RuntimeError, OSError


def _fail(words: str, kind: str = "Error") -> None:
    Console(stderr=True).print(f"[red]{kind}[/]: {escape(words)}", highlight=False, soft_wrap=True)
    sys.exit(1)
