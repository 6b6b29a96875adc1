"""Reading the account's books beside the ledger, and acting on what they prove. See `books.py`."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobNotFound
from prefect_kling.kling.models import ModelUnknown
from prefect_kling.kling.prices import quote
from prefect_kling.studio.errors import LedgerMoved
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.books import (
    Books,
    Decision,
    JobReading,
    Reading,
    UnknownRequest,
    decide,
)
from prefect_kling.studio.money.charges import read_charge
from prefect_kling.studio.money.earlier_jobs import is_where_it_was_sent
from prefect_kling.studio.money.ledger import VersionedEntry
from prefect_kling.studio.money.record import BEFORE_A_JOB, NOTHING, Entry, EntryState
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import in_thread

AT_ONCE = 16
STEADY_TRIES = 3
KEPT_READINGS = 100
"""How many of the latest readings are compared with a new one."""
API_KEEPS = timedelta(days=7)
ACCOUNT_SALT = "account reading"


@dataclass(frozen=True)
class Audit:
    """One reading, what it says beside earlier ones, and what is proven about held clips.

    `since_last` compares it with the reading before, `since_held` with the latest reading before
    the oldest held clip was sent; each is None where there is no such reading. `proven` are the
    decisions of all readings from that one on.
    """

    reading: Reading
    held: tuple[Entry, ...]
    since_last: Books | None
    since_held: Books | None
    proven: tuple[Decision, ...]


async def audit(
    archive: Archive,
    client: KlingClient,
    topped_up_usd: Decimal | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Audit:
    """Read the account, keep the reading in the archive, and compare it with the earlier ones.

    Free.

    `topped_up_usd` is what was put on the account since the first reading that is compared: the
    latest one before the oldest held clip was sent. Changes no record. Raises what the client
    raises when the balance or a job cannot be read, and storage errors.
    """
    earlier = await in_thread(stored_readings, archive)
    reading, versions = await take_reading(archive, client, clock)
    await in_thread(_store, reading, archive)
    # A reading from the future, by another machine's clock, is compared with nothing.
    earlier = [each for each in earlier if each.at < reading.at]
    held = [each.entry for each in versions if each.entry.state is EntryState.HELD]
    if not earlier:
        return Audit(reading, tuple(held), None, None, ())
    compared = _from_the_oldest_held(earlier, held)
    found: list[Books] = []
    for number, first in enumerate(compared):
        said = topped_up_usd
        if number > 0 and topped_up_usd:
            # It is not known before or after which of these readings that was.
            said = None
        found.append(decide(first, reading, said, compared))
    since_last = decide(earlier[-1], reading, topped_up_usd)
    since_held = None
    if found:
        since_held = found[0]
    return Audit(reading, tuple(held), since_last, since_held, _agreed(found))


def _from_the_oldest_held(earlier: Sequence[Reading], held: Sequence[Entry]) -> list[Reading]:
    """Return the readings from the latest one on that is older than all held clips."""
    sent = [each.sent_at for each in held if each.sent_at is not None]
    if not sent:
        return []
    older = [each for each in earlier if each.at < min(sent)]
    return [*older[-1:], *(each for each in earlier if each.at >= min(sent))]


def _agreed(found: Sequence[Books]) -> tuple[Decision, ...]:
    """Return the decisions.

    Where two pairs of readings disagree about a clip, they prove nothing.
    """
    proven: dict[str, set[Decision]] = {}
    for books in found:
        for decision in books.decisions:
            proven.setdefault(decision.clip_key, set()).add(decision)
    return tuple(each.pop() for each in proven.values() if len(each) == 1)


async def take_reading(
    archive: Archive, client: KlingClient, clock: Callable[[], datetime]
) -> tuple[Reading, list[VersionedEntry]]:
    """Read all records, the account, every known job, and the account and all records once more.

    Free. Repeated a few times while the account moves under it; then the reading says so.
    """
    at = clock()
    before = await in_thread(list, archive.ledger.all_records())
    for _ in range(STEADY_TRIES):
        balance = await client.balance()
        jobs = await _read_jobs([each.entry for each in before], client, at)
        is_steady = await client.balance() == balance
        if is_steady:
            break
    after = await in_thread(list, archive.ledger.all_records())
    entries = [each.entry for each in after]
    reading = Reading(
        at=at,
        sent_to=client.settings.base_url,
        account=client.account(ACCOUNT_SALT),
        balance=balance.balance,
        total=balance.total,
        frozen=balance.frozen,
        currency=balance.currency,
        is_steady=is_steady,
        jobs=tuple(jobs),
        unknown=tuple(request for entry in entries for request in unknown_requests(entry, client)),
        open_claims=tuple(each.clip_key for each in entries if each.state in BEFORE_A_JOB),
        ledger_before=_fingerprint(before),
        ledger_after=_fingerprint(after),
    )
    return reading, after


def stored_readings(archive: Archive) -> list[Reading]:
    """Return the latest readings of an archive, oldest first."""
    names = sorted(archive.bucket.names(layout.READINGS))[-KEPT_READINGS:]
    readings = (archive.bucket.read_model(name, Reading) for name in names)
    return [each for each in readings if each is not None]


def unknown_requests(entry: Entry, client: KlingClient) -> Iterator[UnknownRequest]:
    """Yield the requests of a clip that may have been paid, and whose jobs are not known.

    Rather one too many: a request that cannot be part of the account's charges makes the sum of all
    larger, and so decides less.
    """
    usd = exact_price(entry)
    is_unknown = entry.state is EntryState.HELD
    if entry.state is EntryState.GIVEN_UP and entry.job_id is None:
        is_unknown = True
    if is_unknown:
        yield UnknownRequest(
            clip_key=entry.clip_key,
            claim=entry.claim,
            sent_at=entry.sent_at,
            usd=usd,
            is_decidable=_is_decidable(entry, client),
        )
    for attempt in entry.attempts:
        if attempt.job_id is None:
            yield UnknownRequest(
                clip_key=entry.clip_key, claim=attempt.claim, sent_at=attempt.sent_at, usd=usd
            )
    previous = None
    for event in entry.history:
        # Somebody said that nothing was paid for it.
        if previous is EntryState.HELD and event.state is EntryState.RELEASED:
            yield UnknownRequest(clip_key=entry.clip_key, claim="", sent_at=event.at, usd=usd)
        previous = event.state


def exact_price(entry: Entry) -> Decimal | None:
    """Return the price of one request by the table; None where the table leaves it open."""
    request = entry.order.request
    try:
        price = quote(request)
    except ModelUnknown:
        return None
    if request.edits_video or price.usd != price.at_most_usd:
        return None
    return price.usd


def _is_decidable(entry: Entry, client: KlingClient) -> bool:
    if entry.state is not EntryState.HELD or not entry.is_answered:
        return False
    if entry.named_job_ids or entry.maybe_paid_usd:
        return False
    if any(attempt.job_id is None for attempt in entry.attempts):
        return False
    return is_where_it_was_sent(entry.sent_to, entry.account, entry.clip_key, client)


async def act(proven: Sequence[Decision], reading: Reading, archive: Archive) -> tuple[str, ...]:
    """Release the clips that were proven unpaid, and free their money; return their keys.

    Safe to repeat. A record that has changed since the reading is left alone. What the sum says is
    paid stays held: another user of the account may have spent just that much, which nothing here
    can see. Its money stays set aside, and a call of the API, or a person who finds the job within
    its seven days, still brings the video in; giving it up would drop that.
    """
    unpaid = [each for each in proven if each.verdict == "unpaid"]

    def release_all() -> tuple[str, ...]:
        return tuple(each.clip_key for each in unpaid if _release(each, reading, archive))

    return await in_thread(release_all)


def _release(decision: Decision, reading: Reading, archive: Archive) -> bool:
    version = archive.ledger.read(decision.clip_key)
    if version is None:
        return False
    entry = version.entry
    if entry.state is not EntryState.HELD or entry.claim != decision.claim:
        return False
    if entry.named_job_ids or entry.maybe_paid_usd:
        return False
    why = (
        f"not taken: by the account's books of {reading.at:%Y-%m-%d %H:%M} UTC nothing was paid "
        "for it"
    )
    try:
        archive.ledger.release(version, why)
    except LedgerMoved:
        return False
    archive.budget.settle_claim(entry.clip_key, entry.claim, NOTHING)
    return True


def _store(reading: Reading, archive: Archive) -> None:
    body = reading.model_dump_json(indent=1).encode()
    archive.bucket.put(layout.reading(reading.at), body, "application/json")


def _fingerprint(versions: Sequence[VersionedEntry]) -> str:
    digest = hashlib.sha256()
    for version in sorted(versions, key=lambda version: version.entry.clip_key):
        digest.update(f"{version.entry.clip_key} {version.etag}\n".encode())
    return digest.hexdigest()


async def _read_jobs(
    entries: Sequence[Entry], client: KlingClient, at: datetime
) -> list[JobReading]:
    """Read every job that the ledger knows, each once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def read(job: JobReading) -> JobReading:
        async with places:
            return await _read_job(job, client, at)

    known: dict[str, JobReading] = {}
    for entry in entries:
        for job in _known_jobs(entry):
            known.setdefault(job.job_id, job)
    return list(await asyncio.gather(*(read(job) for job in known.values())))


