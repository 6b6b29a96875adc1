"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it started is stopped first."""

import asyncio
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from prefect_kling.deployments.cli.exit_codes import after_signal

T = TypeVar("T")
ENDING = (signal.SIGTERM, signal.SIGHUP)
WAY_OUT_SECONDS = 10.0
"""How long the way out is left alone; a further signal does not cut it short."""

_WAKES_AFTER_SECONDS = 0.5

_ending: list[int] = []
"""The signals that have ended the command."""
_since: list[float] = []
"""When the last of them came."""


class Ended(SystemExit):
    """A signal has ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(after_signal(number))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the signals raise `Ended` until the block ends.

    A signal that is ignored stays ignored, as under `nohup`.
    """
    earlier = {number: signal.signal(number, _end) for number in _heard()}
    _ending.clear()
    try:
        yield
    except Exception as error:
        if _ending:
            # It was raised inside of something that makes another error of each.
            raise Ended(_ending[0]) from error
        raise
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if number == signal.SIGHUP and handler not in (_end, signal.SIG_DFL, signal.SIG_IGN):
        # A server that is running here has its own way to stop.
        signal.raise_signal(signal.SIGTERM)
        return
    now = time.monotonic()
    if _ending and now - _since[0] < WAY_OUT_SECONDS:
        return
    _note(number)
    raise Ended(number)


def _note(number: int) -> None:
    _ending.append(number)
    _since[:] = [time.monotonic()]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; a signal or Ctrl-C cancels it, and is raised once it has ended.

    It runs in a thread. In the main thread Prefect has a handler of its own for SIGTERM while a
    flow runs, which raises an exception wherever the program is: asyncio may lose it, and what
    it interrupts may be left half done.
    """
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    # Made before the thread, so that there is something to cancel from the first moment on.
    task = loop.create_task(work)
    ended: Future[T] = Future()

    async def until_done() -> T:
        return await task

    def run_to_its_end() -> None:
        try:
            with runner:
                result = runner.run(until_done())
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(result)

    # A daemon: whoever presses Ctrl-C again does not wait for it.
    thread = threading.Thread(target=run_to_its_end, name="command", daemon=True)
    try:
        thread.start()
        _wait_until_done(ended)
        return ended.result()
    except BaseException:
        if not ended.done():
            with suppress(RuntimeError):  # it ends by itself at this moment
                loop.call_soon_threadsafe(task.cancel)
            _wait_until_done(ended)
        raise


def _wait_until_done(ended: Future[Any]) -> None:
    # A signal that another thread is given, or that comes just before the wait, wakes nobody: it is
    # heard when this thread wakes.
    while not ended.done():
        wait([ended], timeout=_WAKES_AFTER_SECONDS)


def _heard() -> list[signal.Signals]:
    """Return the signals that can end this command; only the main thread hears any."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def until_ended() -> Iterator[None]:
    """Run a server in the block: one that is told to end has done its work."""
    try:
        yield
    except (Ended, KeyboardInterrupt):
        return
    except Exception:
        # A server that is told to end may fail in any way while it does.
        if not _ending:
            raise
