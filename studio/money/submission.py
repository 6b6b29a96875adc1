"""The money path: from an order to its one paid job, whoever else wants the same clip.

| what became of the POST           | the client raises                               | the record |
|-----------------------------------|-------------------------------------------------|------------|
| success with a job id             | nothing                                         | submitted  |
| not one byte left, come what may  | anything                                        | released   |
| busy                              | `Unavailable`                                   | released   |
| refused                           | `RequestRefused`, `KeyRefused`, `BalanceTooLow` | released   |
| any other answer, lost, cancelled | `OutcomeUnknown`, everything else               | held       |

*Busy* and *refused* are what HTTP status and code say together, by the lists in `kling/reply.py`. A
busy API is queued for.

The order of events is what makes it safe: claim (won by a conditional write) → money set aside →
connection → sending (the claim, changed by a conditional write and read back) → POST, once → job
id → job index. A process may die between any two of them. What it leaves is a claim, which others
release because nothing has left; a sending record, which others hold once it is older than its
sender can live; or a job id, which others adopt. So few clips at a time are between claim and job
id, however many a process makes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, assert_never

import tenacity

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.error_details import in_words
from prefect_kling.kling.errors import (
    BalanceTooLow,
    JobFailed,
    KeyRefused,
    KlingError,
    OutcomeUnknown,
    RequestRefused,
    Unavailable,
)
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import (
    ClipHeld,
    LedgerMoved,
    OverBudget,
    StorageRefused,
    StorageUnavailable,
    StudioError,
)
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.earlier_jobs import read_earlier_jobs
from prefect_kling.studio.money.job_conflict import hold_if_owned_elsewhere
from prefect_kling.studio.money.ledger import (
    MAX_ATTEMPTS_FOR_LIFE,
    NOTHING,
    OUTAGE_SECONDS,
    ClaimRequest,
    Entry,
    EntryState,
    VersionedEntry,
)
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import BEFORE_A_JOB, Own
from prefect_kling.studio.money.reservations import settle_ended_claims
from prefect_kling.studio.money.send_limit import SendLimit
from prefect_kling.studio.storage.concurrency import in_thread, sheltered, uninterrupted

PREPARE_SECONDS = 60.0
"""How long a sender may take between its claim and its request; after that it gives the clip
back."""
CLAIM_SECONDS = 2 * PREPARE_SECONDS
"""After how many seconds others release what is only claimed. Its sender can then send nothing any
more."""
CONNECTED_SECONDS = 15.0
"""How long a connection may stand before the request is sent over it; a server may close it later
on."""
GRACE_SECONDS = 20.0
"""How long a cancelled run waits for the answer to a paid request that is under way."""
INSIST_SECONDS = 300.0
"""How long to insist on writing a paid job's id down while the store refuses or does not answer."""
HOLD_SECONDS = 30.0
"""How long to insist on noting an unknown outcome without an id."""
LONGEST_WRITE_SECONDS = 400.0
"""How long one write may take that hangs: five tries of ten seconds to connect and a minute to
read, and pauses."""
LONGEST_PAUSE = 60.0
LONGEST_RETRY_PAUSE = 600.0
NOTHING_PAID = (Unavailable, RequestRefused, KeyRefused, BalanceTooLow)
"""What the client raises when certainly nothing was made."""

LOG = logging.getLogger(__name__)
_sending = SendLimit()
# One request at a time is marked and leaves, so that a kill finds at most one that is marked and
# has not left.
_leaving = SendLimit()


def sender_window(client: ClientSettings, insist: float = INSIST_SECONDS) -> float:
    """Return after how many seconds without a word the sender of a claim counts as dead.

    It covers preparing, connecting, sending, the whole time a sender may insist on writing its
    job's id, and a last write that hangs. Whoever holds, releases or resubmits a clip in another
    sender's place must wait that long.
    """
    answer_seconds = client.connect_seconds + client.create_seconds
    return PREPARE_SECONDS + answer_seconds + insist + LONGEST_WRITE_SECONDS


