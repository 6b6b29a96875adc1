"""One limit of running jobs for an account, over all processes that use the same archive."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.errors import JobNotFound, KlingError
from prefect_kling.kling.job import JobState
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.job_slots import JobSlots, Slot
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.record import BEFORE_A_JOB
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger

_SCAN_SECONDS = 1.0
# Of a scan, which reads every slot.
_SLOTS_A_SECOND = 20
_HELD_SECONDS = 1800.0
"""How long a clip whose outcome is unknown, or whose job nobody knows, keeps its slot."""
_NEXT_TRY_SECONDS = 900.0
"""How long a clip keeps its slot that is not sent, or has failed: its process may live, and wait
for the API or for the next attempt, at most ten minutes at a time."""


class AccountJobs:
    """Gives clips the right to have a job running, at most `limit` of them in all processes.

    For one event loop. Without a limit it does nothing. Nobody asks whether a slot's job has ended
    before its occupant is `look_after_seconds` old.
    """

    def __init__(
        self,
        limit: int | None,
        credentials: KlingCredentials,
        archive: KlingArchive,
        look_after_seconds: float = 60.0,
    ) -> None:
        self._limit = limit
        self._credentials = credentials
        self._archive = archive.get_archive()
        self._look_after_seconds = look_after_seconds
        self._scanning = asyncio.Lock()
        self._ours: list[Slot] = []
        self._freed = asyncio.Event()
        self._looked_at: dict[str, float] = {}
        self._failed: dict[str, float] = {}

    @asynccontextmanager
    async def slot(self, clip_key: str) -> AsyncIterator[None]:
        """Wait for a slot and occupy it for the block, and longer if the clip's job may still run.

        A clip whose job runs already needs none: it has one.
        """
        if self._limit is None or await in_thread(self._has_job, clip_key):
            yield
            return

        slots = JobSlots(self._archive.bucket, self._limit)
        slot = await self._take(clip_key, slots)
        try:
            yield
        except Exception:
            # Whatever it was: the job may run on, and only its record says whether it does.
            await self._free_if_closed(slot, slots)
            raise
        await self._free(slot, slots)

    async def _take(self, clip_key: str, slots: JobSlots) -> Slot:
        # In the order in which they came: only the first looks at the slots.
        async with self._scanning:
            while True:
                while self._ours:
                    slot = await in_thread(slots.hand_over, self._ours.pop(), clip_key)
                    if slot is not None:
                        return slot
                slot, occupied = await in_thread(slots.take, clip_key)
                if slot is None:
                    slot = await self._take_over(clip_key, occupied, slots)
                if slot is not None:
                    return slot
                pause = max(_SCAN_SECONDS, len(occupied) / _SLOTS_A_SECOND)
                jitter = random.uniform(0.5, 1.0)  # noqa: S311  no secret
                await self._wait_for_ours(pause * jitter)

    async def _wait_for_ours(self, seconds: float) -> None:
        """Wait, at most so long, until a job of this process has given its slot back."""
        self._freed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _take_over(self, clip_key: str, occupied: list[Slot], slots: JobSlots) -> Slot | None:
        """Take a slot whose job has ended, and whose process could not give it back."""
        for slot in occupied:
            looked_at = self._looked_at.get(slot.etag)
            is_new = slot.age_seconds < self._look_after_seconds
            if is_new or (
                looked_at is not None and time.monotonic() - looked_at < self._look_after_seconds
            ):
                continue
            self._looked_at[slot.etag] = time.monotonic()
            if await self._has_ended(slot):
                del self._looked_at[slot.etag]
                taken = await in_thread(slots.hand_over, slot, clip_key)
                if taken is not None:
                    return taken
        return None

    async def _has_ended(self, slot: Slot) -> bool:
        version = await in_thread(self._archive.ledger.read, slot.clip_key)
        if version is None:
            return slot.age_seconds > _NEXT_TRY_SECONDS
        entry = version.entry
        if entry.state in BEFORE_A_JOB or entry.state is EntryState.HELD:
            return version.age_seconds > _HELD_SECONDS
        if entry.state is EntryState.RELEASED or entry.retryable:
            return version.age_seconds > _NEXT_TRY_SECONDS
        if entry.state is not EntryState.SUBMITTED or entry.job_id is None:
            return True
        async with self._credentials.get_client() as client:
            try:
                job = await client.get(entry.job_id)
            except JobNotFound:
                return version.age_seconds > _HELD_SECONDS
            except KlingError:
                # Nothing is known of it. It is looked at again.
                return False
        if job.state is JobState.FAILED:
            # Its own process may try it again, in the same slot.
            failed_at = self._failed.setdefault(slot.etag, time.monotonic())
            return time.monotonic() - failed_at > _NEXT_TRY_SECONDS
        return job.state is JobState.COMPLETED

    async def _free_if_closed(self, slot: Slot, slots: JobSlots) -> None:
        """Give back the slot of a clip that failed, unless its job may still run."""
        try:
            is_closed = await in_thread(self._is_closed, slot.clip_key)
        except StudioError as error:
            run_logger().warning("%s is looked at again by others: %s", slot.path, error)
            return
        if is_closed:
            await self._free(slot, slots)

    async def _free(self, slot: Slot, slots: JobSlots) -> None:
        """Give a slot back: to the next clip of this process, else to whoever comes."""
        try:
            freed = await in_thread(slots.hand_over, slot, "")
        except StudioError as error:
            # The clip is paid and goes on. Others find that the slot's job has ended.
            run_logger().warning("%s could not be given back: %s", slot.path, error)
            return
        if freed is not None:
            self._ours.append(freed)
            self._freed.set()

    def _has_job(self, clip_key: str) -> bool:
        version = self._archive.ledger.read(clip_key)
        return version is not None and version.entry.state is EntryState.SUBMITTED

    def _is_closed(self, clip_key: str) -> bool:
        version = self._archive.ledger.read(clip_key)
        if version is None:
            return True
        return version.entry.state not in (
            *BEFORE_A_JOB,
            EntryState.SUBMITTED,
            EntryState.HELD,
        )
