"""Work on the rows of a frozen table: many at once, results in parts, one page."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from prefect.runtime import flow_run

from prefect_kling.kling.error_details import in_words
from prefect_kling.kling.errors import StillRunning
from prefect_kling.runs.failures import as_run_id
from prefect_kling.studio.batch.completion import complete_batches
from prefect_kling.studio.batch.frozen import BatchPlan, FrozenRow, in_groups, read_frozen
from prefect_kling.studio.batch.results import (
    BatchResult,
    BatchRow,
    ResultParts,
    RowState,
    merge_results,
)
from prefect_kling.studio.errors import ClipHeld, LedgerUnreadable, StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.concurrency import in_thread, uninterrupted
from prefect_kling.telemetry.batch_page import BatchPage
from prefect_kling.telemetry.events import announce_batch, announce_batch_trouble
from prefect_kling.telemetry.logs import run_logger

CLIPS_AT_ONCE = 5_000
"""Clips that one process works on at a time."""
ROWS_AT_ONCE = 200
"""Rows that are parsed at a time."""
PART_SECONDS = 20.0
"""How often results are written."""
MERGE_SECONDS = 60.0
"""How often they are merged, at the most."""
_MERGE_SHARE = 20
"""Merging takes at most one part in so many of the time."""

Work = Callable[[ClipOrder, FrozenRow, str], Awaitable[BatchRow]]
"""Make or send the clip of an order; its row and a label are given."""


async def work_on_rows(plan: BatchPlan, work: Work, archive: Archive, page: BatchPage) -> None:
    """Do the work for each different clip of a plan, many at once.

    **Costs what the work costs.** Whatever the work of one clip raises is the trouble of its rows
    and of no other. Results are written in parts on the way, also when this is cancelled. Safe to
    repeat.
    """
    rows = _Rows(plan, archive)
    results = _Results(plan, archive)

    async def make_rows() -> None:
        while (row := await rows.take()) is not None:
            order = row.order
            if order is None:
                continue
            headline = order.request.headline
            label = f"{row.own_id or row.number} {headline}"
            try:
                made = await work(order, row, label)
            except Exception as error:
                made = _in_trouble(row.number, order, error)
            numbers = plan.repeats.get(order.clip_key, [row.number])
            ended = [made.model_copy(update={"number": number}) for number in numbers]
            results.add(ended)
            page.add(ended, headline)

    workers = min(CLIPS_AT_ONCE, len(plan.quotes))
    async with page.kept_current(), results.written():
        await asyncio.gather(*(make_rows() for _ in range(workers)))


def _in_trouble(number: int, order: ClipOrder, error: Exception) -> BatchRow:
    """Return the row of a clip whose work has failed."""
    state = RowState.FAILED
    if isinstance(error, ClipHeld):
        state = RowState.HELD
    elif isinstance(error, StillRunning):
        state = RowState.UNDER_WAY
    return BatchRow(
        number=number,
        state=state,
        clip_key=order.clip_key,
        job_id=getattr(error, "job_id", None),
        trouble=in_words(error),
    )


class _Rows:
    """The rows of a plan, each different clip once. Any number of workers may take from it."""

    def __init__(self, plan: BatchPlan, archive: Archive) -> None:
        self._plan = plan
        self._begun: set[str] = set()
        self._taking = asyncio.Lock()
        self._groups = in_groups(read_frozen(plan.table, archive.bucket), ROWS_AT_ONCE)
        self._group: list[FrozenRow] = []

    async def take(self) -> FrozenRow | None:
        """Return the next row; None after the last."""
        async with self._taking:
            while True:
                if not self._group:
                    group = await in_thread(next, self._groups, None)
                    if group is None:
                        return None
                    self._group = [row for row in reversed(group) if self._is_meant(row)]
                    continue
                row = self._group.pop()
                if row.order is None or row.order.clip_key in self._begun:
                    continue
                if row.order.clip_key not in self._plan.quotes:
                    raise LedgerUnreadable(
                        f"row {row.number} of the table {self._plan.table} was changed after it "
                        "was quoted"
                    )
                self._begun.add(row.order.clip_key)
                return row

    def _is_meant(self, row: FrozenRow) -> bool:
        return self._plan.first <= row.number <= self._plan.last


class _Results:
    """Writes rows in parts, and merges them now and then."""

    def __init__(self, plan: BatchPlan, archive: Archive) -> None:
        self._plan = plan
        self._archive = archive
        self._parts = ResultParts(plan.table, archive.bucket)
        self._waiting: list[BatchRow] = []

    def add(self, rows: Sequence[BatchRow]) -> None:
        self._waiting.extend(rows)

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Write rows as they come until the block ends, and what is left after it."""
        writing = asyncio.create_task(self._write_on())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await uninterrupted(self._write())

    async def _write_on(self) -> None:
        merged = time.monotonic()
        pause = MERGE_SECONDS
        while True:
            await asyncio.sleep(PART_SECONDS)
            await self._write()
            begun = time.monotonic()
            if self._plan.first > 1 or begun - merged < pause:
                continue
            await self._merge()
            merged = time.monotonic()
            pause = max(MERGE_SECONDS, _MERGE_SHARE * (merged - begun))

    async def _write(self) -> None:
        rows = self._waiting
        if not rows:
            return
        self._waiting = []
        try:
            await in_thread(self._parts.write, rows)
        except StudioError as error:
            # The ledger and the archive know everything that was paid.
            run_logger().warning("results could not be written, they are tried again: %s", error)
            self._waiting = rows + self._waiting

    async def _merge(self) -> None:
        try:
            await in_thread(merge_results, self._plan.table, self._archive)
        except StudioError as error:
            run_logger().warning("results could not be merged, they are tried again: %s", error)


async def merge_and_log(plan: BatchPlan, archive: Archive) -> BatchResult:
    """Write the results of a table and log them; rows in trouble are an event, too.

    Free, safe to repeat.
    """
    result = await in_thread(merge_results, plan.table, archive)
    trouble = result.count(RowState.FAILED) + result.count(RowState.HELD)
    if trouble:
        announce_batch_trouble(result, as_run_id(flow_run.id))
        run_logger().warning("%s; results: %s", result, result.csv_uri)
    else:
        run_logger().info("%s; results: %s", result, result.csv_uri)
    return result


async def complete_and_tell(archive: Archive) -> None:
    """Complete the batches whose last clip has landed, and tell each in the log and as an event.

    Free, safe to repeat.
    """
    for result in await in_thread(lambda: list(complete_batches(archive))):
        run_logger().info("%s; it is complete: %s", result, result.csv_uri)
        announce_batch(result)
        announce_batch_trouble(result)
