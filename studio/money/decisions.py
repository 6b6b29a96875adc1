"""What only a person decides about a clip: adopt, release, retry, give up.

One clip or many at once.

Each function checks what can be checked for free before it changes a record, and raises `WrongClip`
with the reason where a decision would pay twice or lose a video.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import JobNotFound
from prefect_kling.kling.job import RETENTION, JobState, VideoJob
from prefect_kling.studio.errors import WrongClip
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import clip_of
from prefect_kling.studio.money.candidates import take_for
from prefect_kling.studio.money.charges import read_charge
from prefect_kling.studio.money.earlier_jobs import is_where_it_was_sent
from prefect_kling.studio.money.ledger import VersionedEntry
from prefect_kling.studio.money.record import BEFORE_A_JOB, NOTHING, Entry, EntryState
from prefect_kling.studio.money.submission import is_silent, sender_window, take_over_silent
from prefect_kling.studio.storage.concurrency import in_thread

CONFIRM_SECONDS = 3.0
"""The pause before jobs that have ended are read once more."""
CAN_BE_ADOPTED = (EntryState.HELD, EntryState.SUBMITTED, EntryState.GIVEN_UP)
CAN_BE_RELEASED = (EntryState.HELD,)
CAN_BE_RETRIED = (EntryState.FAILED, EntryState.GIVEN_UP, EntryState.SUBMITTED)
CAN_BE_GIVEN_UP = (EntryState.HELD, EntryState.SUBMITTED, EntryState.FAILED)


def take_over(
    version: VersionedEntry, archive: Archive, window: float | None = None
) -> VersionedEntry:
    """Release or hold what a dead process has left, so that it can be decided about.

    Raises `WrongClip` while its sender may be alive.
    """
    if version.entry.state not in BEFORE_A_JOB:
        return version
    if not is_silent(version, window, sender_window(ClientSettings())):
        raise _refusal(version.entry, "its sender may still be alive; try again in some minutes")
    return take_over_silent(version, archive)


async def adopt(
    version: VersionedEntry, job: VideoJob, client: KlingClient, archive: Archive, who: str
) -> Entry:
    """Say that a job is a clip's: it is waited for, archived and settled like any other.

    Can be corrected until the clip is archived, where a person had named the job.
    """
    version = await in_thread(take_over, version, archive)
    entry = version.entry
    _require(entry, CAN_BE_ADOPTED, "adopted")
    is_plain = entry.state is EntryState.SUBMITTED and not entry.adopted_by
    if is_plain and entry.job_id != job.job_id:
        raise _refusal(entry, f"its sender itself was told that it is job {entry.job_id}")
    owner = await in_thread(take_for, entry, job.job_id, archive)
    if owner != entry.clip_key:
        raise WrongClip(
            f"job {job.job_id} belongs to clip {owner}", clip_key=entry.clip_key, job_id=job.job_id
        )
    if entry.job_id == job.job_id and entry.state is EntryState.SUBMITTED:
        return entry
    if entry.state is EntryState.SUBMITTED:
        corrected = await in_thread(archive.ledger.correct_job, version, job.job_id, who)
        await in_thread(archive.jobs.give_back, str(entry.job_id), entry.clip_key)
        return corrected.entry
    adopted = await in_thread(archive.ledger.adopt, version, job.job_id, who)
    # Set aside first: a process that ends in between leaves too much counted, never too little.
    await in_thread(archive.budget.restore, adopted.entry)
    if entry.state is EntryState.GIVEN_UP:
        # Its worst price was booked when it was given up; the video's own price replaces it.
        await in_thread(archive.budget.book, -(entry.charged_usd or NOTHING), entry.film or None)
    return adopted.entry


def release(version: VersionedEntry, job_ids: Iterable[str], archive: Archive, who: str) -> Entry:
    """Say that a held clip was certainly not made: it may be sent, and paid, again.

    Where an answer named jobs, their ids must be given: that says that they were looked for.
    """
    version = take_over(version, archive)
    entry = version.entry
    if entry.state is EntryState.RELEASED:
        return entry
    _require(entry, CAN_BE_RELEASED, "released")
    if set(entry.named_job_ids) != set(job_ids):
        if not entry.named_job_ids:
            raise _refusal(entry, "no answer named a job; leave the ids out")
        ids = " ".join(entry.named_job_ids)
        raise WrongClip(
            f"an answer named job {ids}, which may be paid: look for it first. If it is not there, "
            f"type the id: prefect-kling ledger release {entry.clip_key} {ids}",
            clip_key=entry.clip_key,
            job_id=entry.named_job_id,
        )
    released = archive.ledger.release(version, f"released by {who}").entry
    _settle_all(released, NOTHING, archive)
    return released


async def retry(
    version: VersionedEntry,
    client: KlingClient,
    archive: Archive,
    who: str,
    confirm_seconds: float = CONFIRM_SECONDS,
) -> Entry:
    """Allow another attempt, whatever the limits, once all jobs of the clip have ended.

    The clip is released; running its flow sends it again. A job counts as gone only at the API and
    the account that took it. Every job is read twice, with `confirm_seconds` between.
    """
    entry = version.entry
    _require(entry, CAN_BE_RETRIED, "retried")
    for job_id in entry.all_job_ids:
        await _require_ended(entry, job_id, client)
    # One wrong answer must not pay for a clip once more.
    await asyncio.sleep(confirm_seconds)
    for job_id in entry.all_job_ids:
        await _require_ended(entry, job_id, client)
    if entry.state is EntryState.SUBMITTED:
        charged_usd = await _charge(entry, client)
    else:
        charged_usd = NOTHING
    retried = await in_thread(
        archive.ledger.retry, version, f"another attempt was chosen by {who}", charged_usd
    )
    await in_thread(archive.budget.settle, entry, charged_usd)
    return retried.entry


async def give_up(
    version: VersionedEntry, client: KlingClient, archive: Archive, who: str
) -> Entry:
    """Wait no longer. The worst price is booked unless the API's record says what it cost.

    The clip is never claimed again by itself; a video that comes late is still archived by a sweep.
    """
    version = await in_thread(take_over, version, archive)
    entry = version.entry
    has_failed_jobs = any(each.state == "failed" for each in entry.attempts)
    if entry.state is EntryState.RELEASED and not has_failed_jobs:
        return entry
    if entry.state is not EntryState.RELEASED:
        _require(entry, CAN_BE_GIVEN_UP, "given up")
    if entry.state is EntryState.SUBMITTED:
        await _require_not_running(entry, client)
    charged_usd = NOTHING
    # A clip can be held for an earlier request although its latest job has failed.
    no_cost = (EntryState.FAILED, EntryState.RELEASED)
    has_failed = entry.state in no_cost or entry.has_latest_among_attempts
    if not has_failed:
        charged_usd = await _charge(entry, client)
    given_up = await in_thread(archive.ledger.give_up, version, f"given up by {who}", charged_usd)
    await in_thread(_settle_all, given_up.entry, charged_usd, archive)
    return given_up.entry


def _settle_all(entry: Entry, usd: Decimal, archive: Archive) -> None:
    """Settle the latest claim at a price, and each earlier one at what the record says."""
    archive.budget.settle(entry, usd)
    for attempt in entry.attempts:
        spent = attempt.charged_usd or NOTHING
        archive.budget.settle_claim(entry.clip_key, attempt.claim, spent)


async def _require_ended(entry: Entry, job_id: str, client: KlingClient) -> None:
    """Raise unless a job has failed, or is gone at the API and the account that took it."""
    try:
        job = await client.get(job_id)
    except JobNotFound as error:
        sent_to, account = _taken_by(entry, job_id)
        # What was given up counts at its worst price, wherever it is.
        is_given_up = entry.state is EntryState.GIVEN_UP
        if is_given_up or is_where_it_was_sent(sent_to, account, entry.clip_key, client):
            return
        raise _refusal(
            entry,
            f"job {job_id} is not known here, and nothing proves that this is the account that "
            f"took it; prefect-kling ledger give-up {entry.clip_key} closes it at its worst price",
            job_id,
        ) from error
    if job.state is JobState.COMPLETED:
        raise _refusal(
            entry,
            f"job {job_id} is completed: run its flow, or collect_finished, to keep it",
            job_id,
        )
    if job.state is not JobState.FAILED:
        raise _refusal(entry, f"job {job_id} is {job.said_state or job.state}: wait for it", job_id)


def _taken_by(entry: Entry, job_id: str) -> tuple[str, str]:
    """Return the API and the account that took a job."""
    for attempt in entry.attempts:
        if attempt.job_id == job_id:
            return attempt.sent_to, attempt.account
    return entry.sent_to, entry.account


async def _require_not_running(entry: Entry, client: KlingClient) -> None:
    """Raise while a job is running whose video the API would still keep."""
    age = timedelta.max
    if entry.sent_at is not None:
        age = datetime.now(UTC) - entry.sent_at
    if age > RETENTION or entry.job_id is None:
        return
    try:
        job = await client.get(entry.job_id)
    except JobNotFound:
        return
    if not job.state.is_terminal and job.is_understood:
        raise _refusal(entry, f"job {job.job_id} is {job.said_state}: wait for it", job.job_id)


async def _charge(entry: Entry, client: KlingClient) -> Decimal:
    """Return what the API's own record says, else the worst price of the latest request."""
    if entry.job_id is not None:
        charged_usd = await read_charge(client, entry.job_id, entry.request_usd)
        if charged_usd is not None:
            return charged_usd
    return entry.request_usd


