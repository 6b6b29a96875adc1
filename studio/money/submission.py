"""The money path: from an order to the one paid job, whoever else wants the same clip at the same moment.

| what became of the POST            | the client raises                               | the record |
|------------------------------------|-------------------------------------------------|------------|
| success with a job id              | nothing                                         | submitted  |
| never sent, or busy                | `Unavailable`                                   | released   |
| refused                            | `RequestRefused`, `KeyRefused`, `BalanceTooLow` | released   |
| any other answer, lost, cancelled  | `OutcomeUnknown`, everything else               | held       |

*Busy* and *refused* are what HTTP status and code say together, by the lists in `kling/reply.py`. A busy API is queued
for.

The order of events is what makes it safe: intent (won by a conditional write) → money set aside →
POST, once → job id. A process may die between any two of them: what it leaves is an intent without
a job id, which others hold once it is older than its sender can live, or a job id, which others
adopt. So few clips at a time are between the two, however many a process makes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import tenacity

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import (
    BalanceTooLow,
    JobFailed,
    KeyRefused,
    KlingError,
    RequestRefused,
    Unavailable,
)
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import (
    ClipHeld,
    LedgerMoved,
    StorageRefused,
    StorageUnavailable,
    StudioError,
)
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.ledger import (
    NOTHING,
    ClaimRequest,
    Entry,
    EntryState,
    VersionedEntry,
)
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.send_limit import SendLimit
from prefect_kling.studio.storage.concurrency import in_thread, uninterrupted

PREPARE_SECONDS = 60.0
"""How long a sender may take between its claim and its request; after that it gives the clip back."""
INSIST_SECONDS = 300.0
"""How long to insist on writing a paid job's id down while the store refuses or does not answer."""
HOLD_SECONDS = 30.0
"""How long to insist on noting an unknown outcome without an id."""
LONGEST_WRITE_SECONDS = 400.0
"""How long one write may take that hangs: five tries of ten seconds to connect and a minute to read, and pauses."""
LONGEST_PAUSE = 60.0

LOG = logging.getLogger(__name__)
_sending = SendLimit()


def sender_window(client: ClientSettings, insist: float = INSIST_SECONDS) -> float:
    """Return after how many seconds without a word the sender of a claim counts as dead.

    It covers preparing, connecting, sending, the whole time a sender may insist on writing its
    job's id, and a last write that hangs. Whoever holds, releases or resubmits a clip in another sender's place
    must wait that long.
    """
    answer_seconds = client.connect_seconds + client.create_seconds
    return PREPARE_SECONDS + answer_seconds + insist + LONGEST_WRITE_SECONDS


