"""The command line: `prefect-kling`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
import httpx
from cyclopts import Parameter
from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.ledger_cli import ledger
from prefect_kling.deployments.live_table import LiveTable
from prefect_kling.flows import produce_film
from prefect_kling.flows.board import watching
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.prices import PAGE_PRICES
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.films import Film
from prefect_kling.studio.plan import FilmPlan, PlannedShot, plan_film
from prefect_kling.studio.storyboard import Storyboard
from prefect_kling.studio.storyboard_file import load_storyboard

app = cyclopts.App(name="prefect-kling", help="Kling Omni-Video as dependable Prefect work.")
app.command(ledger)
console = Console()


@app.command
def demo(folder: Path = Path("demo-film")) -> None:
    """Make the example film on this machine: no key, no cloud, no cost.

    Args:
        folder: Where film, contact sheet and manifest are left.
    """
    # Pillow and the S3 server belong to the extra `demo`; nothing else needs them.
    from prefect_kling.deployments.demo import make_demo_film

    with LiveTable(console).on_screen() as table:
        made = make_demo_film(folder, table)
    console.print()
    _tell(made.film)
    console.print(f"It took {made.jobs} jobs; at the API they would have cost ${made.paid_usd}.")
    for path in sorted(made.folder.iterdir()):
        console.print(f"  {path}  ({path.stat().st_size:,} bytes)", highlight=False)


@app.command
def film(storyboard: Path, credentials: str = "default", archive: str = "default") -> None:
    """Make a film from a storyboard. Costs money for every shot that is not archived yet; see `quote`.

    Args:
        storyboard: A YAML or JSON file.
        credentials: Name of the KlingCredentials block.
        archive: Name of the KlingArchive block.
    """
    board = load_storyboard(storyboard)
    plan = plan_film(board)
    made = asyncio.run(_film(board, plan, (credentials, archive)))
    _tell(made)


async def _film(board: Storyboard, plan: FilmPlan, names: tuple[str, str]) -> Film:
    credentials = await load_block(KlingCredentials, names[0])
    archive = await load_block(KlingArchive, names[1])
    with LiveTable(console).on_screen() as table, watching(table.show):
        table.begin(plan)
        made = await produce_film(board, credentials, archive)
    console.print()
    return made


@app.command
def quote(storyboard: Path) -> None:
    """Show the shots of a storyboard, their clip keys and what they would cost. Free, needs no key.

    Args:
        storyboard: A YAML or JSON file.
    """
    plan = plan_film(load_storyboard(storyboard))
    table = Table(title=escape(plan.title), title_justify="left")
    for heading in ("shot", "seconds", "price", "clip key", "begins from"):
        table.add_column(heading, no_wrap=heading in ("price", "clip key"))
    for shot in plan.shots:
        table.add_row(
            escape(shot.name),
            str(shot.price.seconds),
            f"${shot.price.usd}",
            shot.order.clip_key,
            shot.begins_from or "",
        )
    console.print(table)
    console.print(f"${plan.usd} if nothing is archived yet, by {PAGE_PRICES.source} of {PAGE_PRICES.as_of}.")


def _origin(plan: FilmPlan, shot: PlannedShot) -> str:
    """The shot whose last picture this one begins from, by name; or the equal shot whose clip it shares."""
    same = next(each for each in plan.shots if each.order.clip_key == shot.order.clip_key)
    if same != shot:
        return f"the same clip as {same.name}; take: 2 makes another"
    return next((each.name for each in plan.shots if each.order.clip_key == shot.begins_from), "")


@app.command
def schema() -> None:
    """Print the JSON Schema of storyboards, for editors."""
    print(json.dumps(Storyboard.model_json_schema(), indent=2))


@app.command
def sandbox(
    port: int = 8484,
    folder: Path | None = None,
    render_seconds: Annotated[tuple[float, float], Parameter(negative="")] = (20.0, 60.0),
) -> None:
    """Run the local stand-in of the Kling API until it is interrupted.

    Args:
        port: Where it listens, on 127.0.0.1.
        folder: Where jobs and videos are kept across restarts; a temporary folder unless given.
        render_seconds: Shortest and longest render time.
    """
    from prefect_kling.kling.sandbox import SandboxSettings, serve

    settings = SandboxSettings(port=port, folder=folder, render_seconds=render_seconds)
    serve(settings)


def _tell(made: Film) -> None:
    how = "re-encoded" if made.re_encoded else "joined without re-encoding"
    console.print(f"[bold]{escape(made.title)}[/]: {made.seconds:.2f} s, {len(made.shots)} shots, {how}, ${made.usd}")
    for uri in (made.uri, made.contact_sheet_uri, made.manifest_uri):
        console.print(f"  {uri}", highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; an expected error is told in words, not as a traceback."""
    try:
        app()
    except httpx.ConnectError as error:
        where = PREFECT_API_URL.value() or "http://127.0.0.1"
        _fail(f"the Prefect server at {where} cannot be reached; start it, or set PREFECT_API_URL ({error})")
    except (KlingError, StudioError, BlockMissing, ValidationError, RuntimeError, OSError) as error:
        _fail(str(error), type(error).__name__)


def _fail(words: str, kind: str = "Error") -> None:
    Console(stderr=True).print(f"[red]{kind}[/]: {escape(words)}", highlight=False, soft_wrap=True)
    sys.exit(1)
