"""One clip: submit, wait, archive. The page to read first."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from prefect_kling.flows.form_fields import Account, ArchiveBlock, Limits, Take, WhenUnknown
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.authorization import authorize_clip, cap_of_clip
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.job_limiter import Lease
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named
from prefect_kling.runs.parameters import as_it_is
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import OverBudget
from prefect_kling.studio.film.retakes import retakes_of
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.tasks import archive_video, submit_video, wait_for_video
from prefect_kling.telemetry.assets import materializing
from prefect_kling.telemetry.clip_page import write_clip_page
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.progress import ShotProgress, Stage


@flow(
    flow_run_name=named("clip {request.headline}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("clip")
async def generate_clip(
    request: Annotated[VideoRequest, Field(json_schema_extra={"title": "Clip"})],
    credentials: Account,
    archive: ArchiveBlock,
    take: Take = 1,
    on_unknown: WhenUnknown = "hold",
    spending: Limits = Spending(),
) -> Clip:
    """Make one clip and keep it in S3; a clip that was made before is returned and costs nothing.

    **Costs what `quote(request)` says, once**: retried, run again or run twice at once, it adopts
    the paid job.

    Args:
        request: What to make.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for the clip and the ledger. Empty means the block named
            default.
        take: Raise it to have the same request made, and paid, once more.
        on_unknown: What to do when the answer to a paid request is lost: hold the clip until
            somebody decides, or send it again, which can pay twice. The limits below say the same.
        spending: How much the clip may cost, and above what price a person is asked.
    """
    order = ClipOrder(request=request, take=take)
    if on_unknown == "resubmit":
        spending = spending.model_copy(update={"on_unknown": on_unknown})
    await authorize_clip(order, archive, spending)
    resources = RunResources(credentials, archive)
    options = spending.options(cap_of_clip(order, spending))
    clip = await make_clip(order, resources, options, "clip")
    await write_clip_page(clip, archive)
    return clip


async def make_best_take(
    order: ClipOrder,
    resources: RunResources,
    options: SubmitOptions,
    label: str,
    lease: Lease | None = None,
) -> Clip:
    """Make a clip, and its next takes as long as the checks of pictures and sound suspect them.

    **Costs the order's price for each take**, at most `resources.retake_suspect` times more than
    once. Returns the take that breaks the fewest rules, of several the first. Safe to repeat: the
    same takes are found, and the same one is returned. A take that fails, or that the budget does
    not allow, ends the series; what else `make_clip` raises is raised.
    """
    log = run_logger()
    best = await make_clip(order, resources, options, label, lease)
    latest = best
    is_retaken = False
    for further in retakes_of(order, resources.retake_suspect):
        if not latest.suspicions:
            break
        told = (label, latest.order.take, latest.suspect, further.take)
        log.warning("%s: take %d is suspect (%s), take %d is wanted", *told)
        is_retaken = True
        try:
            latest = await make_clip(further, resources, options, label)
        except (JobFailed, OverBudget) as error:
            log.warning("%s: there is no take %d: %s", label, further.take, error)
            break
        if len(latest.suspicions) < len(best.suspicions):
            best = latest
    if latest.order != order:
        log.warning("%s: take %d is used", label, best.order.take)
    if is_retaken and best.suspicions:
        # The progress that was published last may be that of another take, or of one that failed.
        used = ShotProgress(
            shot=label,
            stage=Stage.DONE,
            usd=best.usd,
            clip=best,
            reused=True,
            detail=f"take {best.order.take} is used",
        )
        resources.progress.publish(used)
    return best


async def make_clip(
    order: ClipOrder,
    resources: RunResources,
    options: SubmitOptions,
    label: str,
    lease: Lease | None = None,
) -> Clip:
    """Make one order's clip inside a flow: at most three task runs, none if it is archived already.

    **Costs the order's price once.** Safe to repeat. A job that failed for a transient reason is
    followed by another attempt. Raises what the three tasks raise. `lease` is the clip's place
    among the other jobs of the run; without one it gets its own.
    """
    log = run_logger()
    clips = resources.archive.get_archive()

    def publish(stage: Stage, **details: Any) -> None:
        resources.progress.publish(ShotProgress(shot=label, stage=stage, **details))

    archived = await in_thread(clips.find, order.clip_key)
    if archived is not None:
        log.info("%s: already archived, nothing to pay: %s", label, archived.uri)
        publish(Stage.DONE, usd=archived.usd, clip=archived, reused=True)
        return archived

    credentials = as_it_is(resources.credentials)
    archive = as_it_is(resources.archive)
    price = quote(order.request).usd
    began = datetime.now(UTC)
    publish(Stage.QUEUED, usd=price)
    if lease is None:
        lease = resources.limiter.lease()
    try:
        # The lease is the job's: archiving the video does not keep the next job waiting.
        async with lease, resources.account_jobs.slot(order.clip_key):
            job = None
            while job is None:
                publish(Stage.SUBMITTING, usd=price)
                entry = await submit_video(
                    as_it_is(order),
                    credentials,
                    archive,
                    label,
                    replace(options, rest=lease.wait_for_capacity),
                )
                publish(Stage.RENDERING, usd=price)
                try:
                    job = await wait_for_video(entry, credentials, archive, label)
                except JobFailed as error:
                    if not error.retryable:
                        raise
                    # Failed jobs are free. The ledger counts the attempts and refuses one too many.
                    log.warning("%s: %s", label, error)

        publish(Stage.ARCHIVING, usd=price)
        archive_as_asset = materializing(archive_video, clips.clip_uri(order.clip_key))
        clip: Clip = await archive_as_asset(entry, job, credentials, archive, label)
    except asyncio.CancelledError:
        publish(Stage.INTERRUPTED, detail="the job goes on; a later run adopts it")
        raise
    except Exception as error:
        resources.progress.publish(ShotProgress.of_error(label, error))
        raise
    is_paid_here = entry.sent_at is not None and entry.sent_at >= began
    publish(Stage.DONE, usd=clip.usd, clip=clip, paid=is_paid_here)
    return clip
