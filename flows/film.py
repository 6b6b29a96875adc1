"""One film: a storyboard goes in, a verified film in S3 comes out."""

import asyncio
from decimal import Decimal
from typing import Literal

from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.report import publish_film
from prefect_kling.flows.scene import make_scene
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.budget import FilmCap
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.films import Film, check_budget
from prefect_kling.studio.plan import FilmPlan, PlannedScene, plan_film
from prefect_kling.studio.storyboard import Storyboard
from prefect_kling.studio.submission import Terms
from prefect_kling.tasks import assemble_film
from prefect_kling.tasks.logs import run_logger


@flow(flow_run_name="film {storyboard.title}", persist_result=False)
async def produce_film(
    storyboard: Storyboard,
    credentials: KlingCredentials,
    archive: KlingArchive,
    budget_usd: Decimal | None = None,
    on_unknown: Literal["hold", "resubmit"] = "hold",
) -> Film:
    """Make every shot of a storyboard, join them, and keep film, contact sheet and manifest in S3.

    **Costs the sum of the shots that are not archived yet**; run again it makes and pays only what changed. Scenes
    run side by side. When shots fail everything else is finished first, then `FilmIncomplete` names the failed ones.

    Args:
        storyboard: The film as a document.
        credentials: Access to the Kling API.
        archive: Where clips, films and the ledger are kept.
        budget_usd: The most this film may cost in US dollars, earlier runs included. Checked before anything is sent.
        on_unknown: What to do when the answer to a paid request is lost: hold the clip until somebody decides, or
            send it again, which can pay twice.
    """
    plan = plan_film(storyboard)
    terms = Terms(FilmCap(plan.slug, budget_usd), on_unknown)
    unpaid = await in_thread(check_budget, plan, archive.get_archive(), terms.film)
    run_logger().info("%s: %d shots, at most $%s to pay", plan.title, len(plan.shots), unpaid)
    making = [film_scene(scene, credentials, archive, terms) for scene in plan.scenes]
    film = await assemble_film(plan, _all_clips(plan, await asyncio.gather(*making, return_exceptions=True)), archive)
    await publish_film(film)
    return film


# Never persisted: with concurrent sub-flows Prefect can hand the stored result of one to another when the parent is
# retried. Nothing is lost, the archive knows every clip.
@flow(name="film-scene", flow_run_name="scene {scene.number} {scene.title}", persist_result=False)
async def film_scene(
    scene: PlannedScene, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> list[Clip]:
    """Make one planned scene of a film; see `produce_scene`."""
    return await make_scene(scene, credentials, archive, terms)


def _all_clips(plan: FilmPlan, scenes: list[list[Clip] | BaseException]) -> list[Clip]:
    reasons: dict[str, BaseException] = {}
    for scene, made in zip(plan.scenes, scenes, strict=True):
        if isinstance(made, FilmIncomplete):
            reasons |= made.reasons
        elif isinstance(made, BaseException):
            reasons[f"scene {scene.number} {scene.title}".rstrip()] = made
    if reasons:
        raise FilmIncomplete(f"{plan.title} is not finished:", reasons)
    return [clip for made in scenes if not isinstance(made, BaseException) for clip in made]