def is_silent(version: VersionedEntry, window: float | None, otherwise: float) -> bool:
    """Whether the sender of a record counts as dead.

    `window` overrides what the sender itself wrote down; `otherwise` is for records of versions
    that wrote nothing.
    """
    seconds = window
    if seconds is None:
        seconds = version.entry.silent_seconds or otherwise
    if version.entry.state is EntryState.CLAIMED:
        seconds = min(seconds, CLAIM_SECONDS)
    return version.age_seconds > seconds


@dataclass(frozen=True)
class SubmitOptions:
    """On what options to submit; times in seconds."""

    film: FilmCap | None = None
    """What one film may cost."""
    on_unknown: Literal["hold", "resubmit"] = "hold"
    """`resubmit` sends again when an answer was lost, **which can pay twice**."""
    max_attempts: int = 3
    """How many jobs may fail in one outage."""
    max_attempts_for_life: int = MAX_ATTEMPTS_FOR_LIFE
    """How many requests a clip may have in all; only `prefect-kling ledger retry` passes it."""
    outage_seconds: float = OUTAGE_SECONDS
    """Failures with less than this from one to the next belong to one outage."""
    retry_pause: float = 20.0
    """The pause before the next attempt; it doubles with each failure of an outage."""
    window: float | None = None
    """How old a request without a job id must be before its sender counts as dead.

    Unless given, what the sender wrote down (see `sender_window`).
    """
    grace: float = GRACE_SECONDS
    """How long a cancelled run waits for the answer to a request that is under way."""
    insist: float = INSIST_SECONDS
    """How long to try to write a job's id down."""
    busy: float = 3600.0
    """How long to queue for an API that is too busy."""
    look_again: float = 2.0
    """The pause between two looks at what another run is sending."""
    rest: Callable[[float], Awaitable[None]] | None = None
    """How to wait for an API that is full, if there is a better way than sleeping."""
    callback: Callable[[Entry], str] | None = None
    """Where the API is to call when a job ends, unless the request says so itself.

    Addresses are secrets; the ledger has none.
    """
    sends_at_once: int = 4
    """How many clips of this process may be between claim and job id: how many a kill can hold."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Who pays, such as project and client; kept in the record of what this run pays for."""

    def with_tags(self, tags: Mapping[str, str]) -> "SubmitOptions":
        """Return the same options with further tags, which win."""
        return replace(self, tags={**self.tags, **tags})


Terms = SubmitOptions
"""The name of `SubmitOptions` in version 0.1."""


async def submit_once(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    options: SubmitOptions = SubmitOptions(),
    say: Callable[[str], None] = lambda text: None,
) -> Entry:
    """Return the record of the order's one paid job, sending the request only if nobody has.

    **Costs at most `quote(order.request).at_most_usd`, once per clip key**, however many processes
    call it and however often. Raises `OverBudget` before anything is sent, `ClipHeld` when the
    outcome of a send is unknown, `JobFailed` when the job failed for good, and the errors in the
    table above. `say` is told why it takes time.
    """
    deadline = time.monotonic() + options.busy
    claim = ClaimRequest(
        at_most_usd=quote(order.request).at_most_usd,
        sent_to=client.settings.base_url,
        account=client.account(order.clip_key),
        film=options.film.film if options.film is not None else "",
        tags=options.tags,
        silent_seconds=options.window or sender_window(client.settings, options.insist),
        max_attempts=options.max_attempts,
        max_attempts_for_life=options.max_attempts_for_life,
        outage_seconds=options.outage_seconds,
        resubmit_unknown=options.on_unknown == "resubmit",
        expects_none=True,
    )
    pauses = _growing(options.look_again)
    while True:
        async with _sending.place(max(1, options.sends_at_once)):
            version = await _claim(order, claim, archive)
            claim = replace(claim, expects_none=False)
            outcome = None
            if version.is_mine:
                outcome = await _send_or_wait(version, client, archive, options)
        if outcome is None:
            outcome = await _look(version, claim, client, archive, options)
        if isinstance(outcome, Entry):
            if not version.is_mine:
                say(f"resumed job {outcome.job_id}, nothing is paid again")
            return outcome

        if outcome.read_version:
            claim = replace(claim, read_version=outcome.read_version)
            continue
        say(outcome.reason)
        if outcome.error is None:
            await asyncio.sleep(outcome.pause or options.look_again)
            continue
        pause = max(outcome.pause, next(pauses))
        if time.monotonic() + pause > deadline:
            raise outcome.error
        if options.rest is not None:
            await options.rest(pause)
        else:
            await asyncio.sleep(pause)


