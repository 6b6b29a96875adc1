"""Finishing a paid job that nobody waits for: asked about once, then archived, closed, or left running."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed, JobNotFound, KlingError
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import failure_of
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.results import close_failed, keep_paid_job
from prefect_kling.studio.storage.bucket import in_thread

RETENTION = timedelta(days=7)


class Outcome(StrEnum):
    """How a paid job stands after it was asked about once."""

    ARCHIVED = "archived"
    FAILED = "failed"
    RUNNING = "running"
    GONE = "gone"
    EXPIRING = "expiring"
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Collected:
    """One job's outcome, in words too; the clip if it is archived now.

    `is_news`: this very call closed the record, so that whoever made it tells of the end. `trouble`: what keeps a
    finished video from being archived.
    """

    outcome: Outcome
    words: str = ""
    clip: Clip | None = None
    failure: JobFailed | None = None
    is_news: bool = False
    trouble: KlingError | StudioError | None = None


async def collect(
    entry: Entry, client: KlingClient, archive: Archive, warn_before: timedelta
) -> Collected:
    """Ask the API once how an entry's job stands, and finish it if it is finished. Free, safe to repeat.

    A finished video that cannot be archived is told as trouble, and as an alarm when the API is about to delete it.
    Raises the client's errors when the API cannot be asked.
    """
    try:
        job = await client.get(str(entry.job_id))
    except JobNotFound as error:
        # The video may be safe even if the API has forgotten it.
        if await in_thread(archive.find, entry.clip_key) is None:
            return Collected(Outcome.GONE, str(error))
        job = VideoJob(job_id=str(entry.job_id), state=JobState.COMPLETED)
    if job.state is JobState.COMPLETED:
        return await _keep(entry, job, client, archive, warn_before)
    if job.state is JobState.FAILED:
        failure = failure_of(job)
        is_news = await close_failed(entry, failure, archive)
        return Collected(Outcome.FAILED, str(failure), failure=failure, is_news=is_news)
    return Collected(Outcome.RUNNING, job.said_state)


async def _keep(
    entry: Entry, job: VideoJob, client: KlingClient, archive: Archive, warn_before: timedelta
) -> Collected:
    try:
        kept = await keep_paid_job(entry, job, client, archive)
    except (KlingError, StudioError) as error:
        if (
            job.completed_at is None
            or job.completed_at + RETENTION - datetime.now(UTC) > warn_before
        ):
            return Collected(Outcome.TROUBLE, str(error), trouble=error)
        told = f"the API deletes it at {job.completed_at + RETENTION:%Y-%m-%d %H:%M} UTC: {error}"
        return Collected(Outcome.EXPIRING, told, trouble=error)
    return Collected(Outcome.ARCHIVED, kept.clip.uri, kept.clip, is_news=kept.is_news)
