"""One pass over everything that is paid and not finished, whoever started it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.error_details import in_words
from prefect_kling.kling.job import RETENTION
from prefect_kling.studio.errors import LedgerMoved, StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.candidates import adopt_candidate
from prefect_kling.studio.money.earlier_jobs import (
    close_failed_attempts,
    finish_attempts,
    read_earlier_jobs,
)
from prefect_kling.studio.money.ledger import Entry, EntryState, Marker, VersionedEntry
from prefect_kling.studio.money.overdue import Alarm, AlarmAges, find_overdue
from prefect_kling.studio.money.record import BEFORE_A_JOB
from prefect_kling.studio.money.reservations import settle_ended_claims
from prefect_kling.studio.money.settlement import CONFIRM_SECONDS, Collected, collect
from prefect_kling.studio.money.submission import is_silent, sender_window, take_over_silent
from prefect_kling.studio.storage.concurrency import in_thread

NAMED = 100
T = TypeVar("T")
Tell = Callable[[Entry, Collected], None]


@dataclass
class Findings:
    """How many clips ended how, and the first hundred of each kind with a word on each."""

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, kind: str, clip_key: str, words: str = "") -> None:
        """Count one clip, and remember it while there is room."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        some = self.named.setdefault(kind, {})
        if len(some) < NAMED:
            some[clip_key] = words


@dataclass(frozen=True)
class ReconcileSettings:
    """How to sweep: how many clips at a time, when a sender counts as dead, and how early to warn.

    `window_seconds`: unless given, what each sender wrote down; `silence_otherwise` is for records
    of versions that wrote nothing. `confirm_seconds`: the pause before a failure is read once more.
    """

    at_once: int = 32
    window_seconds: float | None = None
    silence_otherwise: float = sender_window(ClientSettings())
    warn_before: timedelta = timedelta(days=1)
    confirm_seconds: float = CONFIRM_SECONDS
    ages: AlarmAges = field(default_factory=AlarmAges)

    @property
    def longest_silence(self) -> float:
        """After how many seconds a sender counts as dead that wrote down nothing."""
        if self.window_seconds is not None:
            return self.window_seconds
        return self.silence_otherwise


async def reconcile(
    archive: Archive,
    client: KlingClient,
    settings: ReconcileSettings | None = None,
    tell: Tell = lambda entry, collected: None,
) -> Findings:
    """Look at every open record once: archive, close or hold what is due.

    Costs nothing and may run beside anything else, as often as you like. Memory does not grow with
    the number of records. One clip's trouble does not stop the others: it is noted, and the next
    sweep meets it again. `tell` hears how each paid job stands.

    Whatever its state, a record that is still open a day after it was sent is found as "overdue" as
    well, and after six days as "expiring". Raises the store's error where the open records cannot
    be listed.
    """
    settings = settings or ReconcileSettings()
    findings = Findings()
    markers = archive.ledger.open_markers()
    listing = asyncio.Lock()

    listing_errors: list[StudioError] = []

    async def work() -> None:
        try:
            await visit_all()
        except StudioError as error:
            listing_errors.append(error)

    async def visit_all() -> None:
        async for marker in _shared(markers, listing):
            try:
                kind, words = await _visit(marker, archive, client, settings, tell)
            except Exception as error:
                # Whatever it is, it must not keep the other clips from being saved.
                kind = "trouble"
                words = in_words(error)
            findings.note(kind, marker.clip_key, words)
            try:
                alarm = await in_thread(find_overdue, marker, archive, settings.ages, kind, words)
            except StudioError as error:
                alarm = Alarm("trouble", in_words(error))
            if alarm is not None:
                findings.note(alarm.kind, marker.clip_key, alarm.words)

    async with asyncio.TaskGroup() as workers:
        for _ in range(settings.at_once):
            workers.create_task(work())
    if listing_errors:
        raise listing_errors[0]
    await in_thread(_clear_held_markers, archive, settings)
    for key in await in_thread(settle_ended_claims, archive):
        findings.note("reservation repaired", key)
    return findings


async def _shared(items: Iterator[T], listing: asyncio.Lock) -> AsyncIterator[T]:
    """Hand out a blocking iterator's items to several workers, one item to one worker."""
    while True:
        async with listing:
            item = await in_thread(next, items, None)
        if item is None:
            return
        yield item


