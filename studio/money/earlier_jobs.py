"""Jobs of earlier attempts: read before anything is paid again, and when a clip is finished."""

import asyncio
import hashlib
import logging
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed, JobNotFound, KlingError
from prefect_kling.kling.job import RETENTION, JobState, VideoJob
from prefect_kling.kling.prices import quote
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.errors import LedgerMoved, LinkExpired, StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.candidates import take_for
from prefect_kling.studio.money.charges import read_charge
from prefect_kling.studio.money.ledger import VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import NOTHING, Attempt, Entry, EntryState
from prefect_kling.studio.money.reservations import set_aside_for, settle_ended_claims
from prefect_kling.studio.money.result_files import fetch_result
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import in_thread

IN_MEMORY_BYTES = 8 * 2**20
LOG = logging.getLogger(__name__)


def is_where_it_was_sent(sent_to: str, account: str, clip_key: str, client: KlingClient) -> bool:
    """Whether a client asks the API and the account that took a request.

    What is not known proves nothing.
    """
    if not sent_to or not account:
        return False
    return sent_to == client.settings.base_url and account == client.account(clip_key)


async def read_earlier_jobs(
    version: VersionedEntry, client: KlingClient, archive: Archive
) -> Entry | None:
    """Read every job of a clip's earlier attempts.

    Return the record if one of them goes on, or has a video.

    None says that all have ended without one: then the money that is set aside for them is freed.
    Free, safe to repeat. Raises `JobFailed` where a job is not known and nothing proves that it is
    gone, and the client's errors where a job cannot be read.
    """
    for attempt in _attempts_with_jobs(version.entry):
        job_id = str(attempt.job_id)
        if attempt.state in ("given_up", "gone", "paid"):
            # A person, or the API's own books, decided about it; its end is looked at later.
            continue
        try:
            job = await client.get(job_id)
        except JobNotFound as error:
            key = version.entry.clip_key
            # A job that is not known here may run at another host or account.
            is_gone = is_where_it_was_sent(attempt.sent_to, attempt.account, key, client)
            if is_gone or not _may_be_kept(attempt):
                continue
            raise JobFailed(
                f"job {job_id} failed, and cannot be read once more before the next attempt",
                job_id=job_id,
                clip_key=key,
                detail="use the key and the address that it was sent with; where they are gone for "
                f"good: prefect-kling ledger give-up {key}, then ledger retry {key}",
            ) from error
        if job.state is not JobState.FAILED:
            why = f"job {job_id} counted as failed and is {job.said_state or job.state}"
            # Not after it: whoever archives its video meanwhile books before the record says so.
            usd = attempt.at_most_usd
            await in_thread(set_aside_for, version, attempt.claim, usd, archive, attempt.film)
            reopened = await in_thread(archive.ledger.reopen, version, job_id, why)
            return reopened.entry
    await in_thread(_free_money, version.entry, archive)
    return None


async def finish_attempts(
    version: VersionedEntry, client: KlingClient, archive: Archive
) -> VersionedEntry:
    """Look at the earlier attempts of a finished clip once more, and settle each one's money.

    A video that came late all the same is kept beside the clip, and its price booked; so is that of
    a job that was named late. An attempt whose outcome was never known counts at its worst price.
    What cannot be read now keeps its marker for the next sweep. Free, safe to repeat. Returns the
    record as it stands then.
    """
    key = version.entry.clip_key
    settled: dict[tuple[str, str | None], Attempt] = {}
    for attempt in version.entry.open_attempts:
        try:
            ended = await _ended(attempt, version.entry, client, archive)
        except (KlingError, StudioError) as error:
            LOG.warning("an earlier job of clip %s is left: %s", key, error)
            ended = None
        marker = layout.open_marker(key, attempt.claim)
        if ended is None:
            await in_thread(archive.bucket.put, marker, b"", "text/plain")
            continue
        settled[(attempt.claim, attempt.job_id)] = ended
    if settled:
        try:
            version = await in_thread(_note_settled, version, settled, archive)
        except LedgerMoved:
            # Another run has settled them, or an id was added: the next sweep looks again.
            LOG.info("the earlier jobs of clip %s are left: its record has changed", key)
            return version
    if version.entry.state is EntryState.ARCHIVED and not version.entry.open_attempts:
        await in_thread(archive.ledger.close_archived, version.entry)
    return version


