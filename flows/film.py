"""One film: a storyboard goes in, a verified film in S3 comes out."""

import asyncio
from collections.abc import Sequence

from prefect import flow

from prefect_kling.blocks import KlingArchive
from prefect_kling.flows.form_fields import (
    Account,
    ArchiveBlock,
    Limits,
    Retakes,
    StoryboardText,
    WhichTakes,
)
from prefect_kling.flows.scene import make_scene
from prefect_kling.runs.authorization import authorize_film
from prefect_kling.runs.failures import fails_in_words, fails_without_traceback
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.picks import ask_for_picks, plan_with_answers
from prefect_kling.runs.prefect_busy import attempts_while_prefect_is_busy
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan, PlannedScene
from prefect_kling.studio.film.retakes import retakable
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.tasks import assemble_film, compare_takes, prepare_storyboard
from prefect_kling.telemetry.assets import materializing
from prefect_kling.telemetry.events import announce_film
from prefect_kling.telemetry.film_page import FilmPage
from prefect_kling.telemetry.markdown import log_view_errors, write_page
from prefect_kling.telemetry.progress import ShotProgress, Stage
from prefect_kling.telemetry.takes_page import takes_page


@flow(
    flow_run_name=named_after_film("film {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("film")
async def produce_film(
    storyboard: StoryboardText,
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
    picks: WhichTakes = "first",
    retake_suspect: Retakes = 0,
) -> Film:
    """Make every shot of a storyboard, join them, and keep film, contact sheet and manifest in S3.

    **Costs the sum of the shots that are not archived yet**; run again it makes and pays only what
    changed. Scenes run side by side. When shots fail everything else is finished first, then
    `FilmIncomplete` names the failed ones. `TakesNotPicked` says that somebody is to pick takes and
    that this run cannot ask.

    Args:
        storyboard: A storyboard (YAML or JSON), or where one is: a link, or a path in the archive
            such as boards/film.yaml. Pictures and videos it names may lie beside it. The box grows
            when its corner is pulled.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips, films and the ledger. Empty means the block
            named default.
        spending: How much the film may cost, and above what price a person is asked.
        picks: Where a shot has several takes and none is picked: *ask* suspends the run until
            somebody has picked in the Prefect UI, within the hours of *Answer within*; *first* uses
            the first take.
        retake_suspect: How many further takes to make, and pay, of a shot whose pictures or sound
            look wrong; the best take is used. Not of shots that others are made from, or that have
            several takes anyway.
    """
    prepared = await prepare_storyboard(storyboard, archive)
    plan = await plan_with_answers(prepared, archive)
    quote = await authorize_film(plan, credentials, archive, spending, retake_suspect)

    page = FilmPage(quote, archive)
    resources = RunResources(
        credentials,
        archive,
        on_progress=page.show,
        retake_suspect=retake_suspect,
        retakable=retakable(plan.clips),
    )
    options = spending.options_of(plan)
    part = plan
    if picks == "ask":
        part = plan.until_open_picks
    async with page.kept_current():
        _tell_of_waiting(plan, part, resources)
        clips = await make_scenes(part, resources, options)
        if plan.shots_with_takes:
            await _show_takes(part, clips, archive)
        if picks == "ask" and plan.open_picks:
            takes = await takes_page(part.open_picks, clips, plan.slug, archive)
            # The run is suspended here, and begins anew with the answer.
            await ask_for_picks(part, takes, spending)
        film = await join_film(plan, clips, archive)
    await page.show_film(film)
    return film


async def _show_takes(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> None:
    """Put takes side by side, in the archive and on a page of the run."""
    await compare_takes(plan, clips, archive)
    page = await takes_page(plan.shots_with_takes, clips, plan.slug, archive)
    with log_view_errors():
        await write_page(f"{plan.slug}-takes", page, f"{plan.title}: takes")


def _tell_of_waiting(plan: FilmPlan, part: FilmPlan, resources: RunResources) -> None:
    """Publish which clips wait until somebody has picked what they are made from."""
    for planned in plan.clips:
        if planned.clip_key not in part.by_key:
            waiting = ShotProgress(
                shot=planned.name, stage=Stage.WAITING, detail="waits for a pick of the shot before"
            )
            resources.progress.publish(waiting)


async def join_film(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> Film:
    """Join a film's clips, given by key, inside a flow, and announce that the film is complete."""
    used = dict.fromkeys(planned.clip_key for planned in plan.used)
    sources = [clips[clip_key].uri for clip_key in used]
    assemble_as_asset = materializing(assemble_film, archive.film_uri(plan.slug), sources)
    film: Film = await assemble_as_asset(plan, clips, archive)
    announce_film(film)
    return film


async def make_scenes(
    plan: FilmPlan, resources: RunResources, options: SubmitOptions
) -> dict[str, Clip]:
    """Make all scenes side by side, each as a sub-flow, and return the film's clips by key."""
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
    @fails_without_traceback
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
        async with resources.scenes_beginning:
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
