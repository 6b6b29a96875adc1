"""How many requests of one process may be between a claim and a written job id."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class _Waiter:
    limit: int
    loop: asyncio.AbstractEventLoop
    granted: "asyncio.Future[None]"


class SendLimit:
    """A first-come-first-served limit that all event loops and threads of a process share.

    asyncio's and anyio's limiters belong to one event loop; Prefect runs submitted tasks in loops
    of their own.
    """

    def __init__(self) -> None:
        self._begin()
        # A child that is forked while requests are under way has none of them.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._waiting: deque[_Waiter] = deque()

    @asynccontextmanager
    async def place(self, limit: int) -> AsyncIterator[None]:
        """Hold one of at most `limit` places for the length of the block; wait for one first."""
        await self._enter(limit)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, limit: int) -> None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(limit, loop, loop.create_future())
        with self._lock:
            self._waiting.append(waiter)
            self._grant()
        try:
            await waiter.granted
        except BaseException:
            # Cancelled, or closed with its event loop: the place goes to the next.
            with self._lock:
                still_waiting = waiter in self._waiting
                if still_waiting:
                    self._waiting.remove(waiter)
            if not still_waiting:
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._active -= 1
            self._grant()

    def _grant(self) -> None:
        """Give free places to those who wait. The lock must be held."""
        while self._waiting and self._active < self._waiting[0].limit:
            waiter = self._waiting.popleft()
            try:
                waiter.loop.call_soon_threadsafe(_set_granted, waiter.granted)
            except RuntimeError:
                # The waiter's event loop is closed: nobody waits there any more.
                continue
            self._active += 1


def _set_granted(granted: "asyncio.Future[None]") -> None:
    if not granted.done():
        granted.set_result(None)