async def _read_job(job: JobReading, client: KlingClient, at: datetime) -> JobReading:
    """Ask what a job cost and, as long as the API keeps it, how it stands."""
    charged = await read_charge(client, job.job_id, job.usd)
    if charged is not None and job.sent_at is not None and at - job.sent_at > API_KEEPS:
        return job.model_copy(update={"charged_usd": charged})
    try:
        now = await client.get(job.job_id)
    except JobNotFound:
        return job.model_copy(update={"charged_usd": charged})
    return job.model_copy(
        update={
            "charged_usd": charged,
            "is_running": charged is None and not now.state.is_terminal,
            "ended_at": now.completed_at,
        }
    )


def _known_jobs(entry: Entry) -> Iterator[JobReading]:
    usd = exact_price(entry)
    if entry.job_id is not None:
        yield JobReading(
            job_id=entry.job_id,
            clip_key=entry.clip_key,
            sent_at=entry.sent_at,
            usd=usd,
            booked_usd=_booked(entry),
        )
    for late in entry.late_jobs:
        yield JobReading(job_id=late.job_id, clip_key=entry.clip_key, usd=usd)
    for attempt in entry.attempts:
        if attempt.job_id is not None:
            yield JobReading(
                job_id=attempt.job_id,
                clip_key=entry.clip_key,
                sent_at=attempt.sent_at,
                usd=usd,
                booked_usd=attempt.charged_usd,
            )


def _booked(entry: Entry) -> Decimal | None:
    if entry.state is EntryState.FAILED:
        return NOTHING
    return entry.charged_usd