def _growing(first: float) -> Iterator[float]:
    """Pauses that double up to a minute, with jitter, so that a busy API is not besieged."""
    pause = first
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311  not for secrets
        pause = min(2 * pause, LONGEST_PAUSE)


@dataclass(frozen=True)
class _Later:
    """Why there is no job yet, when to look again, and what to raise when there is no time left.

    `read_version`: the version of the record whose earlier jobs were read, so that it may be
    claimed at once.
    """

    reason: str
    pause: float = 0.0
    error: KlingError | None = None
    read_version: str = ""


async def _send_or_wait(
    version: VersionedEntry, client: KlingClient, archive: Archive, options: SubmitOptions
) -> Entry | _Later:
    """Send a claimed request.

    Say when to come back if the API was busy, or if sending again was chosen.
    """
    try:
        return await _send(version, client, archive, options)
    except Unavailable as error:
        reason = f"the API cannot take the request yet: {error.detail or error.message}"
        return _Later(reason, error.retry_after or 0.0, error)
    except _ClaimLostError as error:
        return _Later(error.message)
    except ClipHeld as error:
        is_last_attempt = version.entry.attempt >= options.max_attempts
        if options.on_unknown == "hold" or is_last_attempt or error.job_id is not None:
            raise
        return _Later(f"sending again, as chosen, although it may be paid twice: {error.message}")


class _ClaimLostError(StudioError):
    """The claim was taken back before its request could be sent; the next look decides."""


async def _look(
    version: VersionedEntry,
    claim: ClaimRequest,
    client: KlingClient,
    archive: Archive,
    options: SubmitOptions,
) -> Entry | _Later:
    """Return the record another process finished, or what to do about it.

    Raises when there will be no job.
    """
    elsewhere = _Later("another run is sending this request")
    entry = version.entry
    if entry.state in BEFORE_A_JOB and is_silent(
        version, options.window, sender_window(client.settings, options.insist)
    ):
        try:
            entry = (await in_thread(take_over_silent, version, archive)).entry
        except LedgerMoved:
            return elsewhere
        version = replace(version, entry=entry)
    match entry.state:
        case EntryState.SUBMITTED | EntryState.ARCHIVED:
            return entry
        case EntryState.CLAIMED | EntryState.SENDING | EntryState.INTENT:
            return elsewhere
        case EntryState.RELEASED:
            return await _read_earlier_jobs(version, client, archive) or elsewhere
        case EntryState.HELD:
            if claim.allows_resubmission(entry):
                return await _read_earlier_jobs(version, client, archive) or elsewhere
            raise _held(entry)
        case EntryState.GIVEN_UP:
            message = f"the clip was given up: {entry.last_note}"
            raise JobFailed(message, job_id=entry.job_id, clip_key=entry.clip_key)
        case EntryState.FAILED:
            return await _after_a_failure(version, claim, client, archive, options)
        case _:
            assert_never(entry.state)


def take_over_silent(version: VersionedEntry, archive: Archive) -> VersionedEntry:
    """Release what a dead process only claimed, and hold what it may have sent.

    Raises `LedgerMoved` if the record has changed since it was read.
    """
    entry = version.entry
    if entry.state is EntryState.CLAIMED:
        why = f"the process {entry.by} vanished before it could send"
        released = archive.ledger.release_dead_claim(version, why)
        archive.budget.settle(entry, NOTHING)
        return released
    why = f"the process {entry.by} vanished between its request and a job id"
    return archive.ledger.hold(version, why)


