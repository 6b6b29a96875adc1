"""What becomes of a paid job: waited for or asked about once, then archived, closed, or left."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed, JobNotFound, KlingError
from prefect_kling.kling.job import RETENTION, JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy, failure_of, poll_until_done
from prefect_kling.studio.errors import (
    ClipHeld,
    DownloadBroken,
    LedgerMoved,
    LedgerUnreadable,
    LinkExpired,
    NotAVideo,
    StudioError,
    VideoQuarantined,
)
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.charges import read_charge
from prefect_kling.studio.money.completion_watch import LedgerBackedReader, completion_watcher
from prefect_kling.studio.money.earlier_jobs import finish_attempts
from prefect_kling.studio.money.job_conflict import hold_if_owned_elsewhere
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState, VersionedEntry
from prefect_kling.studio.money.unknown_states import ConfirmingReader, may_be_finished
from prefect_kling.studio.storage.concurrency import in_thread, until_stopped
from prefect_kling.studio.storage.download import Stop

CONFIRM_SECONDS = 10.0
"""The pause before a failure is read once more."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """An archived clip.

    `is_news`: this very call closed its record, so the caller is the one who tells of it.
    """

    clip: Clip
    is_news: bool


async def wait_for_paid_job(
    entry: Entry,
    client: KlingClient,
    archive: Archive,
    policy: PollPolicy,
    seen: Callable[[VideoJob], None] = lambda job: None,
    *,
    is_watched: bool = False,
) -> VideoJob:
    """Wait until the entry's job is completed and return it.

    A failure is for the caller to note (`close_failed`).

    `is_watched`: a receiver may finish the clip. Then the ledger is watched for it, and the API is
    asked only about what the ledger cannot tell; the initial delay of the policy counts from when
    the request was sent. Free, safe to repeat. Raises what `poll_until_done` raises.
    """
    if entry.job_id is None:
        raise LedgerUnreadable(
            f"the record is {entry.state} and names no job", clip_key=entry.clip_key
        )
    try:
        if not is_watched:
            reader = ConfirmingReader(client, archive, entry.order)
            return await poll_until_done(reader, entry.job_id, policy, seen)
        with completion_watcher(archive).watch(entry) as completed:
            left = policy.initial_delay - _seconds_since_sent(entry)
            policy = replace(policy, initial_delay=min(max(left, 0.0), policy.initial_delay))
            backed = LedgerBackedReader(client, archive, entry, completed)
            reader = ConfirmingReader(backed, archive, entry.order)
            return await poll_until_done(reader, entry.job_id, policy, seen, completed)
    except JobFailed as error:
        error.clip_key = entry.clip_key
        raise


def _seconds_since_sent(entry: Entry) -> float:
    """How long ago the request was sent. Two clocks may be involved: good enough for polls."""
    if entry.sent_at is None:
        return float("inf")
    return (datetime.now(UTC) - entry.sent_at).total_seconds()


async def close_failed(entry: Entry, failure: JobFailed, archive: Archive) -> bool:
    """Note a confirmed failure of an entry's job; whether nobody had done so. Safe to repeat.

    The money of a failure that may be followed by another attempt stays set aside until its job was
    read once more; that of a final one is freed.
    """
    parts = [part for part in (failure.fail_code, failure.detail) if part]
    why = " ".join(parts) or "no reason given"
    version = await in_thread(_read_entry, entry, archive)
    # Somebody quicker may have begun a new attempt: this failure is not about that job. And what is
    # archived stays so, whatever the API says of it later.
    ended = (EntryState.ARCHIVED, EntryState.GIVEN_UP)
    if version.entry.job_id != entry.job_id or version.entry.state in ended:
        return False
    # Refunded only once it is closed: until then somebody may find the video after all, and book
    # what it cost.
    closed = await in_thread(archive.ledger.failed, version, why, retryable=failure.retryable)
    if closed.entry.state is EntryState.FAILED and not failure.retryable:
        await in_thread(archive.budget.settle, closed.entry, NOTHING)
    return closed.is_mine


async def keep_paid_job(entry: Entry, job: VideoJob, client: KlingClient, archive: Archive) -> Kept:
    """Archive a completed job's video, settle its money and close its record. Free, safe to repeat.

    A clip that is archived already costs no call of the API. Where this process has sent the
    request itself, neither clip nor record is read: conditional writes tell whether somebody came
    first. Passing trouble with the file is met by a few tries, each with a fresh read of the job
    (`Archive.fetching`). A cancellation ends the download within seconds. Raises what
    `Archive.keep` raises, and `ClipHeld` where the job belongs to another clip.
    """
    clip = None
    if not entry.own.etag:
        clip = await in_thread(archive.find, entry.clip_key)
    if clip is None:
        # Read whoever has sent the job: a person may have given it to another clip meanwhile.
        owned = await in_thread(hold_if_owned_elsewhere, entry, archive)
        if owned.state is EntryState.HELD:
            raise ClipHeld(owned.last_note, clip_key=entry.clip_key, job_id=entry.job_id)
        clip = await _fetched(entry, job, client, archive)
    # Closing comes last: whoever closes the record tells of it, and little may fail in between.
    version = await in_thread(_close, entry, clip, archive)
    try:
        # Without any, closing has taken the clip out of the index already.
        if version.entry.open_attempts:
            await finish_attempts(version, client, archive)
    except StudioError as error:
        # The clip is safe and paid for; its marker leaves the rest to the next sweep.
        LOG.warning("the earlier jobs of clip %s are left: %s", entry.clip_key, error)
    return Kept(clip, version.is_mine)


def _close(entry: Entry, clip: Clip, archive: Archive) -> VersionedEntry:
    """Close the record of an archived clip, as it was written by this process or as it is now."""
    if entry.own.etag:
        try:
            return close_kept(VersionedEntry(entry, entry.own.etag, 0.0), clip, archive)
        except LedgerMoved as error:
            LOG.info("the record of clip %s is read again: %s", entry.clip_key, error)
    return close_kept(_read_entry(entry, archive), clip, archive)


def close_kept(version: VersionedEntry, clip: Clip, archive: Archive) -> VersionedEntry:
    """Book what an archived clip has cost, in place of what was set aside, and close its record."""
    entry = version.entry
    if entry.state is not EntryState.GIVEN_UP:
        if not entry.own.has_nothing_set_aside:
            archive.budget.settle(entry, clip.usd)
        return archive.ledger.archived(version, clip.uri, clip.usd)
    # Its worst price was booked when it was given up. A correction is no reservation, which moves
    # once: only who closes the record books it.
    closed = archive.ledger.archived(version, clip.uri, clip.usd)
    if closed.is_mine:
        archive.budget.book(clip.usd - (entry.charged_usd or NOTHING), entry.film or None)
    return closed


async def _fetched(entry: Entry, job: VideoJob, client: KlingClient, archive: Archive) -> Clip:
    charged_usd = await read_charge(client, job.job_id, entry.at_most_usd)

    fetching = archive.fetching
    for number in range(1, fetching.tries + 1):
        stop = Stop()
        keep = partial(
            archive.keep,
            entry.order,
            job,
            charged_usd,
            entry.at_most_usd,
            is_new=bool(entry.own.etag),
            access=client.result_access,
            stop=stop,
            is_last_try=number == fetching.tries,
        )
        try:
            return await until_stopped(keep, stop.set)
        except (LinkExpired, DownloadBroken, NotAVideo):
            if number == fetching.tries:
                raise
        await asyncio.sleep(fetching.pause_seconds * 2 ** (number - 1))
        # A fresh read gives fresh links; an answer without any leaves those that are known.
        # An API that is away leaves them, too.
        with suppress(KlingError):
            fresh = await client.get(job.job_id)
            if fresh.urls:
                job = fresh
    raise ValueError(f"{fetching.tries} tries: at least one is needed")


def _read_entry(entry: Entry, archive: Archive) -> VersionedEntry:
    version = archive.ledger.read(entry.clip_key)
    if version is None:
        raise LedgerUnreadable(
            "the record of a paid job is gone", clip_key=entry.clip_key, job_id=entry.job_id
        )
    return version


class Outcome(StrEnum):
    """How a paid job stands after it was asked about once."""

    ARCHIVED = "archived"
    FAILED = "failed"
    RUNNING = "running"
    GONE = "gone"
    EXPIRING = "expiring"
    QUARANTINED = "quarantined"
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Collected:
    """One job's outcome, in words too; the clip if it is archived now.

    `is_news`: this very call closed the record, so that whoever made it tells of the end.
    `trouble`: what keeps a finished video from being archived.
    """

    outcome: Outcome
    words: str = ""
    clip: Clip | None = None
    failure: JobFailed | None = None
    is_news: bool = False
    trouble: KlingError | StudioError | None = None


async def collect(
    entry: Entry,
    client: KlingClient,
    archive: Archive,
    warn_before: timedelta,
    confirm_seconds: float = CONFIRM_SECONDS,
) -> Collected:
    """Ask the API how an entry's job stands, and finish it if it is finished. Free, safe to repeat.

    A failure is read once more after `confirm_seconds` before it is believed.

    A finished video that cannot be archived is told as trouble, and as an alarm when the API is
    about to delete it. Raises the client's errors when the API cannot be asked.
    """
    reader = ConfirmingReader(client, archive, entry.order)
    try:
        job = await reader.get(str(entry.job_id))
        if job.state is JobState.FAILED:
            await asyncio.sleep(confirm_seconds)
            job = await reader.get(str(entry.job_id))
        elif may_be_finished(job):
            await asyncio.sleep(archive.fetching.confirm_seconds)
            job = await reader.get(str(entry.job_id))
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
    if may_be_finished(job):
        return await _set_aside(entry, job, client, archive)
    return Collected(Outcome.RUNNING, job.said_state)


async def _set_aside(
    entry: Entry, job: VideoJob, client: KlingClient, archive: Archive
) -> Collected:
    """Keep the file of a job whose state nobody knows; its record stays open."""
    reason = f"the API says that the job is {job.said_state!r}, which is no known state"
    if not archive.links_of(entry.order, job):
        reason = f"{reason}, and the only links it gives are those that were sent"
    access = client.result_access
    uri = await in_thread(archive.quarantine_links, entry.order, job, reason, access)
    if not uri:
        return Collected(Outcome.RUNNING, reason)
    return Collected(Outcome.QUARANTINED, f"{reason}; its file is kept at {uri}")


async def _keep(
    entry: Entry, job: VideoJob, client: KlingClient, archive: Archive, warn_before: timedelta
) -> Collected:
    try:
        kept = await keep_paid_job(entry, job, client, archive)
    except (KlingError, StudioError) as error:
        outcome = Outcome.TROUBLE
        if isinstance(error, VideoQuarantined):
            outcome = Outcome.QUARANTINED
        if (
            job.completed_at is None
            or job.completed_at + RETENTION - datetime.now(UTC) > warn_before
        ):
            return Collected(outcome, str(error), trouble=error)
        told = f"the API deletes it at {job.completed_at + RETENTION:%Y-%m-%d %H:%M} UTC: {error}"
        return Collected(Outcome.EXPIRING, told, trouble=error)
    return Collected(Outcome.ARCHIVED, kept.clip.uri, kept.clip, is_news=kept.is_news)
