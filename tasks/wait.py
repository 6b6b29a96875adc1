"""Wait for a paid job: one task run, however many polls."""

from prefect import task

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import VideoJob
from prefect_kling.runs.retries import FREE
from prefect_kling.studio.money.collection import Collected, Outcome
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.results import close_failed, wait_for_paid_job
from prefect_kling.telemetry.events import announce_ended
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="wait for {label}", **FREE)
async def wait_for_video(
    entry: Entry, credentials: KlingCredentials, archive: KlingArchive, label: str = "clip"
) -> VideoJob:
    """Wait until the job is completed and return it. Free, safe to repeat.

    Polls; with a receiver slowly, for then the ledger tells when the API has called and the clip is archived.

    Raises `StillRunning` with the job id when the credentials' `wait_minutes` are over (the job goes on; a later run
    adopts it), `JobFailed` when the job ended without a video.
    """
    log, said = run_logger(), ""

    def seen(job: VideoJob) -> None:
        nonlocal said
        if job.said_state != said:
            said = job.said_state
            understood = "" if job.is_understood else " (an unknown state, taken as running)"
            log.info("%s: job %s is %s%s", label, job.job_id, said, understood)

    async with credentials.get_client() as client:
        # Who has the API call another address is not helped by our receiver.
        watched = credentials.callbacks is not None and entry.order.request.callback_url is None
        studio = archive.get_archive()
        try:
            return await wait_for_paid_job(
                entry, client, studio, credentials.patience, seen, is_watched=watched
            )
        except JobFailed as error:
            is_news = await close_failed(entry, error, studio)
            announce_ended(
                entry, Collected(Outcome.FAILED, str(error), failure=error, is_news=is_news)
            )
            raise
