"""One scene: its shots side by side, or each from the last picture of the one before."""

import asyncio

from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.board import ShotNews, Stage, tell
from prefect_kling.flows.clip import make_clip
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.plan import PlannedScene, plan_scene
from prefect_kling.studio.storyboard import Look, Scene
from prefect_kling.studio.submission import Terms
from prefect_kling.tasks import extract_last_frame


@flow(flow_run_name="scene {scene.title}", persist_result=False)
async def produce_scene(
    scene: Scene,
    credentials: KlingCredentials,
    archive: KlingArchive,
    defaults: Look = Look(),
) -> list[Clip]:
    """Make all shots of one scene and return their clips in order; what is archived already costs nothing.

    **Costs the sum of the shots that are not archived yet.** When shots fail the others are finished first, then
    `FilmIncomplete` names the failed ones.

    Args:
        scene: Continuity and shots.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
        defaults: Model, mode, sound, shape and length where the scene says nothing.
    """
    return await make_scene(plan_scene(scene, defaults), credentials, archive, Terms())


async def make_scene(
    plan: PlannedScene, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> list[Clip]:
    """Make a planned scene inside a flow; see `produce_scene`."""
    for shot in plan.shots:
        tell(ShotNews(shot=shot.name, stage=Stage.WAITING, usd=shot.price.usd))
    if plan.serial:
        return await _make_chain(plan, credentials, archive, terms)
    making = [make_clip(shot.order, credentials, archive, shot.name, terms) for shot in plan.shots]
    made = await asyncio.gather(*making, return_exceptions=True)
    failed = {
        shot.name: error for shot, error in zip(plan.shots, made, strict=True) if isinstance(error, BaseException)
    }
    if failed:
        raise FilmIncomplete(f"{len(failed)} of {len(plan.shots)} shots of scene {plan.number} failed:", failed)
    return [clip for clip in made if isinstance(clip, Clip)]


async def _make_chain(
    plan: PlannedScene, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> list[Clip]:
    clips: list[Clip] = []
    for shot in plan.shots:
        try:
            if clips:
                await extract_last_frame(clips[-1], archive, plan.shots[len(clips) - 1].name)
            clips.append(await make_clip(shot.order, credentials, archive, shot.name, terms))
        except Exception as error:
            what = f"scene {plan.number} stopped at shot {shot.shot} of {len(plan.shots)}:"
            raise FilmIncomplete(what, {shot.name: error}) from error
    return clips