async def _after_a_failure(
    version: VersionedEntry,
    claim: ClaimRequest,
    client: KlingClient,
    archive: Archive,
    options: SubmitOptions,
) -> Entry | _Later:
    """Wait for the next attempt, after a last look at the failed job.

    Raise `JobFailed` if there will be none.
    """
    entry = version.entry
    if not entry.late_jobs and claim.allows_another_attempt(entry):
        now = datetime.now(UTC)
        failures = entry.failures_in_a_row(claim.outage_seconds, now)
        pause = min(options.retry_pause * 2 ** max(0, failures - 1), LONGEST_RETRY_PAUSE)
        failed_at = entry.failed_at or now
        left = pause - (now - failed_at).total_seconds()
        if failures and left > 0:
            return _Later(f"job {entry.job_id} failed: waiting before the next attempt", left)
        later = await _read_earlier_jobs(version, client, archive)
        if later is not None:
            return later
    why = entry.last_note
    raise JobFailed(
        f"job {entry.job_id} failed: {why}",
        job_id=entry.job_id,
        clip_key=entry.clip_key,
        detail=_next_step(entry, claim),
    )


def _next_step(entry: Entry, claim: ClaimRequest) -> str:
    retry = f"prefect-kling ledger retry {entry.clip_key}"
    if not entry.retryable:
        return f"change the request, or try it once more as it is: {retry}"
    if entry.attempt >= claim.max_attempts_for_life:
        return f"it was tried {entry.attempt} times; try it once more: {retry}"
    minutes = claim.outage_seconds / 60
    return f"run it again in {minutes:.0f} minutes, or try it once more now: {retry}"


async def _read_earlier_jobs(
    version: VersionedEntry, client: KlingClient, archive: Archive
) -> Entry | _Later | None:
    """Read the jobs of earlier attempts; None if the record has none."""
    if not archive.ledger.has_jobs_to_read(version.entry):
        return None
    try:
        going_on = await read_earlier_jobs(version, client, archive)
    except LedgerMoved:
        return _Later("another run has changed the record")
    except KlingError as error:
        return _Later(f"an earlier job cannot be read: {error.message}", 0.0, error)
    if going_on is not None:
        return going_on
    return _Later("the earlier jobs have ended without a video", read_version=version.etag)


class _Departure:
    """The last moment before a request leaves: the connection stands, and nothing is sent yet."""

    def __init__(self, version: VersionedEntry, archive: Archive, window: float | None) -> None:
        self.version = version
        self.may_have_left = False
        self._archive = archive
        self._seconds = PREPARE_SECONDS
        if window is not None:
            self._seconds = min(PREPARE_SECONDS, window / 2)

    async def check_in(self) -> None:
        """Move the record to `sending`. Raises if the claim is lost or too old.

        Then nothing leaves.
        """
        connected_at = time.monotonic()
        async with _leaving.place(1):
            # A cancellation waits for the thread: what it still does could not be undone.
            await uninterrupted(in_thread(self._mark))
        # By the wall clock, which goes on while a machine sleeps.
        if time.time() - self.version.read_at > self._seconds:
            raise Unavailable("this process was held up between its claim and its request")
        if time.monotonic() - connected_at > CONNECTED_SECONDS:
            raise Unavailable("the store was too slow while a connection to the API stood open")
        self.may_have_left = True

    def _mark(self) -> None:
        self.version = self._archive.ledger.mark_sending(self.version)


async def _send(
    version: VersionedEntry, client: KlingClient, archive: Archive, options: SubmitOptions
) -> Entry:
    """Send the claimed request, once, and sort what became of it."""
    departure = _Departure(version, archive, options.window)
    try:
        # A cancellation waits for the thread: what it still does could not be undone.
        prepared = await uninterrupted(in_thread(_prepare, version, archive, options))
    except BaseException as error:
        await _give_back(version, archive, _reason(error))
        raise
    post = sheltered(client.create(prepared.signed, departure.check_in))
    cancelled = await _wait_with_grace(post, departure, options.grace)
    try:
        job = post.result()
    except BaseException as error:
        is_certain = not departure.may_have_left and not isinstance(error, OutcomeUnknown)
        if is_certain or isinstance(error, NOTHING_PAID):
            await _give_back(departure.version, archive, _reason(cancelled or error))
            if cancelled is not None:
                raise cancelled from None
            if isinstance(error, LedgerMoved):
                raise _ClaimLostError(error.message) from error
            if isinstance(error, BalanceTooLow):
                error.message += await _balance_in_words(client)
            raise
        # A cancelled run, too, writes down that its request may have been paid.
        why = _reason(error)
        if cancelled is not None and isinstance(error, asyncio.CancelledError):
            why = (
                "the run was cancelled while its request was under way, and no answer came "
                f"within {options.grace:g} s"
            )
        entry = await _hold(departure.version, error, why, archive, options)
        if cancelled is not None:
            raise cancelled from None
        if not isinstance(error, Exception):
            raise
        if entry.state is EntryState.HELD:
            raise _held(entry) from error
        return entry
    entry = await _note_job(departure.version, job.job_id, prepared, archive, options)
    if cancelled is not None:
        raise cancelled
    return entry


