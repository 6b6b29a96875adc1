"""From a paid job to a kept clip: wait, fetch, and close the ledger's record."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.wait import Patience, wait_for_job
from prefect_kling.studio.archive import Archive, Clip
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.errors import LedgerUnreadable, LinkExpired
from prefect_kling.studio.ledger import NOTHING, Entry, Page
from prefect_kling.studio.watch import open_clips


async def wait_for_paid_job(
    entry: Entry,
    client: KlingClient,
    archive: Archive,
    patience: Patience,
    seen: Callable[[VideoJob], None] = lambda job: None,
    *,
    is_watched: bool = False,
) -> VideoJob:
    """Wait until the entry's job is completed and return it; a failure is noted in the ledger before it is raised.

    `is_watched`: a receiver may finish the clip, and the ledger is watched for it. Free, safe to repeat. Raises what
    `wait_for_job` raises.
    """
    if entry.job_id is None:
        raise LedgerUnreadable(f"the record is {entry.state} and names no job", clip_key=entry.clip_key)
    try:
        with open_clips(archive).bell(entry) if is_watched else nullcontext() as bell:
            return await wait_for_job(client, entry.job_id, patience, seen, bell)
    except JobFailed as error:
        error.clip_key = entry.clip_key
        await close_failed(entry, error, archive)
        raise


async def close_failed(entry: Entry, failure: JobFailed, archive: Archive) -> None:
    """Note in the ledger that an entry's job failed, and free its money. Safe to repeat."""
    why = " ".join(part for part in (failure.fail_code, failure.words) if part) or "no reason given"
    page = await in_thread(_page_of, entry, archive)
    # Somebody quicker may have begun a new attempt: this failure is not about that job.
    if page.entry.job_id == entry.job_id:
        await in_thread(archive.ledger.failed, page, why, retryable=failure.retryable)
        await in_thread(archive.budget.settle, page.entry, NOTHING)


async def keep_paid_job(entry: Entry, job: VideoJob, client: KlingClient, archive: Archive) -> Clip:
    """Archive a completed job's video, close its record and settle its money. Free, safe to repeat.

    A link that has died is replaced once by asking the API for a fresh one. Raises what `Archive.keep` raises.
    """
    charge = await client.record(job.job_id)
    charged_usd = charge.credits if charge else None
    # The event loop's own few threads bound how many transfers run at once; short storage calls have others.
    try:
        clip = await asyncio.to_thread(archive.keep, entry.order, job, charged_usd)
    except LinkExpired:
        fresh = await client.get(job.job_id)
        clip = await asyncio.to_thread(archive.keep, entry.order, fresh, charged_usd)
    page = await in_thread(_page_of, entry, archive)
    await in_thread(archive.ledger.archived, page, clip.uri, clip.usd)
    await in_thread(archive.budget.settle, page.entry, clip.usd)
    return clip


def _page_of(entry: Entry, archive: Archive) -> Page:
    page = archive.ledger.read(entry.clip_key)
    if page is None:
        raise LedgerUnreadable("the record of a paid job is gone", clip_key=entry.clip_key, job_id=entry.job_id)
    return page
