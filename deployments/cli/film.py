"""`prefect-kling film` and `demo`."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks
from prefect_kling.deployments.cli.documents import FilmMade
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.paid import RAISE_LIMIT, require_yes, told_paid
from prefect_kling.deployments.cli.quote import rows_of
from prefect_kling.deployments.cli.quote_table import show_quote
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import AsJson, Styled, facts, print_json, say
from prefect_kling.flows import produce_film, produce_versions
from prefect_kling.runs.picks import Picks, plan_story_with_picks
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import TakesNotPicked
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import load_story
from prefect_kling.studio.film.versions import Story, story_of
from prefect_kling.studio.money.inputs import require_reachable
from prefect_kling.telemetry.progress import subscribe


@dataclass(frozen=True)
class _Made:
    films: list[tuple[Film, str | None]]
    """Each with a link to watch it, if the archive gives one out."""
    paid_usd: Decimal
    note: str
    """What somebody should know of it."""


def demo(
    storyboard: Path | None = None, *, folder: Path = Path("demo-film"), as_json: AsJson = False
) -> None:
    """Make a film on this machine with painted pictures: no key, no cloud, no cost.

    Args:
        storyboard: A YAML or JSON file; the example film unless given.
        folder: Where film, contact sheet and manifest are left.
        as_json: Print JSON.
    """
    # The S3 server belongs to the extra `demo`; nothing else needs it.
    from prefect_kling.deployments.local.demo import example_storyboard, make_demo_films

    if storyboard is None:
        story = story_of(example_storyboard())
    else:
        story = load_story(storyboard)

    with LiveTable(facts(as_json=as_json)).on_screen() as table:
        made = make_demo_films(story, folder, table)
    if as_json:
        for each in made.films:
            print_json(FilmMade.of(each, None, Decimal(0)), in_one_line=story.has_versions)
        return
    for each in made.films:
        say()
        _print_film(each)
    say(f"It took {made.jobs} jobs; at the API they would have cost ${made.paid_usd}.")
    for path in sorted(path for path in made.folder.rglob("*") if path.is_file()):
        say(f"  {path}  ({path.stat().st_size:,} bytes)")


def film(
    storyboard: Path,
    *,
    version: Annotated[Sequence[str], Parameter(negative="")] = (),
    table: Path | None = None,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    budget_usd: Decimal | None = None,
    approve_above_usd: Decimal | None = None,
    picks: Picks = "first",
    as_json: AsJson = False,
) -> None:
    """Make a film from a storyboard, or a film of each of its versions.

    Costs money for every shot that is not archived yet; see `quote`.

    Args:
        storyboard: A YAML or JSON file.
        version: The versions to make, by name; all unless given.
        table: A table with a version in each row, in place of versions in the storyboard.
        blocks: The blocks to use.
        budget_usd: The most the film, or all versions together, may cost in US dollars, earlier
            runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
        picks: Where no take of a shot is picked: `first` uses its first take; `ask` makes what
            hangs on no such shot and stops, for you to pick with `prefect-kling pick`.
        as_json: Print JSON; of versions, a line for each film.
    """
    story = load_story(storyboard, rows_of(table)).chosen(version)
    spending = Spending(budget_usd=budget_usd)
    to = facts(as_json=as_json)
    made = run(_make_films(story, blocks, spending, approve_above_usd, picks, to))
    if as_json:
        for film, watch_url in made.films:
            document = FilmMade.of(film, watch_url, made.paid_usd)
            print_json(document, in_one_line=story.has_versions)
        return
    for film, watch_url in made.films:
        say()
        _print_film(film)
        if watch_url is not None:
            say(f"  watch it: {watch_url}")
    if made.note:
        say(Styled("note ", "yellow"), made.note, "; see `prefect-kling pick`")
    say(told_paid(made.paid_usd))


async def _make_films(
    story: Story,
    blocks: Blocks,
    spending: Spending,
    approve_above_usd: Decimal | None,
    picks: Picks,
    to: Console,
) -> _Made:
    if story.has_versions and picks == "ask":
        raise TakesNotPicked("of versions, takes are picked one version at a time: --version NAME")
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    plan = (await plan_story_with_picks(story, archive)).together

    if approve_above_usd is not None:
        access = credentials.input_access
        quote = await quote_film(plan, archive.get_archive(), access=access)
        require_reachable(list(quote.unreachable))
        if quote.at_most_usd > approve_above_usd:
            show_quote(quote, "", to)
            require_yes("Make it?", RAISE_LIMIT, to)

    with LiveTable(to).on_screen() as table, subscribe(table.show):
        table.begin(plan)
        if story.has_versions:
            films = await produce_versions(story, credentials, archive, spending)
        else:
            films = [await produce_film(story.single(), credentials, archive, spending, picks)]
    linked = [(film, archive.watch_link(film.uri)) for film in films]
    return _Made(linked, table.paid_usd, plan.told_of_open_picks)


def _print_film(film: Film) -> None:
    how = "joined without re-encoding"
    if film.re_encoded:
        how = "re-encoded"
    count = sum(len(clip.chapters) for clip in film.clips)
    shots = f"{count} shots"
    if count == 1:
        shots = "1 shot"

    say(Styled(film.title, "bold"), f": {film.seconds:.2f} s, {shots}, {how}, worth ${film.usd}")
    for uri in (film.uri, film.contact_sheet_uri, film.manifest_uri):
        say(f"  {uri}")
