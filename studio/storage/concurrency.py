"""Calling blocking code from asyncio, and finishing work that a cancellation must not interrupt."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

STOP_SECONDS = 20.0
READS_AT_ONCE = 16
READS_AHEAD = 4 * READS_AT_ONCE

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a worker thread of anyio and return its result.

    A cancellation of the caller takes effect only after the call has returned.
    """
    return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs))


def map_in_threads(read: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield what a blocking call returns for each item, in order, `READS_AT_ONCE` at a time.

    At most `READS_AHEAD` items are taken ahead of whoever iterates: memory does not grow with them.
    """
    # `Executor.map` takes all items at once before Python 3.14, which has a `buffersize` for it.
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        for item in items:
            ahead.append(threads.submit(read, item))
            if len(ahead) == READS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def sheltered(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start a task that is cancelled only by those who hold it, and return it.

    When an event loop ends, by a signal for instance, asyncio cancels all tasks that it knows of.
    Whoever shelters a task waits for it: the loop ends once those who wait have returned.
    """
    task = asyncio.ensure_future(work)
    # Part of asyncio's interface for extensions:
    # https://docs.python.org/3/library/asyncio-extending.html
    asyncio.tasks._unregister_task(task)  # noqa: SLF001
    return task


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine even if the caller is cancelled meanwhile, and return its result.

    The cancellation is raised once the work is done; an error of the work is then dropped.
    """
    # The work gets a task of its own. A cancel scope alone is no shield against a cancellation that
    # comes from asyncio, such as Ctrl-C or a cancelled `gather`.
    task = sheltered(work)
    cancelled = None

    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error

    if cancelled is not None:
        task.exception()  # marks an error as seen, so that asyncio does not report it
        raise cancelled
    return task.result()


async def until_stopped(call: Callable[[], T], stop: Callable[[], None]) -> T:
    """Run a blocking call in a thread of the event loop.

    A cancellation calls `stop` and waits for its end.

    The event loop's own few threads bound how many such calls run at once.
    """
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop()
        # A file that has arrived is still stored; one that has not ends within seconds.
        await asyncio.wait([work], timeout=STOP_SECONDS)
        if work.done() and not work.cancelled():
            work.exception()  # marks an error as seen, so that asyncio does not report it
        raise
