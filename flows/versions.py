"""All versions of one story: a film each, with one quote, one approval and one page."""

import asyncio

from prefect import flow

from prefect_kling.flows.film import join_film, make_scenes
from prefect_kling.flows.form_fields import (
    Account,
    ArchiveBlock,
    Limits,
    StoryText,
    VersionNames,
    VersionsTable,
)
from prefect_kling.runs.authorization import authorize_film
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.picks import plan_story_with_picks
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.tasks import prepare_story
from prefect_kling.telemetry.versions_page import VersionsPage

JOINS_AT_ONCE = 4
"""Films that are joined at the same time. Each needs a processor, and room on disk."""


@flow(
    flow_run_name=named_after_film("versions of {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("film")
async def produce_versions(
    storyboard: StoryText,
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
    table: VersionsTable = "",
    versions: VersionNames = (),
) -> list[Film]:
    """Make a film of each version of a storyboard, or of each row of a table.

    **Costs the sum of the different clips that are not archived yet**: a clip that several versions
    share is paid once. Run again it makes and pays only what changed. A version that fails stops no
    other; afterwards `FilmIncomplete` names it and what stopped it. Where no take of a shot is
    picked, its first take counts.

    Args:
        storyboard: A storyboard (YAML or JSON) with `versions`, or where one is: a link, or a path
            in the archive such as boards/mug.yaml.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips, films and the ledger. Empty means the block
            named default.
        spending: How much all versions together may cost, and above what price a person is asked.
        table: In place of versions in the storyboard, a table with a version in each row, or where
            one is. Its columns are name, settings such as aspect_ratio, and variables of your own:
            the column product is what `{{product}}` stands for.
        versions: The names of the versions to make; all unless given.
    """
    story = (await prepare_story(storyboard, archive, table)).chosen(versions)
    plan = await plan_story_with_picks(story, archive)
    quote = await authorize_film(plan.together, credentials, archive, spending)

    page = VersionsPage(quote, archive)
    resources = RunResources(credentials, archive, on_progress=page.show)
    async with page.kept_current():
        results = await _make_films(plan.films, plan.together, resources, spending)

    films: dict[str, Film] = {}
    errors: dict[str, BaseException] = {}
    for version, result in results.items():
        if isinstance(result, BaseException):
            errors[version] = result
        else:
            films[version] = result
    await page.show_films(films, errors)
    if errors:
        message = f"{len(errors)} of {len(results)} versions of {plan.title} are not finished:"
        raise FilmIncomplete(message, _reasons(errors))
    return list(films.values())


async def _make_films(
    plans: dict[str, FilmPlan], together: FilmPlan, resources: RunResources, spending: Spending
) -> dict[str, Film | BaseException]:
    """Make all films side by side, and return each or what stopped it, by version."""
    joining = asyncio.Semaphore(JOINS_AT_ONCE)
    # One budget for all: which version a shared clip is paid for is a matter of chance.
    cap = spending.cap_of(together)

    async def make(version: str, plan: FilmPlan) -> Film:
        options = spending.options(cap, plan.tags)
        clips = await make_scenes(plan.of_version(version), resources, options)
        async with joining:
            return await join_film(plan, clips, resources.archive)

    making = [make(version, plan) for version, plan in plans.items()]
    results = await asyncio.gather(*making, return_exceptions=True)
    return dict(zip(plans, results, strict=True))


def _reasons(errors: dict[str, BaseException]) -> dict[str, BaseException]:
    """Return what stopped each version: its shots, whose names begin with it, or something else."""
    reasons: dict[str, BaseException] = {}
    for version, error in errors.items():
        if isinstance(error, FilmIncomplete):
            reasons.update(error.reasons)
        else:
            reasons[version] = error
    return reasons
