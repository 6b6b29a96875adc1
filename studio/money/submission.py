"""The money path: from an order to the one paid job, whoever else wants the same clip at the same moment.

| what became of the POST        | the client raises                               | the record becomes   |
|--------------------------------|-------------------------------------------------|----------------------|
| answered with a job id         | nothing                                         | submitted            |
| never sent, or 429             | `Unavailable`                                   | released, and queued |
| refused                        | `RequestRefused`, `KeyRefused`, `BalanceTooLow` | released             |
| 5xx, lost answer, cancelled, … | `OutcomeUnknown`, everything else               | held                 |

The order of events is what makes it safe: intent (won by a conditional write) → money set aside → POST, once → job id.
A process may die between any two of them: what it leaves is an intent without a job id, which others hold once it is
older than a paid call can take, or a job id, which others adopt.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import tenacity

from prefect_kling.kling.client import KlingClient
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
from prefect_kling.studio.errors import ClipHeld, LedgerMoved, StorageUnavailable, StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.ledger import NOTHING, Claim, Entry, EntryState, Page
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.bucket import in_thread, uninterrupted

# How long to insist on writing a paid job's id down while the store does not answer.
NOTE_SECONDS = 300.0
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Terms:
    """On what terms to submit; times in seconds.

    `film` limits what one film may cost. `on_unknown="resubmit"` sends again when an answer was lost, **which can pay
    twice**. `window`: how old an intent without a job id must be before its sender counts as dead; longer than a paid
    call may take. `busy`: how long to queue for an API that is too busy. `look_again`: the pause between two looks.
    `rest`: how to wait that long for an API that is full, if there is a better way than sleeping. `callback`: where
    the API is to call when a job ends, unless the request says so itself; addresses are secrets, the ledger has none.
    """

    film: FilmCap | None = None
    on_unknown: Literal["hold", "resubmit"] = "hold"
    max_attempts: int = 3
    window: float = 240.0
    busy: float = 3600.0
    look_again: float = 2.0
    rest: Callable[[float], Awaitable[None]] | None = None
    callback: Callable[[Entry], str] | None = None


async def submit_once(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    terms: Terms = Terms(),
    say: Callable[[str], None] = lambda text: None,
) -> Entry:
    """Return the record of the order's one paid job, sending the request only if nobody has.

    **Costs at most `quote(order.request).at_most_usd`, once per clip key**, however many processes call it and
    however often. Raises `OverBudget` before anything is sent, `ClipHeld` when the outcome of a send is unknown,
    `JobFailed` when the job failed for good, and the errors in the table above. `say` is told why it takes time.
    """
    end, price = time.monotonic() + terms.busy, quote(order.request).at_most_usd
    resubmit = terms.on_unknown == "resubmit"
    claim = Claim(price, client.settings.base_url, terms.max_attempts, resubmit_unknown=resubmit)
    pauses = _growing(terms.look_again)
    while True:
        page = await in_thread(archive.ledger.claim, order, claim)
        turn = await (_take_turn if page.is_mine else _look)(page, client, archive, terms)
        if isinstance(turn, Entry):
            if not page.is_mine:
                say(f"resumed job {turn.job_id}, nothing is paid again")
            return turn
        pause = terms.look_again if turn.error is None else max(turn.pause, next(pauses))
        if turn.error is not None and time.monotonic() + pause > end:
            raise turn.error
        say(turn.words)
        await (terms.rest if terms.rest and turn.error else asyncio.sleep)(pause)


def _growing(first: float) -> Iterator[float]:
    """Pauses that double up to a minute, with jitter, so that a busy API is not besieged."""
    pause = first
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311  not for secrets
        pause = min(2 * pause, LONGEST_PAUSE)


@dataclass(frozen=True)
class _Later:
    """Why there is no job yet, when to look again, and what to raise when there is no time left."""

    words: str
    pause: float = 0.0
    error: Unavailable | None = None


async def _take_turn(
    page: Page, client: KlingClient, archive: Archive, terms: Terms
) -> Entry | _Later:
    """Send a claimed request; say when to come back if the API was busy, or if sending again was chosen."""
    try:
        return await _send(page, client, archive, terms)
    except Unavailable as error:
        return _Later(
            f"the API cannot take the request yet: {error.detail or error.message}",
            error.retry_after or 0.0,
            error,
        )
    except ClipHeld as error:
        if terms.on_unknown == "hold" or page.entry.attempt >= terms.max_attempts or error.job_id:
            raise
        return _Later(f"sending again, as chosen, although it may be paid twice: {error.message}")


async def _look(page: Page, client: KlingClient, archive: Archive, terms: Terms) -> Entry | _Later:
    """Return the record another process finished; hold it if that process died."""
    return (
        page.entry
        if await _is_settled(page, archive, terms)
        else _Later("another run is sending this request")
    )


async def _is_settled(page: Page, archive: Archive, terms: Terms) -> bool:
    """Whether somebody else's record already names the job; raises when it never will by itself."""
    entry = page.entry
    if entry.state is EntryState.INTENT and page.age_seconds > terms.window:
        why = f"the process {entry.by} vanished between its intent and a job id"
        try:
            entry = (await in_thread(archive.ledger.hold, page, why)).entry
        except LedgerMoved:
            return False
    if (
        entry.state is EntryState.HELD
        and terms.on_unknown == "resubmit"
        and entry.attempt < terms.max_attempts
    ):
        return False
    return _names_a_job(entry)