async def _wait_with_grace(
    post: "asyncio.Future[VideoJob]", departure: _Departure, grace: float
) -> asyncio.CancelledError | None:
    """Wait for the answer to a paid request; return the cancellation that came meanwhile.

    A request of which nothing has left is cancelled at once; one that is under way gets `grace`
    seconds for its answer.
    """
    try:
        await asyncio.wait([post])
    except asyncio.CancelledError as error:
        with suppress(asyncio.CancelledError):
            if departure.may_have_left:
                await uninterrupted(_settled(post, grace))
        post.cancel()
        with suppress(asyncio.CancelledError):
            await uninterrupted(_settled(post, None))
        return error
    return None


async def _settled(post: "asyncio.Future[VideoJob]", seconds: float | None) -> None:
    await asyncio.wait([post], timeout=seconds)


@dataclass(frozen=True)
class _Prepared:
    """A request as it is sent, and whether its money is set aside: there may be no accounts."""

    signed: VideoRequest
    is_set_aside: bool


def _prepare(version: VersionedEntry, archive: Archive, options: SubmitOptions) -> _Prepared:
    """Sign the inputs and set the money aside: the last steps that may fail for free."""
    signed = archive.sign_inputs(version.entry.order.request)
    if options.callback is not None and signed.callback_url is None:
        signed = signed.model_copy(update={"callback_url": options.callback(version.entry)})
    return _Prepared(signed, _reserve(version.entry, archive, options.film))


def _reserve(entry: Entry, archive: Archive, film: FilmCap | None) -> bool:
    """Set the money aside. Where it does not fit, settle what the clip's earlier claims left."""
    try:
        return archive.budget.reserve(entry, film)
    except OverBudget:
        if not settle_ended_claims(archive, entry.clip_key):
            raise
    return archive.budget.reserve(entry, film)


async def _claim(order: ClipOrder, claim: ClaimRequest, archive: Archive) -> VersionedEntry:
    """Claim a clip.

    If the run is cancelled meanwhile, wait for the answer and give the clip back.
    """
    claiming = sheltered(in_thread(archive.ledger.claim, order, claim))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        await uninterrupted(_undo(claiming, archive))
        raise


async def _undo(claiming: "asyncio.Future[VersionedEntry]", archive: Archive) -> None:
    try:
        version = await claiming
    except StudioError:
        return
    if version.is_mine:
        await _give_back(version, archive, "the run was cancelled before anything was sent")


async def _give_back(version: VersionedEntry, archive: Archive, why: str) -> None:
    """Note that nothing was sent or taken, and free the money that was set aside."""

    def give_back() -> None:
        # Somebody may have released a claim that looked dead, and claimed it anew.
        with suppress(LedgerMoved):
            archive.ledger.give_back(version, why)
        archive.budget.settle(version.entry, NOTHING)

    await uninterrupted(in_thread(give_back))


async def _balance_in_words(client: KlingClient) -> str:
    try:
        money = await client.balance()
    except KlingError:
        return "; the balance cannot be read"
    frozen = f", {money.frozen} of it frozen for running jobs" if money.frozen else ""
    return f"; the account has {money.balance} {money.currency}{frozen}"


