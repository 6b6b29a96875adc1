"""From a paid job to a kept clip: wait, fetch, and close the ledger's record."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.studio.errors import LedgerUnreadable, LinkExpired
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.completion_watch import LedgerFirst, open_clips
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState, Page
from prefect_kling.studio.storage.bucket import in_thread


@dataclass(frozen=True)
class Kept:
    """An archived clip. `is_news`: this very call closed its record, so the caller is the one who tells of it."""

    clip: Clip
    is_news: bool


async def wait_for_paid_job(
    entry: Entry,
    client: KlingClient,
    archive: Archive,
    patience: PollPolicy,
    seen: Callable[[VideoJob], None] = lambda job: None,
    *,
    is_watched: bool = False,
) -> VideoJob:
    """Wait until the entry's job is completed and return it; a failure is for the caller to note (`close_failed`).

    `is_watched`: a receiver may finish the clip. Then the ledger is watched for it, and the API is asked only about
    what the ledger cannot tell; the patience's head start counts from when the request was sent. Free, safe to
    repeat. Raises what `poll_until_done` raises.
    """
    if entry.job_id is None:
        raise LedgerUnreadable(
            f"the record is {entry.state} and names no job", clip_key=entry.clip_key
        )
    try:
        if not is_watched:
            return await poll_until_done(client, entry.job_id, patience, seen)
        with open_clips(archive).bell(entry) as bell:
            left = patience.initial_delay - _seconds_since_sent(entry)
            patience = replace(patience, initial_delay=min(max(left, 0.0), patience.initial_delay))
            return await poll_until_done(
                LedgerFirst(client, archive, entry, bell), entry.job_id, patience, seen, bell
            )
    except JobFailed as error:
        error.clip_key = entry.clip_key
        raise


def _seconds_since_sent(entry: Entry) -> float:
    """How long ago the request was sent, by the clocks of two machines perhaps: good enough to time a poll."""
    if entry.sent_at is None:
        return float("inf")
    return (datetime.now(UTC) - entry.sent_at).total_seconds()


async def close_failed(entry: Entry, failure: JobFailed, archive: Archive) -> bool:
    """Note in the ledger that an entry's job failed, and free its money; whether nobody had done so. Safe to repeat."""
    why = (
        " ".join(part for part in (failure.fail_code, failure.detail) if part) or "no reason given"
    )
    page = await in_thread(_page_of, entry, archive)
    # Somebody quicker may have begun a new attempt: this failure is not about that job. And what is archived stays so,
    # whatever the API says of it later.
    if page.entry.job_id != entry.job_id or page.entry.state is EntryState.ARCHIVED:
        return False
    # Refunded only once it is closed: until then somebody may find the video after all, and book what it cost.
    closed = await in_thread(archive.ledger.failed, page, why, retryable=failure.retryable)
    await in_thread(archive.budget.settle, closed.entry, NOTHING)
    return closed.is_mine


async def keep_paid_job(entry: Entry, job: VideoJob, client: KlingClient, archive: Archive) -> Kept:
    """Archive a completed job's video, settle its money and close its record. Free, safe to repeat.

    A clip that is archived already costs no call of the API. A link that has died is replaced once by asking the API
    for a fresh one. Raises what `Archive.keep` raises.
    """
    clip = await in_thread(archive.find, entry.clip_key) or await _fetched(
        entry, job, client, archive
    )
    page = await in_thread(_page_of, entry, archive)
    # Closing comes last: whoever closes the record tells of it, and little may fail in between.
    await in_thread(archive.budget.settle, page.entry, clip.usd)
    page = await in_thread(archive.ledger.archived, page, clip.uri, clip.usd)
    return Kept(clip, page.is_mine)


async def _fetched(entry: Entry, job: VideoJob, client: KlingClient, archive: Archive) -> Clip:
    charge = await client.record(job.job_id)
    charged_usd = charge.credits if charge else None
    # The event loop's own few threads bound how many transfers run at once; short storage calls have others.
    try:
        return await asyncio.to_thread(archive.keep, entry.order, job, charged_usd)
    except LinkExpired:
        fresh = await client.get(job.job_id)
        return await asyncio.to_thread(archive.keep, entry.order, fresh, charged_usd)


def _page_of(entry: Entry, archive: Archive) -> Page:
    page = archive.ledger.read(entry.clip_key)
    if page is None:
        raise LedgerUnreadable(
            "the record of a paid job is gone", clip_key=entry.clip_key, job_id=entry.job_id
        )
    return page
