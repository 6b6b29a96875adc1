"""What `prefect-kling film`, `quote` and `demo` do."""

import asyncio
from decimal import Decimal
from pathlib import Path

import httpx
from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.cli.app import Blocks
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.quote_table import show_quote
from prefect_kling.flows import produce_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.telemetry.progress import subscribe

console = Console()


class Refused(RuntimeError):
    """A person was asked and said no."""


def demo(storyboard: Path | None, folder: Path) -> None:
    """Make a film with local stand-ins and say what it is and where."""
    # The S3 server belongs to the extra `demo`; nothing else needs it.
    from prefect_kling.deployments.local.demo import example_storyboard, make_demo_film

    board = load_storyboard(storyboard) if storyboard else example_storyboard()
    with LiveTable(console).on_screen() as table:
        made = make_demo_film(board, folder, table)
    console.print()
    _tell(made.film)
    console.print(f"It took {made.jobs} jobs; at the API they would have cost ${made.paid_usd}.")
    for path in sorted(made.folder.iterdir()):
        console.print(f"  {path}  ({path.stat().st_size:,} bytes)", highlight=False)


def film(
    storyboard: Path, blocks: Blocks, budget_usd: Decimal | None, approve_above_usd: Decimal | None
) -> None:
    """Make a film with stored blocks and say what it is and where. Raises `Refused` when a person says no."""
    board = load_storyboard(storyboard)
    _tell(asyncio.run(_film(board, blocks, Spending(budget_usd=budget_usd), approve_above_usd)))


async def _film(
    board: Storyboard, names: Blocks, spending: Spending, ask_above: Decimal | None
) -> Film:
    credentials = await load_block(KlingCredentials, names.credentials)
    archive = await load_block(KlingArchive, names.archive)
    plan = plan_film(board)
    if ask_above is not None:
        quote = await quote_film(plan, archive.get_archive())
        if quote.at_most_usd > ask_above:
            show_quote(quote, console, "")
            if not Confirm.ask("Make it?", console=console, default=False):
                raise Refused("not approved; nothing was sent and nothing was paid")
    with LiveTable(console).on_screen() as table, subscribe(table.show):
        table.begin(plan)
        made = await produce_film(board, credentials, archive, spending)
    console.print()
    return made


def quote(storyboard: Path, archive: str | None) -> None:
    """Show what a film would cost."""
    plan = plan_film(load_storyboard(storyboard))
    found, known = asyncio.run(_quote(plan, archive))
    show_quote(found, console, known)


async def _quote(plan: FilmPlan, name: str | None) -> tuple[FilmQuote, str]:
    """Look clips up in the named archive, or in the default one where there is one."""
    try:
        if name is None and not PREFECT_API_URL.value():
            return await quote_film(
                plan, None
            ), "No archive was asked: name its block with --archive."
        archive = await load_block(KlingArchive, name or "default")
    except (BlockMissing, httpx.ConnectError) as error:
        if name is not None:
            raise
        return await quote_film(
            plan, None
        ), f"No archive could be asked ({str(error).splitlines()[0]})."
    return await quote_film(
        plan, archive.get_archive()
    ), f"Looked up in {archive.get_archive().bucket.uri('')}."


def _tell(made: Film) -> None:
    how = "re-encoded" if made.re_encoded else "joined without re-encoding"
    count = sum(len(clip.chapters) for clip in made.clips)
    shots = f"{count} {'shot' if count == 1 else 'shots'}"
    console.print(
        f"[bold]{escape(made.title)}[/]: {made.seconds:.2f} s, {shots}, {how}, ${made.usd}"
    )
    for uri in (made.uri, made.contact_sheet_uri, made.manifest_uri):
        console.print(f"  {uri}", highlight=False, soft_wrap=True)
