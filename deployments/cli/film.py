"""`prefect-kling film` and `demo`."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks
from prefect_kling.deployments.cli.documents import FilmMade
from prefect_kling.deployments.cli.links import say_link, say_links
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.paid import RAISE_LIMIT, require_yes, told_paid
from prefect_kling.deployments.cli.quote import rows_of
from prefect_kling.deployments.cli.quote_table import show_quote
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import (
    AsJson,
    Refused,
    Styled,
    facts,
    print_json,
    say,
)
from prefect_kling.flows import produce_film, produce_versions
from prefect_kling.runs.picks import Picks, plan_story_with_picks
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete, TakesNotPicked
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import load_story
from prefect_kling.studio.film.retakes import MOST_RETAKES
from prefect_kling.studio.film.versions import Story, story_of
from prefect_kling.studio.money.inputs import require_reachable
from prefect_kling.telemetry.progress import subscribe


@dataclass(frozen=True)
class _Orders:
    """What was said about how the films are to be made."""

    spending: Spending
    approve_above_usd: Decimal | None
    picks: Picks
    retake_suspect: int


@dataclass(frozen=True)
class _Linked:
    """A film with links, if the archive gives them out."""

    film: Film
    watch_url: str | None
    sheet_url: str | None


@dataclass(frozen=True)
class _Made:
    films: list[_Linked]
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
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    picks: Picks = "first",
    retake_suspect: Annotated[int, Parameter(validator=Number(gte=0, lte=MOST_RETAKES))] = 0,
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
        tag: Who pays, as in `--tag project=spring`; may be said several times. What the storyboard
            says wins.
        picks: Where no take of a shot is picked: `first` uses its first take; `ask` makes what
            hangs on no such shot and stops, for you to pick with `prefect-kling pick`.
        retake_suspect: How many further takes to make, and pay, of a shot whose pictures or sound
            look wrong; the best take is used. Not of versions.
        as_json: Print JSON; of versions, a line for each film.
    """
    story = load_story(storyboard, rows_of(table)).chosen(version)
    orders = _Orders(
        spending=Spending.model_validate({"budget_usd": budget_usd, "tags": tag or []}),
        approve_above_usd=approve_above_usd,
        picks=picks,
        retake_suspect=retake_suspect,
    )
    made = run(_make_films(story, blocks, orders, as_json=as_json))
    if as_json:
        for each in made.films:
            document = FilmMade.of(each.film, each.watch_url, made.paid_usd)
            print_json(document, in_one_line=story.has_versions)
        return
    for each in made.films:
        say()
        _print_film(each.film)
        say_link("watch it", each.watch_url)
        say_link("contact sheet", each.sheet_url)
    if made.note:
        say(Styled("note ", "yellow"), made.note, "; see `prefect-kling pick`")
    say(told_paid(made.paid_usd))


async def _make_films(story: Story, blocks: Blocks, orders: _Orders, *, as_json: bool) -> _Made:
    if story.has_versions and orders.picks == "ask":
        raise TakesNotPicked("of versions, takes are picked one version at a time: --version NAME")
    if story.has_versions and orders.retake_suspect:
        raise Refused(
            "of versions, no shots are made again: --version NAME, or no --retake-suspect"
        )
    to = facts(as_json=as_json)
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    plan = (await plan_story_with_picks(story, archive)).together

    if orders.approve_above_usd is not None:
        quote = await quote_film(
            plan,
            archive.get_archive(),
            access=credentials.input_access,
            retake_suspect=orders.retake_suspect,
        )
        require_reachable(list(quote.unreachable))
        if quote.at_most_usd > orders.approve_above_usd:
            show_quote(quote, "", to)
            require_yes("Make it?", RAISE_LIMIT, to)

    table = LiveTable(to)
    try:
        with table.on_screen(), subscribe(table.show):
            table.begin(plan)
            if story.has_versions:
                films = await produce_versions(story, credentials, archive, orders.spending)
            else:
                film = await produce_film(
                    story.single(),
                    credentials,
                    archive,
                    spending=orders.spending,
                    picks=orders.picks,
                    retake_suspect=orders.retake_suspect,
                )
                films = [film]
    except FilmIncomplete:
        if not as_json and table.finished():
            say("What is finished:")
            say_links(table.finished(), archive)
        raise
    linked = []
    for film in films:
        sheet_url = archive.watch_link(film.contact_sheet_uri)
        linked.append(_Linked(film, archive.watch_link(film.uri), sheet_url))
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
