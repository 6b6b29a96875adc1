"""Archive the video of a completed job."""

from prefect import task

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.job import VideoJob
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.settlement import Collected, Outcome, keep_paid_job
from prefect_kling.telemetry.assets import describe_asset
from prefect_kling.telemetry.events import announce_ended
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="archive {label}", **IDEMPOTENT_TASK)
async def archive_video(
    entry: Entry,
    job: VideoJob,
    credentials: KlingCredentials,
    archive: KlingArchive,
    label: str = "clip",
) -> Clip:
    """Download a completed job's video, verify it, and store it whole or not at all.

    Free, safe to repeat. A video that differs from the order is archived all the same; the
    differences are logged and recorded. Raises `NotAVideo` when the bytes are broken.
    """
    log = run_logger()
    async with credentials.get_client() as client:
        kept = await keep_paid_job(entry, job, client, archive.get_archive())
    clip = kept.clip
    announce_ended(entry, Collected(Outcome.ARCHIVED, clip.uri, clip, is_news=kept.is_news))
    for note in clip.notes:
        log.warning("%s: %s", label, note)

    describe_asset(
        clip.uri,
        job_id=clip.job_id,
        usd=str(clip.usd),
        sha256=clip.sha256,
        seconds=clip.media.seconds,
    )
    log.info(
        "%s: %s, %.1f s, %s bytes, $%s",
        label,
        clip.uri,
        clip.media.seconds,
        f"{clip.bytes:,}",
        clip.usd,
    )
    return clip
