"""How many jobs of one run are under way at once; the head of the longest chain goes first."""

import asyncio
import heapq
import itertools
from types import TracebackType

# Higher priority first; among equal priorities, the lease that was created first.
Rank = tuple[float, int]


class JobLimiter:
    """Grants leases to the clips of one run, at most `limit` at a time, the highest priority first.

    Without a limit every lease is granted at once, and the API itself says when it is too much.
    For one event loop; costs and sends nothing.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._granted = 0
        self._created = itertools.count()
        self._requested = _PriorityQueue()
        self._turned_away = _PriorityQueue()

    def lease(self, priority: float = 0.0) -> "Lease":
        """Return a lease: `async with` waits until it is granted and holds it for the block."""
        return Lease(self, (-priority, next(self._created)))

    def grant_or_queue(self, lease: "Lease") -> None:
        """Grant a lease now if the limit allows it, else put it into the queue."""
        if self._limit is None or self._granted < self._limit:
            self._granted += 1
            lease.granted.set_result(None)
        else:
            self._requested.push(lease.rank, lease.granted)

    def take_back(self) -> None:
        """Take a granted lease back; the first in the queue has it at once."""
        self._turned_away.wake_first()
        if not self._requested.wake_first():
            self._granted -= 1

    async def wait_for_end(self, lease: "Lease") -> None:
        """Wait until a job of this run has ended. Each end wakes one waiter."""
        ended = asyncio.get_running_loop().create_future()
        self._turned_away.push(lease.rank, ended)
        await ended


class Lease:
    """The right of one clip to have its job under way: requested, then granted, then released.

    `dependents` are the leases of clips made from this one. They are requested when this lease's
    block ends without an error, before the lease goes to anybody else: otherwise a long chain would
    lose its place after every clip to whatever happened to wait.
    """

    def __init__(self, limiter: JobLimiter, rank: Rank) -> None:
        self.rank = rank
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dependents: list[Lease] = []
        self._limiter = limiter
        self._is_requested = False
        self._is_released = False

    def request(self) -> None:
        """Ask for the lease. Safe to call again; after `release` it does nothing."""
        if self._is_requested or self._is_released:
            return
        self._is_requested = True
        self._limiter.grant_or_queue(self)

    def release(self) -> None:
        """Leave the queue, or give the lease back. Safe to call again, and before `request`."""
        if self._is_released:
            return
        self._is_released = True
        if self.granted.cancel():
            return
        # A future that cannot be cancelled is done: the lease was granted, or its waiter cancelled.
        if not self.granted.cancelled():
            self._limiter.take_back()

    async def __aenter__(self) -> "Lease":
        self.request()
        try:
            await self.granted
        except asyncio.CancelledError:
            self.release()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            for dependent in self.dependents:
                dependent.request()
        self.release()

    async def wait_for_capacity(self, seconds: float) -> None:
        """Wait until a job of this run has ended, at most so long: for when the API is full.

        The lease is held meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._limiter.wait_for_end(self)
        except TimeoutError:
            return


class _PriorityQueue:
    """Futures that wait for the same thing, in order of their ranks."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._pushed = itertools.count()

    def push(self, rank: Rank, future: "asyncio.Future[None]") -> None:
        heapq.heappush(self._heap, (rank, next(self._pushed), future))

    def wake_first(self) -> bool:
        """Complete the first future that still waits, and return whether there was one."""
        while self._heap:
            _, _, future = heapq.heappop(self._heap)
            if not future.done():
                future.set_result(None)
                return True
        return False
