"""One clip: submit, wait, archive. The page to read first."""

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.job_limiter import Turn, current_slots
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import Terms
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import archive_video, materializing, submit_video, wait_for_video
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.progress import ShotNews, Stage, tell


@flow(
    flow_run_name="clip {request.headline}", persist_result=False, on_failure=[name_missing_blocks]
)
async def generate_clip(
    request: VideoRequest,
    credentials: KlingCredentials,
    archive: KlingArchive,
    take: Annotated[int, Field(ge=1)] = 1,
    on_unknown: Literal["hold", "resubmit"] = "hold",
) -> Clip:
    """Make one clip and keep it in S3; a clip that was made before is returned and costs nothing.

    **Costs what `quote(request)` says, once**: retried, run again or run twice at once, it adopts the paid job.

    Args:
        request: What to make.
        credentials: Access to the Kling API.
        archive: Where the clip and the ledger are kept.
        take: Raise it to have the same request made, and paid, once more.
        on_unknown: What to do when the answer to a paid request is lost: hold the clip until somebody decides, or
            send it again, which can pay twice.
    """
    order, terms = ClipOrder(request=request, take=take), Terms(on_unknown=on_unknown)
    return await make_clip(order, credentials, archive, terms, "clip")


async def make_clip(
    order: ClipOrder,
    credentials: KlingCredentials,
    archive: KlingArchive,
    terms: Terms,
    label: str,
    turn: Turn | None = None,
) -> Clip:
    """Make one order's clip inside a flow: at most three task runs, none when it is archived already.

    Raises what the three tasks raise; a failed job is tried again while its failure is a passing one. `turn` is
    this clip's place among others where slots are few.
    """
    kept = await in_thread(archive.get_archive().find, order.clip_key)
    if kept is not None:
        run_logger().info("%s: already archived, nothing to pay: %s", label, kept.uri)
        tell(ShotNews(shot=label, stage=Stage.DONE, usd=kept.usd, clip=kept, reused=True))
        return kept
    tell(ShotNews(shot=label, stage=Stage.QUEUED, usd=quote(order.request).usd))
    try:
        clip = await _make(
            order, credentials, archive, terms, label, turn or current_slots().one(0.0)
        )
    except asyncio.CancelledError:
        tell(
            ShotNews(
                shot=label, stage=Stage.INTERRUPTED, words="the job goes on; a later run adopts it"
            )
        )
        raise
    except Exception as error:
        tell(ShotNews(shot=label, stage=Stage.FAILED, words=str(error) or type(error).__name__))
        raise
    tell(ShotNews(shot=label, stage=Stage.DONE, usd=clip.usd, clip=clip))
    return clip


async def _make(
    order: ClipOrder,
    credentials: KlingCredentials,
    archive: KlingArchive,
    terms: Terms,
    label: str,
    turn: Turn,
) -> Clip:
    job, shot = None, ShotNews(shot=label, stage=Stage.SUBMITTING, usd=quote(order.request).usd)
    # The slot is the job's: what comes after the rendering does not keep the next job waiting.
    async with turn:
        while job is None:
            tell(shot)
            entry = await submit_video(
                order, credentials, archive, label, replace(terms, rest=turn.rest)
            )
            tell(shot.model_copy(update={"stage": Stage.RENDERING}))
            job = await _wait(entry, credentials, archive, label)
    tell(shot.model_copy(update={"stage": Stage.ARCHIVING}))
    archiving = materializing(archive_video, archive.get_archive().clip_uri(order.clip_key))
    clip: Clip = await archiving(entry, job, credentials, archive, label)
    return clip


async def _wait(
    entry: Entry, credentials: KlingCredentials, archive: KlingArchive, label: str
) -> VideoJob | None:
    """Return the completed job, None if it failed in a way that may pass."""
    try:
        return await wait_for_video(entry, credentials, archive, label)
    except JobFailed as error:
        if not error.retryable:
            raise
        # Failed jobs are free. The ledger counts the attempts and refuses the one too many.
        run_logger().warning("%s: %s", label, error)
        return None