async def _note_job(
    version: VersionedEntry,
    job_id: str,
    prepared: _Prepared,
    archive: Archive,
    options: SubmitOptions,
) -> Entry:
    """Write the paid job's id down. Not even a cancelled run may go before this is written."""

    def write() -> Entry:
        try:
            noted = archive.ledger.submitted(version, job_id)
        except LedgerMoved:
            known = _named_meanwhile(version, archive)
            if known is None or known.job_id != job_id:
                _restore(archive.ledger.add_late_job(version.entry, job_id), archive, options)
                raise
            return known
        entry = noted.entry
        _restore(entry, archive, options)
        owned = hold_if_owned_elsewhere(entry, archive, is_new=True)
        if owned is not entry or _was_released(entry) or options.callback is not None:
            # Others may have decided about it, or a receiver may finish it: read what it is then.
            return owned
        own = Own(noted.etag, has_nothing_set_aside=not prepared.is_set_aside)
        return entry.model_copy(update={"own": own})

    try:
        entry = await uninterrupted(_insist(write, options.insist, job_id))
    except StudioError as error:
        message = f"job {job_id} is paid for, and its id could not be written to the ledger"
        raise ClipHeld(
            message, clip_key=version.entry.clip_key, job_id=job_id, detail=str(error)
        ) from error
    if entry.state is EntryState.HELD:
        raise _held(entry)
    return entry


async def _hold(
    version: VersionedEntry,
    error: BaseException,
    why: str,
    archive: Archive,
    options: SubmitOptions,
) -> Entry:
    """Write down that the outcome is unknown, with the id that the answer names, if any."""
    job_id: str | None = getattr(error, "job_id", None)

    def write() -> Entry:
        try:
            entry = archive.ledger.hold(version, why, job_id, is_answered=True).entry
        except LedgerMoved:
            known = _named_meanwhile(version, archive)
            if job_id is not None and (known is None or known.job_id != job_id):
                _restore(archive.ledger.add_late_job(version.entry, job_id), archive, options)
            if known is None:
                raise
            return known
        _restore(entry, archive, options)
        return entry

    # Without an id there is nothing that only this process knows: others hold the clip later.
    seconds = options.insist
    if job_id is None:
        seconds = min(options.insist, HOLD_SECONDS)
    try:
        return await uninterrupted(_insist(write, seconds, job_id))
    except StudioError as trouble:
        if not isinstance(error, Exception):
            raise error from trouble
        message = "it is not known whether the paid request was taken, and that could not be noted"
        if job_id is not None:
            message = f"job {job_id} may be paid, and its id could not be written to the ledger"
        raise ClipHeld(
            message, clip_key=version.entry.clip_key, job_id=job_id, detail=str(trouble)
        ) from error


def _restore(entry: Entry, archive: Archive, options: SubmitOptions) -> None:
    """Set the money aside again where a release had freed it."""
    if _was_released(entry):
        archive.budget.restore(entry, options.film)


def _was_released(entry: Entry) -> bool:
    return any(event.state is EntryState.RELEASED for event in entry.history[-2:-1])


async def _insist(write: Callable[[], Entry], seconds: float, job_id: str | None) -> Entry:
    """Repeat a write, whatever the store says, rather than lose the id of a paid job."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type((StorageUnavailable, StorageRefused)),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        reraise=True,
    )
    try:
        return await retrying(in_thread, write)
    except StudioError as error:
        if job_id is not None:
            # A cancelled run raises its cancellation: then this line is all that knows the id.
            LOG.critical("job %s may be paid and could not be written down: %s", job_id, error)
        raise


def _named_meanwhile(version: VersionedEntry, archive: Archive) -> Entry | None:
    """Return the record if the API's own call named this attempt's job before its sender could."""
    now = archive.ledger.read(version.entry.clip_key)
    if now is None or now.entry.claim != version.entry.claim or now.entry.job_id is None:
        return None
    return now.entry


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "the run was cancelled before anything was sent"
    if isinstance(error, KlingError | StudioError):
        return error.summary
    return in_words(error)


def _held(entry: Entry) -> ClipHeld:
    message = (
        "it is not known whether the paid request was taken, it may have cost up to "
        f"${entry.at_most_usd}: {entry.last_note}"
    )
    return ClipHeld(message, clip_key=entry.clip_key, job_id=entry.named_job_id)
