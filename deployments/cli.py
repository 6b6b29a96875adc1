"""The command line: `prefect-kling`."""

import asyncio
import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import cyclopts
import httpx
import prefect
from cyclopts import Parameter
from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.automations import automations
from prefect_kling.deployments.catalogue import runnable
from prefect_kling.deployments.doctor_cli import doctor, setup
from prefect_kling.deployments.ledger_cli import ledger
from prefect_kling.deployments.live_table import LiveTable
from prefect_kling.deployments.quote_table import show_quote
from prefect_kling.deployments.receiver_cli import receiver
from prefect_kling.flows import produce_film
from prefect_kling.flows.board import watching
from prefect_kling.flows.spending import Spending
from prefect_kling.kling.evidence import EvidencedError
from prefect_kling.studio.films import Film
from prefect_kling.studio.script.film_quote import FilmQuote, quote_film
from prefect_kling.studio.script.plan import FilmPlan
from prefect_kling.studio.script.planner import plan_film
from prefect_kling.studio.script.reader import load_storyboard, storyboard_schema
from prefect_kling.studio.script.storyboard import Storyboard

app = cyclopts.App(name="prefect-kling", help="Kling Omni-Video as dependable Prefect work.")
app.command(automations)
app.command(doctor)
app.command(ledger)
app.command(receiver)
app.command(setup)
console = Console()


@app.command
def demo(storyboard: Path | None = None, *, folder: Path = Path("demo-film")) -> None:
    """Make a film on this machine with painted pictures: no key, no cloud, no cost.

    Args:
        storyboard: A YAML or JSON file; the example film unless given.
        folder: Where film, contact sheet and manifest are left.
    """
    # Pillow and the S3 server belong to the extra `demo`; nothing else needs them.
    from prefect_kling.deployments.demo import example_storyboard, make_demo_film

    board = load_storyboard(storyboard) if storyboard else example_storyboard()
    with LiveTable(console).on_screen() as table:
        made = make_demo_film(board, folder, table)
    console.print()
    _tell(made.film)
    console.print(f"It took {made.jobs} jobs; at the API they would have cost ${made.paid_usd}.")
    for path in sorted(made.folder.iterdir()):
        console.print(f"  {path}  ({path.stat().st_size:,} bytes)", highlight=False)


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
    board = load_storyboard(storyboard)
    made = asyncio.run(_film(board, blocks, Spending(budget_usd=budget_usd), approve_above_usd))
    if made is None:
        _fail("not approved; nothing was sent and nothing was paid", "Refused")
    else:
        _tell(made)


async def _film(board: Storyboard, names: Blocks, spending: Spending, ask_above: Decimal | None) -> Film | None:
    credentials = await load_block(KlingCredentials, names.credentials)
    archive = await load_block(KlingArchive, names.archive)
    plan = plan_film(board)
    if ask_above is not None:
        quote = await quote_film(plan, archive.get_archive())
        if quote.at_most_usd > ask_above:
            show_quote(quote, console, "")
            if not Confirm.ask("Make it?", console=console, default=False):
                return None
    with LiveTable(console).on_screen() as table, watching(table.show):
        table.begin(plan)
        made = await produce_film(board, credentials, archive, spending)
    console.print()
    return made


@app.command
def quote(storyboard: Path, *, archive: str | None = None) -> None:
    """Show the shots of a storyboard, what each costs, what exists already and what is to be paid. Free, needs no key.

    Args:
        storyboard: A YAML or JSON file.
        archive: Name of the KlingArchive block to look clips up in; `default` if a Prefect server is configured.
    """
    plan = plan_film(load_storyboard(storyboard))
    found, known = asyncio.run(_quote(plan, archive))
    show_quote(found, console, known)


async def _quote(plan: FilmPlan, name: str | None) -> tuple[FilmQuote, str]:
    """Look clips up in the named archive, or in the default one where there is one."""
    try:
        if name is None and not PREFECT_API_URL.value():
            return await quote_film(plan, None), "No archive was asked: name its block with --archive."
        archive = await load_block(KlingArchive, name or "default")
    except (BlockMissing, httpx.ConnectError) as error:
        if name is not None:
            raise
        return await quote_film(plan, None), f"No archive could be asked ({str(error).splitlines()[0]})."
    return await quote_film(plan, archive.get_archive()), f"Looked up in {archive.get_archive().bucket.uri('')}."


@app.command
def schema() -> None:
    """Print the JSON Schema of storyboards, for editors."""
    print(json.dumps(storyboard_schema(), indent=2))


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


@app.command
def serve(*, at_once: int = 5) -> None:
    """Serve every deployment of this package from this process until it is interrupted; no work pool is needed.

    Runs are processes of their own on this machine. What is deployed and how: see `deployments/prefect.yaml`.

    Args:
        at_once: How many runs may go on at the same time.
    """
    prefect.serve(*asyncio.run(runnable()), limit=at_once)


def _tell(made: Film) -> None:
    how = "re-encoded" if made.re_encoded else "joined without re-encoding"
    count = sum(len(clip.chapters) for clip in made.clips)
    shots = f"{count} {'shot' if count == 1 else 'shots'}"
    console.print(f"[bold]{escape(made.title)}[/]: {made.seconds:.2f} s, {shots}, {how}, ${made.usd}")
    for uri in (made.uri, made.contact_sheet_uri, made.manifest_uri):
        console.print(f"  {uri}", highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; an expected error is told in words, not as a traceback."""
    try:
        app()
    except httpx.ConnectError as error:
        where = PREFECT_API_URL.value() or "http://127.0.0.1"
        _fail(f"the Prefect server at {where} cannot be reached; start it, or set PREFECT_API_URL ({error})")
    except (EvidencedError, BlockMissing, ValidationError, RuntimeError, OSError) as error:
        _fail(str(error), type(error).__name__)


def _fail(words: str, kind: str = "Error") -> None:
    Console(stderr=True).print(f"[red]{kind}[/]: {escape(words)}", highlight=False, soft_wrap=True)
    sys.exit(1)
