"""One film: a storyboard goes in, a verified film in S3 comes out."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar

import tenacity
from prefect import flow
from prefect.exceptions import PrefectHTTPStatusError

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.scene import make_scene
from prefect_kling.runs.approval import ask
from prefect_kling.runs.job_limiter import Slots, sharing
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import FilmPlan, PlannedScene
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote, Standing, quote_film
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.submission import Terms
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import StoryboardGiven, assemble_film, materializing, prepare_storyboard
from prefect_kling.telemetry.events import announce_film
from prefect_kling.telemetry.film_page import FilmPage
from prefect_kling.telemetry.logs import run_logger

BEGINNING = 8
"""Scenes whose sub-flows begin at the same time. Two dozen may be too many for a Prefect server on SQLite."""
# A Prefect server that is too busy to take the run of a scene must not cost a film; all a scene does may be repeated.
_INSISTING = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, PrefectHTTPStatusError) and _is_busy(error)
    ),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random_exponential(multiplier=2, max=30),
    reraise=True,
)
_begun: ContextVar[Callable[[], None]] = ContextVar("begun", default=lambda: None)


@flow(
    flow_run_name=named_after_film("film {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
async def produce_film(
    storyboard: StoryboardGiven,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending = Spending(),
) -> Film:
    """Make every shot of a storyboard, join them, and keep film, contact sheet and manifest in S3.

    **Costs the sum of the shots that are not archived yet**; run again it makes and pays only what changed. Scenes
    run side by side. When shots fail everything else is finished first, then `FilmIncomplete` names the failed ones.

    Args:
        storyboard: A storyboard (YAML or JSON), or where one is: a link, or a path in the archive such as
            boards/film.yaml. Pictures and videos it names may lie beside it.
        credentials: Access to the Kling API.
        archive: Where clips, films and the ledger are kept.
        spending: How much the film may cost, and above what price a person is asked.
    """
    plan = plan_film(await prepare_storyboard(storyboard, archive))
    cap = FilmCap(plan.slug, spending.budget_usd)
    quote = await _check(plan, archive, cap, spending)
    await ask(quote, spending)
    page = FilmPage(quote)
    async with page.kept_up():
        clips = await _make_scenes(plan, credentials, archive, Terms(cap, spending.on_unknown))
    film = await join_film(plan, clips, archive)
    await page.finish(film, archive)
    return film


async def join_film(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> Film:
    """Join a film's clips inside a flow, and tell that it is complete."""
    sources = [clip.uri for clip in clips.values()]
    film: Film = await materializing(assemble_film, archive.film_uri(plan.slug), sources)(
        plan, clips, archive
    )
    announce_film(film)
    return film


async def _check(
    plan: FilmPlan, archive: KlingArchive, cap: FilmCap, spending: Spending
) -> FilmQuote:
    """Quote the film; a film that cannot be finished within its budget is not begun."""
    quote = await quote_film(plan, archive.get_archive(), resubmit=spending.resubmits)
    await in_thread(archive.get_archive().budget.check, quote.at_most_usd, cap)
    found = (
        f"{quote.count(Standing.ARCHIVED)} archived, {quote.count(Standing.UNDER_WAY)} under way"
    )
    log = run_logger()
    log.info(
        "%s: %d clips (%s), at most $%s to pay",
        plan.title,
        len(plan.by_key),
        found,
        quote.at_most_usd,
    )
    for note in plan.notes:
        log.warning(note)
    return quote


async def _make_scenes(
    plan: FilmPlan, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> dict[str, Clip]:
    places = asyncio.Semaphore(BEGINNING)

    # A flow is no coroutine function in the eyes of tenacity, which would not await it.
    async def run(scene: PlannedScene) -> dict[str, Clip]:
        return await film_scene(scene, credentials, archive, terms)

    async def make(scene: PlannedScene) -> dict[str, Clip]:
        # A scene that fails before it begins gives its place back, too.
        with contextlib.ExitStack() as beginning:
            await places.acquire()
            beginning.callback(places.release)
            _begun.set(beginning.close)
            made: dict[str, Clip] = await _INSISTING.copy()(run, scene)
            return made

    with sharing(Slots(credentials.parallel_jobs)):
        return _all_clips(
            plan, await asyncio.gather(*map(make, plan.scenes), return_exceptions=True)
        )


# Never persisted: with concurrent sub-flows Prefect can hand the stored result of one to another when the parent is
# retried. Nothing is lost, the archive knows every clip.
@flow(name="film-scene", flow_run_name="scene {scene.number} {scene.title}", persist_result=False)
async def film_scene(
    scene: PlannedScene, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> dict[str, Clip]:
    """Make one planned scene of a film; see `produce_scene`."""
    _begun.get()()
    return await make_scene(scene, credentials, archive, terms)


def _is_busy(error: PrefectHTTPStatusError) -> bool:
    return error.response.status_code >= 500


def _all_clips(
    plan: FilmPlan, scenes: Sequence[dict[str, Clip] | BaseException]
) -> dict[str, Clip]:
    reasons: dict[str, BaseException] = {}
    for scene, made in zip(plan.scenes, scenes, strict=True):
        if isinstance(made, FilmIncomplete):
            reasons |= made.reasons
        elif isinstance(made, BaseException):
            reasons[scene.name] = made
    if reasons:
        raise FilmIncomplete(f"{plan.title} is not finished:", reasons)
    return {key: clip for made in scenes if isinstance(made, dict) for key, clip in made.items()}
