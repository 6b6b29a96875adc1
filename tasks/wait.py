"""Wait for a paid job: one task run, however many polls."""

from prefect import task

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import VideoJob
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.settlement import (
    Collected,
    Outcome,
    close_failed,
    wait_for_paid_job,
)
from prefect_kling.telemetry.events import announce_ended
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="wait for {label}", **IDEMPOTENT_TASK)
async def wait_for_video(
    entry: Entry, credentials: KlingCredentials, archive: KlingArchive, label: str = "clip"
) -> VideoJob:
    """Wait until the job is completed and return it. Free, safe to repeat.

    This polls the API. With a receiver it polls seldom and watches the ledger, which shows when the
    receiver has archived the clip.

    Raises `StillRunning` with the job id when the credentials' `wait_minutes` are over (the job
    goes on; a later run adopts it), `JobFailed` when the job ended without a video.
    """
    log = run_logger()
    last_state = ""

    def log_state(job: VideoJob) -> None:
        nonlocal last_state
        if job.said_state == last_state:
            return
        last_state = job.said_state
        if job.is_understood:
            log.info("%s: job %s is %s", label, job.job_id, job.said_state)
        else:
            log.info(
                "%s: job %s is %s (an unknown state, taken as running)",
                label,
                job.job_id,
                job.said_state,
            )

    # A request with a callback address of its own does not reach our receiver.
    is_watched = credentials.callbacks is not None and entry.order.request.callback_url is None
    clips = archive.get_archive()
    async with credentials.get_client() as client:
        try:
            return await wait_for_paid_job(
                entry, client, clips, credentials.poll_policy, log_state, is_watched=is_watched
            )
        except JobFailed as error:
            is_news = await close_failed(entry, error, clips)
            failed = Collected(Outcome.FAILED, str(error), failure=error, is_news=is_news)
            announce_ended(entry, failed)
            raise