@dataclass(frozen=True)
class SubmitOptions:
    """On what options to submit; times in seconds.

    `film` limits what one film may cost. `on_unknown="resubmit"` sends again when an answer was lost, **which can pay
    twice**. `window`: how old an intent without a job id must be before its sender counts as dead; unless given, what
    `sender_window` says.
    `insist`: how long to try to write a job's id down. `busy`: how long to queue for an API that is too busy.
    `look_again`: the pause between two looks. `rest`: how to wait that long for an API that is full, if there is a
    better way than sleeping. `callback`: where the API is to call when a job ends, unless the request says so itself;
    addresses are secrets, the ledger has none. `sends_at_once`: how many clips of this process may be between claim and
    job id, which is how many a kill leaves held at most.
    """

    film: FilmCap | None = None
    on_unknown: Literal["hold", "resubmit"] = "hold"
    max_attempts: int = 3
    window: float | None = None
    insist: float = INSIST_SECONDS
    busy: float = 3600.0
    look_again: float = 2.0
    rest: Callable[[float], Awaitable[None]] | None = None
    callback: Callable[[Entry], str] | None = None
    sends_at_once: int = 4


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

    **Costs at most `quote(order.request).at_most_usd`, once per clip key**, however many processes call it and
    however often. Raises `OverBudget` before anything is sent, `ClipHeld` when the outcome of a send is unknown,
    `JobFailed` when the job failed for good, and the errors in the table above. `say` is told why it takes time.
    """
    deadline = time.monotonic() + options.busy
    claim = ClaimRequest(
        at_most_usd=quote(order.request).at_most_usd,
        sent_to=client.settings.base_url,
        max_attempts=options.max_attempts,
        resubmit_unknown=options.on_unknown == "resubmit",
    )
    window = options.window
    if window is None:
        window = sender_window(client.settings, options.insist)
    pauses = _growing(options.look_again)
    while True:
        async with _sending.place(max(1, options.sends_at_once)):
            version = await _claim(order, claim, archive)
            turn = None
            if version.is_mine:
                turn = await _take_turn(version, client, archive, options, window)
        if turn is None:
            turn = await _look(version, archive, options, window)
        if isinstance(turn, Entry):
            if not version.is_mine:
                say(f"resumed job {turn.job_id}, nothing is paid again")
            return turn

        say(turn.reason)
        if turn.error is None:
            await asyncio.sleep(options.look_again)
            continue
        pause = max(turn.pause, next(pauses))
        if time.monotonic() + pause > deadline:
            raise turn.error
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
    """Why there is no job yet, when to look again, and what to raise when there is no time left."""

    reason: str
    pause: float = 0.0
    error: Unavailable | None = None


async def _take_turn(
    version: VersionedEntry,
    client: KlingClient,
    archive: Archive,
    options: SubmitOptions,
    window: float,
) -> Entry | _Later:
    """Send a claimed request; say when to come back if the API was busy, or if sending again was chosen."""
    try:
        return await _send(version, client, archive, options, window)
    except Unavailable as error:
        reason = f"the API cannot take the request yet: {error.detail or error.message}"
        return _Later(reason, error.retry_after or 0.0, error)
    except ClipHeld as error:
        is_last_attempt = version.entry.attempt >= options.max_attempts
        if options.on_unknown == "hold" or is_last_attempt or error.job_id is not None:
            raise
        return _Later(f"sending again, as chosen, although it may be paid twice: {error.message}")


async def _look(
    version: VersionedEntry, archive: Archive, options: SubmitOptions, window: float
) -> Entry | _Later:
    """Return the record another process finished; hold it if that process died. Raises when there will be no job."""
    elsewhere = _Later("another run is sending this request")
    entry = version.entry
    if entry.state is EntryState.INTENT and version.age_seconds > window:
        why = f"the process {entry.by} vanished between its intent and a job id"
        try:
            entry = (await in_thread(archive.ledger.hold, version, why)).entry
        except LedgerMoved:
            return elsewhere
    match entry.state:
        case EntryState.SUBMITTED | EntryState.ARCHIVED:
            return entry
        case EntryState.INTENT | EntryState.RELEASED:
            return elsewhere
        case EntryState.HELD:
            if options.on_unknown == "resubmit" and _may_be_resubmitted(entry, options):
                return elsewhere
            raise _held(entry)
        case EntryState.FAILED:
            why = entry.history[-1].note
            raise JobFailed(
                f"job {entry.job_id} failed: {why}", job_id=entry.job_id, clip_key=entry.clip_key
            )
        case _:
            assert_never(entry.state)


def _may_be_resubmitted(entry: Entry, options: SubmitOptions) -> bool:
    return entry.named_job_id is None and entry.attempt < options.max_attempts


async def _send(
    version: VersionedEntry,
    client: KlingClient,
    archive: Archive,
    options: SubmitOptions,
    window: float,
) -> Entry:
    """Send the claimed request, once, and sort what became of it."""
    try:
        # A cancellation waits for the thread: what it still does could not be undone.
        signed = await uninterrupted(in_thread(_prepare, version, archive, options, window))
    except BaseException as error:
        await _give_back(version, archive, _reason(error))
        raise
    try:
        job = await client.create(signed)
    except (Unavailable, RequestRefused, KeyRefused, BalanceTooLow) as error:
        await _give_back(version, archive, error.summary)
        if isinstance(error, BalanceTooLow):
            error.message += await _balance_in_words(client)
        raise
    except BaseException as error:
        # A cancelled run, too, writes down that its request may have been paid.
        entry = await _hold(version, error, archive, options)
        if not isinstance(error, Exception):
            raise
        if entry.state is EntryState.HELD:
            raise _held(entry) from error
        return entry
    return await _note_job(version, job.job_id, archive, options)


def _prepare(
    version: VersionedEntry, archive: Archive, options: SubmitOptions, window: float
) -> VideoRequest:
    """Sign the inputs and set the money aside: the last things that may fail without a cent at stake."""
    signed = archive.sign_inputs(version.entry.order.request)
    if options.callback is not None and signed.callback_url is None:
        signed = signed.model_copy(update={"callback_url": options.callback(version.entry)})
    archive.budget.reserve(version.entry, options.film)
    # By the wall clock, which goes on while a machine sleeps: others may be about to call this
    # sender dead.
    if time.time() - version.read_at > min(PREPARE_SECONDS, window / 2):
        raise Unavailable("this process was held up between its intent and its request")
    return signed


async def _claim(order: ClipOrder, claim: ClaimRequest, archive: Archive) -> VersionedEntry:
    """Claim a clip; if the run is cancelled meanwhile, wait for the answer and give the clip back."""
    claiming = asyncio.ensure_future(in_thread(archive.ledger.claim, order, claim))
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
        await _give_back(version, archive, "cancelled before anything was sent")


async def _give_back(version: VersionedEntry, archive: Archive, why: str) -> None:
    """Note that nothing was sent or taken, and free the money that was set aside."""

    def give_back() -> None:
        back = archive.ledger.give_back(version, why)
        if back.entry.state is EntryState.RELEASED:
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
    version: VersionedEntry, job_id: str, archive: Archive, options: SubmitOptions
) -> Entry:
    """Write the paid job's id down. Not even a cancelled run may go before this is written."""

    def write() -> Entry:
        try:
            entry = archive.ledger.submitted(version, job_id).entry
        except LedgerMoved:
            known = _named_meanwhile(version, archive)
            if known is None or known.job_id != job_id:
                _restore(archive.ledger.add_late_job(version.entry, job_id), archive, options)
                raise
            return known
        _restore(entry, archive, options)
        return entry

    try:
        return await uninterrupted(_insist(write, options.insist, job_id))
    except StudioError as error:
        message = f"job {job_id} is paid for, and its id could not be written to the ledger"
        raise ClipHeld(
            message, clip_key=version.entry.clip_key, job_id=job_id, detail=str(error)
        ) from error


async def _hold(
    version: VersionedEntry, error: BaseException, archive: Archive, options: SubmitOptions
) -> Entry:
    """Write down that the outcome is unknown, with the id that the answer names, if any."""
    job_id: str | None = getattr(error, "job_id", None)

    def write() -> Entry:
        try:
            entry = archive.ledger.hold(version, _reason(error), job_id).entry
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
    if any(event.state is EntryState.RELEASED for event in entry.history[-2:-1]):
        archive.budget.restore(entry, options.film)


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
    """Return the record if the API's own call named this attempt's job before its sender could, and maybe ended it."""
    now = archive.ledger.read(version.entry.clip_key)
    if now is None or now.entry.claim != version.entry.claim or now.entry.job_id is None:
        return None
    return now.entry


def _reason(error: BaseException) -> str:
    if isinstance(error, KlingError | StudioError):
        return error.summary
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _held(entry: Entry) -> ClipHeld:
    message = (
        f"it is not known whether the paid request was taken, it may have cost up to ${entry.at_most_usd}: "
        f"{entry.history[-1].note}"
    )
    return ClipHeld(message, clip_key=entry.clip_key, job_id=entry.named_job_id)
