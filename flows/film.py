"""One film: a storyboard goes in, a verified film in S3 comes out."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.scene import make_scene
from prefect_kling.runs.authorization import authorize_film
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.prefect_busy import attempts_while_prefect_is_busy
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan, PlannedScene
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.retakes import MOST_RETAKES
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.tasks import StoryboardInput, assemble_film, prepare_storyboard
from prefect_kling.telemetry.assets import materializing
from prefect_kling.telemetry.events import announce_film
from prefect_kling.telemetry.film_page import FilmPage

# Scenes whose sub-flows begin at the same time. A Prefect server on SQLite may refuse two dozen.
SCENES_BEGINNING = 8


@flow(
    flow_run_name=named_after_film("film {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
async def produce_film(
    storyboard: StoryboardInput,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending = Spending(),
    retake_suspect: Annotated[int, Field(ge=0, le=MOST_RETAKES)] = 0,
) -> Film:
    """Make every shot of a storyboard, join them, and keep film, contact sheet and manifest in S3.

    **Costs the sum of the shots that are not archived yet**; run again it makes and pays only what
    changed. Scenes run side by side. When shots fail everything else is finished first, then
    `FilmIncomplete` names the failed ones.

    Args:
        storyboard: A storyboard (YAML or JSON), or where one is: a link, or a path in the archive
            such as boards/film.yaml. Pictures and videos it names may lie beside it.
        credentials: Access to the Kling API.
        archive: Where clips, films and the ledger are kept.
        spending: How much the film may cost, and above what price a person is asked.
        retake_suspect: How many further takes to make, and pay, of a shot whose pictures or sound
            look wrong; the best take is used. Not of shots that others are made from.
    """
    plan = plan_film(await prepare_storyboard(storyboard, archive))
    quote = await authorize_film(plan, credentials, archive, spending, retake_suspect)

    page = FilmPage(quote, archive)
    resources = RunResources(credentials, archive, page.show, retake_suspect)
    options = spending.options_of(plan)
    async with page.kept_current():
        clips = await _make_scenes(plan, resources, options)
        film = await join_film(plan, clips, archive)
    await page.show_film(film)
    return film


async def join_film(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> Film:
    """Join a film's clips, given by key, inside a flow, and announce that the film is complete."""
    sources = [clip.uri for clip in clips.values()]
    assemble_as_asset = materializing(assemble_film, archive.film_uri(plan.slug), sources)
    film: Film = await assemble_as_asset(plan, clips, archive)
    announce_film(film)
    return film


async def _make_scenes(
    plan: FilmPlan, resources: RunResources, options: SubmitOptions
) -> dict[str, Clip]:
    """Make all scenes side by side, each as a sub-flow, and return the film's clips by key."""
    beginning = asyncio.Semaphore(SCENES_BEGINNING)
    begun = {scene.number: asyncio.Event() for scene in plan.scenes}

    # Prefect stores the parameters of a flow and shows them in its UI. A scene also needs the run's
    # limit of jobs and its publisher of progress, which are no data: so the sub-flow is defined
    # here, where it sees them, and the scene is its only parameter.
    #
    # Its result is never persisted: with concurrent sub-flows Prefect can hand the stored result of
    # one to another when the parent is retried. Nothing is lost, the archive knows every clip.
    @flow(
        name="film-scene",
        flow_run_name="{scene.name}",
        persist_result=False,
    )
    async def film_scene(scene: PlannedScene) -> dict[str, Clip]:
        """Make one planned scene of a film; see `produce_scene`."""
        begun[scene.number].set()
        return await make_scene(scene, resources, options)

    async def run_scene(scene: PlannedScene) -> dict[str, Clip]:
        """Run the sub-flow, again while the Prefect server is too busy for it."""
        async for attempt in attempts_while_prefect_is_busy():
            with attempt:
                clips: dict[str, Clip] = await film_scene(scene)
        return clips

    async def make(scene: PlannedScene) -> dict[str, Clip]:
        has_begun = begun[scene.number]
        async with beginning:
            making = asyncio.create_task(run_scene(scene))
            # A scene that fails before it begins must not be waited for, either.
            making.add_done_callback(lambda _: has_begun.set())
            try:
                await has_begun.wait()
            except asyncio.CancelledError:
                making.cancel()
                await asyncio.wait([making])
                raise
        return await making

    results = await asyncio.gather(*map(make, plan.scenes), return_exceptions=True)
    return _clips_or_raise(plan, results)


def _clips_or_raise(
    plan: FilmPlan, results: Sequence[dict[str, Clip] | BaseException]
) -> dict[str, Clip]:
    """Return the clips of all scenes; raise `FilmIncomplete` with every shot that failed."""
    clips: dict[str, Clip] = {}
    failures: dict[str, BaseException] = {}
    for scene, result in zip(plan.scenes, results, strict=True):
        if isinstance(result, FilmIncomplete):
            failures.update(result.reasons)
        elif isinstance(result, BaseException):
            failures[scene.name] = result
        else:
            clips.update(result)
    if failures:
        raise FilmIncomplete(f"{plan.title} is not finished:", failures)
    return clips