def _note_settled(
    version: VersionedEntry, settled: dict[tuple[str, str | None], Attempt], archive: Archive
) -> VersionedEntry:
    """Write what earlier attempts have cost, then book it.

    Each price is set aside before it is written, so that what a process leaves that ends in between
    is booked by the next sweep. Several runs may come here at once: the record lets one write, and
    the accounts let what is set aside be booked once. Raises `LedgerMoved` in the others.
    """
    entry = version.entry
    known = {(each.claim, each.job_id) for each in entry.attempts}
    attempts = [settled.get((each.claim, each.job_id), each) for each in entry.attempts]
    named_late = [ended for name, ended in settled.items() if name not in known]
    for ended in settled.values():
        if ended.charged_usd:
            claim = entry.reservation_of(ended)
            set_aside_for(version, claim, ended.charged_usd, archive, ended.film)
    note = f"{len(settled)} earlier attempts are settled"
    noted = archive.ledger.note_attempts(version, (*attempts, *named_late), note)
    settle_ended_claims(archive, entry.clip_key)
    for ended in settled.values():
        if ended.claim != entry.claim:
            archive.bucket.delete(layout.open_marker(entry.clip_key, ended.claim))
    return noted


def close_failed_attempts(version: VersionedEntry, archive: Archive) -> None:
    """Note that the failed attempts of a clip that has no job now have cost nothing.

    The caller has just read their jobs (`read_earlier_jobs`).
    """
    closed = []
    is_news = False
    for attempt in version.entry.attempts:
        if attempt.state == "failed" and attempt.charged_usd is None:
            attempt = attempt.model_copy(update={"charged_usd": NOTHING})
            is_news = True
        closed.append(attempt)
    if is_news:
        note = "the earlier attempts have cost nothing"
        archive.ledger.note_attempts(version, tuple(closed), note)
    for attempt in closed:
        if attempt.charged_usd is not None:
            archive.bucket.delete(layout.open_marker(version.entry.clip_key, attempt.claim))


async def _ended(
    attempt: Attempt, entry: Entry, client: KlingClient, archive: Archive
) -> Attempt | None:
    """Return the attempt with what it cost; None while that cannot be known yet."""
    unpaid = attempt.model_copy(update={"charged_usd": NOTHING})
    at_worst = attempt.model_copy(update={"charged_usd": attempt.at_most_usd})
    if attempt.job_id is None:
        if any(attempt.claim.startswith(late.claim) for late in entry.late_jobs if late.claim):
            # Its job was named late after all, and is settled by itself.
            return unpaid
        return at_worst
    if attempt.state == "unknown":
        # Its id was only named in an answer, which may have named another clip's job.
        owner = await in_thread(take_for, entry, attempt.job_id, archive)
        if owner != entry.clip_key:
            return at_worst.model_copy(update={"why": f"job {attempt.job_id} belongs to {owner}"})
    try:
        job = await client.get(attempt.job_id)
    except JobNotFound:
        if attempt.state != "unknown" and is_where_it_was_sent(
            attempt.sent_to, attempt.account, entry.clip_key, client
        ):
            return unpaid
        # Not known here proves nothing while the API that took it may still keep its video.
        if _may_be_kept(attempt):
            return None
        # A request makes one job, and that of the clip's own request is another one.
        is_own_request = attempt.claim == entry.claim
        if attempt.state == "unknown" and not is_own_request:
            return at_worst
        return unpaid
    if job.state is JobState.FAILED:
        return unpaid
    if job.state is not JobState.COMPLETED:
        return None
    await asyncio.to_thread(_keep_late_video, entry.order, job, client.result_access, archive)
    price = await read_charge(client, attempt.job_id, attempt.at_most_usd)
    if price is None:
        price = quote(entry.order.request).usd
    return attempt.model_copy(update={"state": "paid", "charged_usd": price})


def _may_be_kept(attempt: Attempt) -> bool:
    since = attempt.ended_at or attempt.sent_at
    return since is not None and datetime.now(UTC) - since < RETENTION


def _keep_late_video(
    order: ClipOrder, job: VideoJob, access: ResultAccess, archive: Archive
) -> None:
    """Store the video of a job that was no longer expected, as it comes, beside its clip."""
    if not job.urls:
        raise LinkExpired("the API gives no link to the video", job_id=job.job_id)
    digest = hashlib.sha256(job.job_id.encode("utf-8", "replace")).hexdigest()
    with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
        file = cast("BinaryIO", spool)
        received = fetch_result(job.urls[0], file, order, access)
        path = layout.late_video(order.clip_key, digest)
        archive.bucket.put_file(path, file, received.size, received.sha256, "video/mp4")


def _attempts_with_jobs(entry: Entry) -> list[Attempt]:
    attempts = [each for each in entry.attempts if each.job_id is not None]
    if entry.state is EntryState.FAILED and entry.job_id is not None:
        attempts.append(entry.as_attempt("failed"))
    return attempts


def _free_money(entry: Entry, archive: Archive) -> None:
    for attempt in _attempts_with_jobs(entry):
        if attempt.state == "failed":
            archive.budget.settle_claim(entry.clip_key, attempt.claim, NOTHING)
