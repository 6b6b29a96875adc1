"""`prefect-kling film`, `quote` and `demo`."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import Parameter
from prefect.settings import PREFECT_API_URL
from rich.prompt import Confirm

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.quote_table import show_batch_quote, show_quote
from prefect_kling.deployments.cli.terminal import Styled, console, say
from prefect_kling.flows import produce_film
from prefect_kling.kling.client import API_URL
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.batch.quote import quote_batch
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import InputAccess, require_reachable
from prefect_kling.telemetry.progress import subscribe


class Refused(RuntimeError):
    """A person was asked and said no."""


@dataclass(frozen=True)
class Blocks:
    """Names of the blocks to use."""

    credentials: str = "default"
    """Name of the KlingCredentials block."""
    archive: str = "default"
    """Name of the KlingArchive block."""


def demo(storyboard: Path | None = None, *, folder: Path = Path("demo-film")) -> None:
    """Make a film on this machine with painted pictures: no key, no cloud, no cost.

    Args:
        storyboard: A YAML or JSON file; the example film unless given.
        folder: Where film, contact sheet and manifest are left.
    """
    # The S3 server belongs to the extra `demo`; nothing else needs it.
    from prefect_kling.deployments.local.demo import example_storyboard, make_demo_film

    if storyboard is None:
        board = example_storyboard()
    else:
        board = load_storyboard(storyboard)

    with LiveTable(console).on_screen() as table:
        made = make_demo_film(board, folder, table)
    say()
    _print_film(made.film)
    say(f"It took {made.jobs} jobs; at the API they would have cost ${made.paid_usd}.")
    for path in sorted(made.folder.iterdir()):
        say(f"  {path}  ({path.stat().st_size:,} bytes)")


def film(
    storyboard: Path,
    *,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    budget_usd: Decimal | None = None,
    approve_above_usd: Decimal | None = None,
) -> None:
    """Make a film from a storyboard.

    Costs money for every shot that is not archived yet; see `quote`.

    Args:
        storyboard: A YAML or JSON file.
        blocks: The blocks to use.
        budget_usd: The most the film may cost in US dollars, earlier runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
    """
    board = load_storyboard(storyboard)
    spending = Spending(budget_usd=budget_usd)
    made = asyncio.run(_make_film(board, blocks, spending, approve_above_usd))
    say()
    _print_film(made)


async def _make_film(
    board: Storyboard, blocks: Blocks, spending: Spending, approve_above_usd: Decimal | None
) -> Film:
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    plan = plan_film(board)

    if approve_above_usd is not None:
        access = credentials.input_access
        quote = await quote_film(plan, archive.get_archive(), access=access)
        require_reachable(list(quote.unreachable))
        if quote.at_most_usd > approve_above_usd:
            show_quote(quote, "")
            if not Confirm.ask("Make it?", console=console, default=False):
                raise Refused("not approved; nothing was sent and nothing was paid")

    with LiveTable(console).on_screen() as table, subscribe(table.show):
        table.begin(plan)
        return await produce_film(board, credentials, archive, spending)


def quote(storyboard: Path, *, archive: str | None = None, credentials: str | None = None) -> None:
    """Show what is to be paid for the shots of a storyboard, or for the rows of a table.

    Says what each costs and whether it exists already. Free, needs no key.

    Args:
        storyboard: A YAML or JSON file; or a table: CSV, TSV, JSON Lines, or a list.
        archive: Name of the KlingArchive block to look clips up in; `default` if a Prefect
            server is configured.
        credentials: Name of the KlingCredentials block that says where the API is, and so which
            inputs it can reach; `default` if there is one, else the API's own address counts.
    """
    from prefect_kling.deployments.cli import batch

    if batch.is_table(storyboard):
        clips, note = asyncio.run(_archive_to_ask(archive))
        plan = batch.plan_table(storyboard, None)
        ledger = None
        if clips is not None:
            ledger = clips.ledger
        show_batch_quote(quote_batch(plan, ledger), note)
        return
    found, note = asyncio.run(_quote(plan_film(load_storyboard(storyboard)), archive, credentials))
    show_quote(found, note)


async def _quote(
    plan: FilmPlan, archive: str | None, credentials: str | None
) -> tuple[FilmQuote, str]:
    access = await _input_access(credentials)
    clips, note = await _archive_to_ask(archive)
    return await quote_film(plan, clips, access=access), note


async def _archive_to_ask(name: str | None) -> tuple[Archive | None, str]:
    """Return the archive of this name, or the default one where there is one, and what to say of it."""
    if name is None and not PREFECT_API_URL.value():
        return None, "No archive was asked: name its block with --archive."
    try:
        block = await load_block(KlingArchive, name or "default")
    except (BlockMissing, httpx.ConnectError) as error:
        if name is not None:
            raise
        reason = str(error).splitlines()[0]
        return None, f"No archive could be asked ({reason})."
    found = block.get_archive()
    return found, f"Looked up in {found.bucket.uri('')}."


async def _input_access(credentials: str | None) -> InputAccess:
    """Return where the API is by the named block, or by the default one where there is one."""
    if credentials is None and not PREFECT_API_URL.value():
        return InputAccess(API_URL)
    try:
        block = await load_block(KlingCredentials, credentials or "default")
    except (BlockMissing, httpx.ConnectError):
        if credentials is not None:
            raise
        return InputAccess(API_URL)
    return block.input_access


def _print_film(film: Film) -> None:
    how = "joined without re-encoding"
    if film.re_encoded:
        how = "re-encoded"
    count = sum(len(clip.chapters) for clip in film.clips)
    shots = f"{count} shots"
    if count == 1:
        shots = "1 shot"

    say(Styled(film.title, "bold"), f": {film.seconds:.2f} s, {shots}, {how}, ${film.usd}")
    for uri in (film.uri, film.contact_sheet_uri, film.manifest_uri):
        say(f"  {uri}")
