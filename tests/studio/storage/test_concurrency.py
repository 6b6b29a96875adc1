"""Work that a cancellation must not interrupt."""

import asyncio
from collections.abc import Iterator

import pytest

from prefect_kling.studio.storage.concurrency import READS_AHEAD, map_in_threads, uninterrupted


async def test_work_that_must_be_finished_outlives_a_cancellation() -> None:
    """Ctrl-C and cancelled siblings do not interrupt it; they are passed on when it is done."""
    begun = asyncio.Event()
    go_on = asyncio.Event()
    done: list[bool] = []

    async def work() -> None:
        begun.set()
        await go_on.wait()
        done.append(True)

    caller = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


def test_work_that_must_be_finished_outlives_the_end_of_the_event_loop() -> None:
    """A signal ends the loop, which cancels every task it knows of; the work is finished first."""
    done: list[bool] = []

    async def work() -> None:
        await asyncio.sleep(0.2)
        done.append(True)

    async def main() -> None:
        caller = asyncio.create_task(uninterrupted(work()))
        await asyncio.sleep(0)
        assert not caller.done()

    asyncio.run(main())
    assert done == [True]


def test_what_is_read_in_threads_is_not_read_far_ahead() -> None:
    """In the order of the items; memory does not grow with their number."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_threads(str, items())
    for number in range(500):
        assert next(results) == str(number)
        assert len(taken) <= number + READS_AHEAD
    assert list(results) == [str(number) for number in range(500, 1000)]
