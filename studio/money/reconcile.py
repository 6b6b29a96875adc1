"""One pass over everything that is paid and not finished, whoever started it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState, Marker
from prefect_kling.studio.money.overdue import Alarm, AlarmAges, find_overdue
from prefect_kling.studio.money.settlement import Collected, collect
from prefect_kling.studio.money.submission import sender_window
from prefect_kling.studio.storage.bucket import in_thread

NAMED = 100
FINISHED = (EntryState.RELEASED, EntryState.FAILED, EntryState.ARCHIVED)
T = TypeVar("T")
Tell = Callable[[Entry, Collected], None]


@dataclass
class Findings:
    """How many clips ended how, and the first hundred of each kind by clip key with a word on each."""

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
    """How to sweep: how many clips at a time, when an intent counts as abandoned, and how early to warn."""

    at_once: int = 32
    window_seconds: float = sender_window(ClientSettings())
    warn_before: timedelta = timedelta(days=1)
    ages: AlarmAges = field(default_factory=AlarmAges)


async def reconcile(
    archive: Archive,
    client: KlingClient,
    settings: ReconcileSettings | None = None,
    tell: Tell = lambda entry, collected: None,
) -> Findings:
    """Look at every open record once: archive what is finished, close what failed, hold what was abandoned.

    Costs nothing and may run beside anything else, as often as you like. Memory does not grow with
    the number of records. One clip's trouble does not stop the others: it is noted, and the next
    sweep meets it again. `tell` hears how each paid job stands.

    Whatever its state, a record that is still open a day after it was sent is found as "overdue" as
    well, and after six days as "expiring".
    """
    settings = settings or ReconcileSettings()
    findings = Findings()
    markers = archive.ledger.open_markers()
    turns = asyncio.Lock()

    async def work() -> None:
        async for marker in _shared(markers, turns):
            try:
                kind, words = await _visit(marker, archive, client, settings, tell)
            except Exception as error:
                # Whatever it is, it must not keep the other clips from being saved.
                kind = "trouble"
                words = f"{type(error).__name__}: {error}"
            findings.note(kind, marker.clip_key, words)
            try:
                alarm = await in_thread(find_overdue, marker, archive, settings.ages, kind, words)
            except StudioError as error:
                alarm = Alarm("trouble", f"{type(error).__name__}: {error}")
            if alarm is not None:
                findings.note(alarm.kind, marker.clip_key, alarm.words)

    async with asyncio.TaskGroup() as workers:
        for _ in range(settings.at_once):
            workers.create_task(work())
    for key in await in_thread(_repair_reservations, archive):
        findings.note("reservation repaired", key)
    return findings


async def _shared(items: Iterator[T], turns: asyncio.Lock) -> AsyncIterator[T]:
    """Hand out a blocking iterator's items to several workers, one item to one worker."""
    while True:
        async with turns:
            item = await in_thread(next, items, None)
        if item is None:
            return
        yield item


async def _visit(
    marker: Marker, archive: Archive, client: KlingClient, settings: ReconcileSettings, tell: Tell
) -> tuple[str, str]:
    """Do what is due for one marker, and say what it was."""
    version = await in_thread(archive.ledger.read, marker.clip_key)
    if version is None or not version.entry.claim.startswith(marker.claim):
        return await _stray(marker, archive, settings)
    entry = version.entry
    if entry.state is EntryState.SUBMITTED and entry.job_id is not None:
        found = await collect(entry, client, archive, settings.warn_before)
        tell(entry, found)
        return found.outcome.value, found.words
    if entry.state is EntryState.INTENT and version.age_seconds > settings.window_seconds:
        why = f"the process {entry.by} vanished between its intent and a job id"
        version = await in_thread(archive.ledger.hold, version, why)
        return "held", why
    if entry.state is EntryState.INTENT:
        return "being sent", ""
    if entry.state is EntryState.HELD:
        return "held", entry.history[-1].note
    return await _stray(marker, archive, settings)


async def _stray(marker: Marker, archive: Archive, settings: ReconcileSettings) -> tuple[str, str]:
    """Remove a marker that stands for nothing, unless it is so young that its record may still be on the way."""
    if marker.age_seconds < settings.window_seconds:
        return "being sent", ""
    await in_thread(archive.ledger.clear, marker)
    return "stray marker removed", ""


def _repair_reservations(archive: Archive) -> list[str]:
    """Settle money that is still set aside for clips whose record is finished."""
    accounts = archive.budget.accounts()
    if accounts is None:
        return []
    repaired = []
    for key, reservation in accounts.reserved.items():
        version = archive.ledger.read(key)
        if version is None or version.entry.state not in FINISHED:
            continue
        # Money set aside by an earlier claim than the record's was never spent: that claim was
        # given back.
        spent = NOTHING
        if version.entry.claim == reservation.claim and version.entry.charged_usd is not None:
            spent = version.entry.charged_usd
        sender = version.entry.model_copy(update={"claim": reservation.claim})
        archive.budget.settle(sender, spent)
        repaired.append(key)
    return repaired