def _names_a_job(entry: Entry) -> bool:
    match entry.state:
        case EntryState.SUBMITTED | EntryState.ARCHIVED:
            return True
        case EntryState.INTENT | EntryState.RELEASED:
            return False
        case EntryState.HELD:
            raise _held(entry)
        case EntryState.FAILED:
            why = entry.history[-1].note
            raise JobFailed(
                f"job {entry.job_id} failed: {why}", job_id=entry.job_id, clip_key=entry.clip_key
            )
        case _:
            assert_never(entry.state)


async def _send(page: Page, client: KlingClient, archive: Archive, terms: Terms) -> Entry:
    """Send the claimed request, once, and sort what became of it."""
    try:
        signed = await in_thread(_prepare, page, archive, terms)
    except BaseException as error:
        await _give_back(page, archive, _why(error))
        raise
    try:
        job = await client.create(signed)
    except (Unavailable, RequestRefused, KeyRefused, BalanceTooLow) as error:
        await _give_back(page, archive, error.summary)
        if isinstance(error, BalanceTooLow):
            error.message += await _balance_in_words(client)
        raise
    except BaseException as error:
        # A cancelled run, too, writes down that its request may have been paid.
        entry = await uninterrupted(in_thread(_hold, page, error, archive))
        if not isinstance(error, Exception):
            raise
        if entry.state is EntryState.HELD:
            raise _held(entry) from error
        return entry
    return await _note_job(page, job.job_id, archive)


def _prepare(page: Page, archive: Archive, terms: Terms) -> VideoRequest:
    """Sign the inputs and set the money aside: the last things that may fail without a cent at stake."""
    signed = archive.sign_inputs(page.entry.order.request)
    if terms.callback is not None and signed.callback_url is None:
        signed = signed.model_copy(update={"callback_url": terms.callback(page.entry)})
    archive.budget.reserve(page.entry, terms.film)
    # By the wall clock, which goes on while a machine sleeps: others may be about to call this sender dead.
    if time.time() - page.read_at > terms.window / 2:
        raise Unavailable("this process was held up between its intent and its request")
    return signed


async def _give_back(page: Page, archive: Archive, why: str) -> None:
    """Note that nothing was sent or taken, and free the money that was set aside."""
    await uninterrupted(in_thread(archive.ledger.release, page, why))
    await uninterrupted(in_thread(archive.budget.settle, page.entry, NOTHING))


async def _balance_in_words(client: KlingClient) -> str:
    try:
        money = await client.balance()
    except KlingError:
        return "; the balance cannot be read"
    held = f", {money.frozen} of it held for running jobs" if money.frozen else ""
    return f"; the account has {money.balance} {money.currency}{held}"


async def _note_job(page: Page, job_id: str, archive: Archive) -> Entry:
    """Write the paid job's id down; while the store is away, keep trying for minutes rather than lose it."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(StorageUnavailable),
        stop=tenacity.stop_after_delay(NOTE_SECONDS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        reraise=True,
    )
    try:
        # Not even a cancelled run may go before this is written.
        noted: Entry = await uninterrupted(retrying(in_thread, _noted, page, job_id, archive))
    except StudioError as error:
        what = f"job {job_id} is paid for, and its id could not be written to the ledger"
        raise ClipHeld(
            what, clip_key=page.entry.clip_key, job_id=job_id, detail=str(error)
        ) from error
    return noted


def _noted(page: Page, job_id: str, archive: Archive) -> Entry:
    try:
        return archive.ledger.submitted(page, job_id).entry
    except LedgerMoved:
        known = _told_meanwhile(page, archive)
        if known is None or known.job_id != job_id:
            raise
        return known


def _hold(page: Page, error: BaseException, archive: Archive) -> Entry:
    try:
        return archive.ledger.hold(page, _why(error), getattr(error, "job_id", None)).entry
    except LedgerMoved:
        known = _told_meanwhile(page, archive)
        if known is None:
            raise
        return known


def _told_meanwhile(page: Page, archive: Archive) -> Entry | None:
    """Return the record if the API's own call named this attempt's job before its sender could, and maybe ended it."""
    now = archive.ledger.read(page.entry.clip_key)
    return now.entry if now and now.entry.claim == page.entry.claim and now.entry.job_id else None


def _why(error: BaseException) -> str:
    return (
        error.summary
        if isinstance(error, KlingError | StudioError)
        else f"{type(error).__name__}: {error}".rstrip(": ")
    )


def _held(entry: Entry) -> ClipHeld:
    why, cost = entry.history[-1].note, entry.at_most_usd
    what = f"the outcome of a paid request is unknown, it may have cost up to ${cost}: {why}"
    return ClipHeld(what, clip_key=entry.clip_key, job_id=entry.job_id)
