"""Noticing that somebody else finished a clip: one listing serves all who wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.studio.storage.layout import CLAIM_LENGTH

# A clip and the beginning of a claim: an earlier attempt may have left a marker of its own.
Waited = tuple[str, str]


class CompletionWatcher:
    """The clips of one archive that are waited for in this process, and an event for each waiter.

    While anybody waits, `ledger/open/` is listed every two seconds, a thousand markers a request;
    who finds its marker gone is woken. Trouble with the store wakes nobody: the safety polls go on.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._waiting: dict[asyncio.Event, Waited] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, entry: Entry) -> Iterator[asyncio.Event]:
        """Hand out an event that is set once this attempt at the clip is no longer open."""
        completed = asyncio.Event()
        self._waiting[completed] = (entry.clip_key, entry.claim[:CLAIM_LENGTH])
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield completed
        finally:
            self._waiting.pop(completed, None)

    async def _look(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._archive.fetching.watch_seconds)
                await self._wake()
        finally:
            # A task kept here would keep its event loop alive for as long as the process.
            self._looking = None

    async def _wake(self) -> None:
        waiting = dict(self._waiting)
        try:
            still_open = await in_thread(self._open)
        except StudioError:
            return
        for completed, waited in waiting.items():
            if waited not in still_open:
                # Once: if the API has nothing to tell after all, the safety polls go on.
                completed.set()
                self._waiting.pop(completed, None)

    def _open(self) -> set[Waited]:
        return {(marker.clip_key, marker.claim) for marker in self._archive.ledger.open_markers()}


@dataclass(frozen=True)
class LedgerBackedReader:
    """Asks the ledger whether a clip is archived, and the API only if it is not.

    When a poll meets a job that has just ended, the API is calling the receiver, too: waiting for
    the receiver, half a minute at most, spares a second download. Trouble with the store leaves the
    question to the API.
    """

    client: KlingClient
    archive: Archive
    entry: Entry
    completed: asyncio.Event

    async def get(self, job_id: str) -> VideoJob:
        """Tell how the job stands. Raises what `KlingClient.get` raises."""
        with suppress(StudioError):
            version = await in_thread(self.archive.ledger.read, self.entry.clip_key)
            if version is not None and _is_archived(version.entry, job_id):
                return VideoJob(job_id=job_id, state=JobState.COMPLETED, said_state="completed")
        job = await self.client.get(job_id)
        if job.state is JobState.COMPLETED and job.completed_at is not None:
            longest = self.archive.fetching.receiver_seconds
            left = longest - (datetime.now(UTC) - job.completed_at).total_seconds()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.completed.wait(), min(left, longest))
        return job


def _is_archived(entry: Entry, job_id: str) -> bool:
    return entry.state is EntryState.ARCHIVED and entry.job_id == job_id


_shared: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CompletionWatcher]]" = (
    WeakKeyDictionary()
)


def completion_watcher(archive: Archive) -> CompletionWatcher:
    """Return the watch of an archive that this event loop shares."""
    watches = _shared.setdefault(asyncio.get_running_loop(), {})
    return watches.setdefault(archive.bucket.uri(""), CompletionWatcher(archive))