async def _visit(
    marker: Marker, archive: Archive, client: KlingClient, settings: ReconcileSettings, tell: Tell
) -> tuple[str, str]:
    """Do what is due for one marker, and say what it was."""
    version = await in_thread(archive.ledger.read, marker.clip_key)
    if version is None:
        return await _stray(marker, archive, settings)
    entry = version.entry
    if entry.state in (EntryState.ARCHIVED, EntryState.GIVEN_UP) and entry.open_attempts:
        version = await finish_attempts(version, client, archive)
        entry = version.entry
        if entry.state is EntryState.ARCHIVED:
            return "earlier attempt", ""
    if not entry.claim.startswith(marker.claim):
        if _is_of_an_open_attempt(marker, entry):
            # Its money stays set aside until the clip's own end.
            if entry.state in (EntryState.FAILED, EntryState.RELEASED):
                return await _visit_failed(version, client, archive)
            return "earlier attempt", ""
        return await _stray(marker, archive, settings)
    if entry.state in BEFORE_A_JOB:
        return await _visit_sender(version, archive, settings)
    if entry.state is EntryState.HELD:
        candidate = await adopt_candidate(version, client, archive, settings.longest_silence)
        if candidate.adopted is None:
            words = entry.last_note
            if entry.job_id is not None:
                words = f"{words}; {candidate.words}"
            return "held", words
        entry = candidate.adopted
    match entry.state:
        case EntryState.SUBMITTED if entry.job_id is not None:
            found = await collect(
                entry, client, archive, settings.warn_before, settings.confirm_seconds
            )
            tell(entry, found)
            return found.outcome.value, found.words
        case EntryState.FAILED:
            return await _visit_failed(version, client, archive)
        case EntryState.GIVEN_UP:
            return await _visit_given_up(version, client, archive, settings, tell)
    return await _stray(marker, archive, settings)


def _is_of_an_open_attempt(marker: Marker, entry: Entry) -> bool:
    return any(each.claim.startswith(marker.claim) for each in entry.open_attempts)


async def _visit_sender(
    version: VersionedEntry, archive: Archive, settings: ReconcileSettings
) -> tuple[str, str]:
    """Release or hold what a dead process has left."""
    if not is_silent(version, settings.window_seconds, settings.longest_silence):
        return "being sent", ""
    try:
        taken_over = await in_thread(take_over_silent, version, archive)
    except LedgerMoved:
        return "being sent", ""
    return taken_over.entry.state.value, taken_over.entry.last_note


async def _visit_failed(
    version: VersionedEntry, client: KlingClient, archive: Archive
) -> tuple[str, str]:
    """Read a failed job once more; it leaves the index of open clips if it has ended for good."""
    going_on = await read_earlier_jobs(version, client, archive)
    if going_on is not None:
        return "reopened", going_on.last_note
    if version.entry.state is EntryState.FAILED:
        await in_thread(archive.ledger.close_failure, version.entry)
    await in_thread(close_failed_attempts, version, archive)
    return version.entry.state.value, version.entry.last_note


async def _visit_given_up(
    version: VersionedEntry,
    client: KlingClient,
    archive: Archive,
    settings: ReconcileSettings,
    tell: Tell,
) -> tuple[str, str]:
    """Archive the video of a clip that was given up, should it come within the API's seven days."""
    entry = version.entry
    if entry.job_id is not None:
        found = await collect(
            entry, client, archive, settings.warn_before, settings.confirm_seconds
        )
        if found.clip is not None:
            tell(entry, found)
            return found.outcome.value, found.words
    if entry.sent_at is None or datetime.now(UTC) - entry.sent_at > RETENTION:
        await in_thread(archive.ledger.close_failure, entry)
    return "given up", entry.last_note


async def _stray(marker: Marker, archive: Archive, settings: ReconcileSettings) -> tuple[str, str]:
    """Remove a marker that stands for nothing, unless its record may still be on the way."""
    if marker.age_seconds < settings.longest_silence:
        return "being sent", ""
    await in_thread(archive.ledger.clear, marker)
    return "stray marker removed", ""


def _clear_held_markers(archive: Archive, settings: ReconcileSettings) -> None:
    """Remove the held markers of clips that are decided about: a killed process may leave them."""
    for marker in archive.ledger.held_markers():
        if marker.age_seconds < settings.longest_silence:
            continue
        version = archive.ledger.read(marker.clip_key)
        if (
            version is None
            or version.entry.state is not EntryState.HELD
            or not version.entry.claim.startswith(marker.claim)
        ):
            archive.ledger.clear(marker)