def _require(entry: Entry, states: tuple[EntryState, ...], done: str) -> None:
    if entry.state not in states:
        allowed = " or ".join(state.value.replace("_", " ") for state in states)
        raise _refusal(entry, f"only a clip that is {allowed} can be {done}")


def _refusal(entry: Entry, why: str, job_id: str | None = None) -> WrongClip:
    state = entry.state.value.replace("_", " ")
    return WrongClip(f"the clip is {state}: {why}", clip_key=entry.clip_key, job_id=job_id)


@dataclass(frozen=True)
class Selection:
    """Which clips to decide about at once."""

    states: tuple[EntryState, ...]
    film: str = ""
    older_than: timedelta = timedelta(0)


@dataclass(frozen=True)
class Selected:
    """One clip of a selection; `skipped` says why it is left alone."""

    version: VersionedEntry
    skipped: str = ""


def select(selection: Selection, archive: Archive) -> Iterator[Selected]:
    """Yield the clips of a selection; those that need a decision of their own are named as skipped.

    A clip with a job that an answer named is skipped, and so is what may have a living sender.
    """
    films = _films(archive)
    for version in archive.ledger.all_records():
        entry = version.entry
        if entry.state not in selection.states:
            continue
        if selection.film and selection.film not in (entry.film, films.get(entry.clip_key, "")):
            continue
        age = timedelta(seconds=version.age_seconds)
        if entry.sent_at is not None:
            age = datetime.now(UTC) - entry.sent_at
        if age < selection.older_than:
            continue
        yield Selected(version, _why_skipped(version))


def _why_skipped(version: VersionedEntry) -> str:
    entry = version.entry
    if entry.state is EntryState.HELD and entry.named_job_id is not None:
        return f"an answer named job {entry.named_job_id}: decide about it alone"
    window = entry.silent_seconds or sender_window(ClientSettings())
    if entry.state in (*BEFORE_A_JOB, EntryState.HELD) and version.age_seconds <= window:
        return "its sender may still be alive"
    return ""


def _films(archive: Archive) -> dict[str, str]:
    """The films that money is set aside for, by clip key; records of older versions name none."""
    accounts = archive.budget.accounts()
    if accounts is None:
        return {}
    return {clip_of(name): each.film or "" for name, each in accounts.reserved.items()}
