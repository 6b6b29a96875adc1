"""`prefect-kling film` and `demo`."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.prompt import Confirm

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks, Refused
from prefect_kling.deployments.cli.links import say_links
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.quote_table import show_quote
from prefect_kling.deployments.cli.terminal import Styled, console, say
from prefect_kling.flows import produce_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.inputs import require_reachable
from prefect_kling.telemetry.progress import subscribe


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
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    retake_suspect: int = 0,
) -> None:
    """Make a film from a storyboard.

    Costs money for every shot that is not archived yet; see `quote`.

    Args:
        storyboard: A YAML or JSON file.
        blocks: The blocks to use.
        budget_usd: The most the film may cost in US dollars, earlier runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
        tag: Who pays, as in `--tag project=spring`; may be said several times. What the storyboard
            says wins.
        retake_suspect: How many further takes to make, and pay, of a shot whose pictures or sound
            look wrong; the best take is used.
    """
    board = load_storyboard(storyboard)
    spending = Spending.model_validate({"budget_usd": budget_usd, "tags": tag or []})
    made = asyncio.run(_make_film(board, blocks, spending, approve_above_usd, retake_suspect))
    archive = asyncio.run(load_block(KlingArchive, blocks.archive))
    say()
    _print_film(made)
    say_links([("watch", made.uri), ("contact sheet", made.contact_sheet_uri)], archive)


async def _make_film(
    board: Storyboard,
    blocks: Blocks,
    spending: Spending,
    approve_above_usd: Decimal | None,
    retake_suspect: int,
) -> Film:
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    plan = plan_film(board)

    if approve_above_usd is not None:
        access = credentials.input_access
        quote = await quote_film(
            plan, archive.get_archive(), access=access, retake_suspect=retake_suspect
        )
        require_reachable(list(quote.unreachable))
        if quote.at_most_usd > approve_above_usd:
            show_quote(quote, "")
            if not Confirm.ask("Make it?", console=console, default=False):
                raise Refused("not approved; nothing was sent and nothing was paid")

    table = LiveTable(console)
    try:
        with table.on_screen(), subscribe(table.show):
            table.begin(plan)
            return await produce_film(board, credentials, archive, spending, retake_suspect)
    except FilmIncomplete:
        say("What is finished:")
        say_links(table.finished(), archive)
        raise


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
