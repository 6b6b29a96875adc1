"""Who may have a job running: so many at once, the head of the longest chain first."""

import asyncio
import heapq
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType


class Slots:
    """Places for running jobs, shared by the clips of one run.

    Without a limit everybody gets in, and the API itself says when it is too much; whoever it turns away rests until
    a job of this run ends. The most urgent goes first either way. For one event loop; costs and sends nothing.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit, self._taken, self._arrivals = limit, 0, itertools.count()
        self._queue, self._turned_away = _Line(), _Line()

    def one(self, urgency: float) -> "Turn":
        """Return a turn: `async with` waits for a slot and holds it for the length of the block."""
        return Turn(self, (-urgency, next(self._arrivals)))

    def queue_up(self, turn: "Turn") -> None:
        """Give a turn its slot if there is one, else a place in the queue."""
        if self._limit is not None and self._taken >= self._limit:
            self._queue.join(turn.rank, turn.granted)
        else:
            self._taken += 1
            turn.granted.set_result(None)

    def leave(self) -> None:
        """Take a slot back: a job has ended, or was never sent. Whoever is first in the queue has it at once."""
        self._turned_away.wake()
        if not self._queue.wake():
            self._taken -= 1

    async def rest(self, turn: "Turn") -> None:
        """Wait until a job of this run has ended."""
        ended = asyncio.get_running_loop().create_future()
        self._turned_away.join(turn.rank, ended)
        await ended


class Turn:
    """One clip's turn: asked for, then a slot that is held, then over.

    `followers` are the turns of clips made from this one. They queue up the moment its job ends, before its slot is
    given away: otherwise a long chain would lose its slot at every link to whoever happened to wait.
    """

    def __init__(self, slots: Slots, rank: tuple[float, int]) -> None:
        self.rank, self.granted = rank, asyncio.get_running_loop().create_future()
        self.followers: list[Turn] = []
        self._slots, self._asked, self._over = slots, False, False

    def ask(self) -> None:
        """Queue up; once is enough."""
        if not self._asked and not self._over:
            self._asked = True
            self._slots.queue_up(self)

    def give_up(self) -> None:
        """Leave the queue, or give back the slot; once it is over, nothing more happens."""
        if self._over:
            return
        self._over = True
        # A future that is done cannot be cancelled: then there is a slot to give back.
        if not self.granted.cancel() and not self.granted.cancelled():
            self._slots.leave()

    async def __aenter__(self) -> "Turn":
        self.ask()
        try:
            await self.granted
        except asyncio.CancelledError:
            self.give_up()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            for follower in self.followers:
                follower.ask()
        self.give_up()

    async def rest(self, seconds: float) -> None:
        """Wait until a job of this run has ended, or so many seconds: what to do when the API is full."""
        try:
            async with asyncio.timeout(seconds):
                await self._slots.rest(self)
        except TimeoutError:
            return


class _Line:
    """Who waits for the same thing, the most urgent first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[tuple[float, int], int, asyncio.Future[None]]] = []
        self._entries = itertools.count()

    def join(self, rank: tuple[float, int], ready: "asyncio.Future[None]") -> None:
        heapq.heappush(self._waiting, (rank, next(self._entries), ready))

    def wake(self) -> bool:
        """Let the first in line go on; those that gave up meanwhile are passed over."""
        while self._waiting:
            *_, ready = heapq.heappop(self._waiting)
            if not ready.done():
                ready.set_result(None)
                return True
        return False


_slots: ContextVar[Slots | None] = ContextVar("slots", default=None)


@contextmanager
def sharing(slots: Slots) -> Iterator[None]:
    """Have all clips made inside the block share these slots; inside another such block, that one's are kept."""
    token = _slots.set(_slots.get() or slots)
    try:
        yield
    finally:
        _slots.reset(token)


def current_slots() -> Slots:
    """Return the slots of the run, or unlimited ones of one's own."""
    return _slots.get() or Slots()
