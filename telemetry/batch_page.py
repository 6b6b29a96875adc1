"""A batch in the Prefect UI: one page that follows its rows, and in the end names its results."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from uuid import UUID

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.prices import Quote
from prefect_kling.kling.prices import quote as price_of
from prefect_kling.studio.batch.frozen import BatchPlan
from prefect_kling.studio.batch.quote import BatchQuote
from prefect_kling.studio.batch.results import BatchResult, BatchRow, RowState
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.standing import Standing
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.clip_page import marked
from prefect_kling.telemetry.markdown import (
    Markdown,
    bullets,
    code,
    log_view_errors,
    page,
    table,
    update_page,
    write_page,
)
from prefect_kling.telemetry.posters import WatchCells

WRITE_INTERVAL_SECONDS = 3.0
MOST_TROUBLES = 100
"""Rows in trouble that a page shows; all are in the results."""
MOST_CLIPS = 60
"""Clips that a page shows to be watched, and as many suspect ones."""
_ENOUGH_FOR_A_RATE = 5
_HEADLINE = 60


class BatchPage:
    """A batch's artifact under its flow run; its description says how far the batch is.

    It is only a view: an error in writing it is logged and does not stop the run.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan
        # Keys of artifacts take small letters, digits and dashes, as names of tables do.
        self._key = f"batch-{plan.table.name}"
        self._begun = time.monotonic()
        self._counts: Counter[RowState] = Counter()
        if plan.wrong:
            self._counts[RowState.WRONG] = plan.wrong
        self._clips_done = 0
        self._usd = NOTHING
        self._troubles: list[tuple[BatchRow, str]] = []
        self._clips: deque[tuple[BatchRow, str]] = deque(maxlen=MOST_CLIPS)
        self._suspects = 0
        self._suspect_clips: list[tuple[BatchRow, str]] = []
        self._is_stopped = False
        self._changed = asyncio.Event()
        self._artifact_id: UUID | None = None

    def add(self, rows: Sequence[BatchRow], headline: str) -> None:
        """Show what became of a clip, which may be that of several rows, with the next write."""
        for row in rows:
            self._counts[row.state] += 1
            self._suspects += bool(row.suspect)
        self._clips_done += 1
        self._remember(rows[0], headline)
        if rows[0].state is RowState.ARCHIVED:
            self._usd += rows[0].usd or NOTHING
        self._changed.set()

    def _remember(self, row: BatchRow, headline: str) -> None:
        """Keep a row that the page shows by itself."""
        if row.state is RowState.ARCHIVED:
            if row.suspect and len(self._suspect_clips) < MOST_CLIPS:
                self._suspect_clips.append((row, headline))
            elif not row.suspect:
                self._clips.append((row, headline))
        elif row.state is not RowState.UNDER_WAY and len(self._troubles) < MOST_TROUBLES:
            self._troubles.append((row, headline))

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Write the page whenever rows are added, until the block ends.

        When the block raises, the page says that the run was stopped.
        """
        writing = asyncio.create_task(self._write_changes())
        try:
            yield
        except BaseException:
            self._is_stopped = True
            raise
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self._is_stopped:
                await self._write_progress()

    async def show_result(self, result: BatchResult, archive: KlingArchive) -> None:
        """Turn the page into that of a batch whose run has ended."""
        with log_view_errors():
            if not self._clips_done:
                await in_thread(self._remember_results, result, archive)
            watch = WatchCells(archive)
            lines = [*_summary(result), Markdown(), *_trouble_lines(self._troubles)]
            suspects = self._suspect_clips
            lines += _clips("Suspect clips", suspects, await watch.of(_uris(suspects)))
            clips = sorted(self._clips, key=_number)
            lines += _clips("Clips", clips, await watch.of(_uris(clips)))
            if len(self._clips) == MOST_CLIPS:
                lines.append(Markdown("These are {}; all are in the results.").format(MOST_CLIPS))
            await self._write(page(lines), _description(result))

    def _remember_results(self, result: BatchResult, archive: KlingArchive) -> None:
        """Look at the rows of a table of results, which other runs have made."""
        self._troubles.clear()
        self._clips.clear()
        self._suspect_clips.clear()
        for row in result.read_rows(archive.get_archive()):
            self._remember(row, str(row.given.get("prompt") or "")[:_HEADLINE])

    async def _write_changes(self) -> None:
        while True:
            self._changed.clear()
            await self._write_progress()
            await asyncio.sleep(WRITE_INTERVAL_SECONDS)
            await self._changed.wait()

    async def _write_progress(self) -> None:
        with log_view_errors():
            await self._write(self._progress(), self._progress_in_words())

    def _progress_in_words(self) -> str:
        stopped = ""
        if self._is_stopped:
            stopped = "stopped after "
        return f"{stopped}{self._counts.total()} of {self._plan.rows} rows"

    def _progress(self) -> Markdown:
        clips = len(self._plan.quotes)
        minutes = (time.monotonic() - self._begun) / 60
        lines = [
            Markdown("**{} of {} rows, {} of {} different clips; ${} so far.**").format(
                self._counts.total(), self._plan.rows, self._clips_done, clips, self._usd
            )
        ]
        if self._is_stopped:
            lines.append(Markdown("The run was stopped. Run it again: it pays for the rest only."))
        elif self._clips_done >= _ENOUGH_FOR_A_RATE:
            rate = self._clips_done / minutes
            left = (clips - self._clips_done) / rate
            lines.append(Markdown("{:.1f} clips a minute, {:.0f} minutes left.").format(rate, left))
        counts = [[state.value, str(self._counts[state])] for state in RowState]
        counts.append(["suspect", str(self._suspects)])
        lines += [Markdown(), *table(("state", "rows"), counts), Markdown()]
        lines += _trouble_lines(self._troubles)
        return page(lines)

    async def _write(self, content: Markdown, description: str) -> None:
        if self._artifact_id is None:
            self._artifact_id = await write_page(self._key, content, description)
        else:
            await update_page(self._artifact_id, content, description)


def _description(result: BatchResult) -> str:
    archived = result.count(RowState.ARCHIVED)
    under_way = result.count(RowState.UNDER_WAY)
    told = f"{archived} of {len(result)} rows are archived"
    if under_way:
        told += f", {under_way} are under way"
    if result.suspects:
        told += f", {result.suspects} are suspect"
    return told


def _number(clip: tuple[BatchRow, str]) -> int:
    return clip[0].number


def _summary(result: BatchResult) -> list[Markdown]:
    counts = [[state.value, str(number)] for state, number in result.counts.items()]
    if result.suspects:
        counts.append(["suspect, of those archived", str(result.suspects)])
    return [
        Markdown("**{}; the archived clips cost ${}.**").format(_description(result), result.usd),
        Markdown(),
        Markdown("- table: {}").format(code(result.table.id)),
        Markdown("- results: {}").format(code(result.csv_uri)),
        Markdown("- results as JSON Lines: {}").format(code(result.results_uri)),
        Markdown(),
        *table(("state", "rows"), counts),
    ]


def _trouble_lines(troubles: Sequence[tuple[BatchRow, str]]) -> list[Markdown]:
    """Return the rows in trouble as a table, those that somebody must decide about first."""
    if not troubles:
        return []
    ordered = sorted(troubles, key=lambda each: each[0].state is not RowState.HELD)
    cells = [[str(row.number), headline, row.state.value, row.trouble] for row, headline in ordered]
    lines = [Markdown("## Rows in trouble"), Markdown()]
    lines += table(("row", "request", "state", "why"), cells)
    return [*lines, Markdown()]


def _uris(clips: Sequence[tuple[BatchRow, str]]) -> list[str]:
    return [row.uri for row, _ in clips]


def _clips(
    heading: str, clips: Sequence[tuple[BatchRow, str]], cells: Sequence[Markdown]
) -> list[Markdown]:
    """Return clips as a table; `cells` have a picture and a link for each."""
    if not clips:
        return []
    rows = []
    for (row, headline), cell in zip(clips, cells, strict=True):
        notes = marked(row.suspect, row.notes)
        rows.append([cell, str(row.number), headline, f"${row.usd}", notes])
    headings = ("watch", "row", "request", "price", "differs from the order")
    return [Markdown("## {}").format(heading), Markdown(), *table(headings, rows), Markdown()]


def batch_quote_page(
    quote: BatchQuote,
    orders: Sequence[ClipOrder] = (),
    standings: Sequence[Standing] = (),
    pictures: Sequence[Markdown] = (),
) -> Markdown:
    """Return what a batch will cost as a page, with its first orders.

    `standings` and `pictures` are those of the orders; without pictures there is no such column.
    """
    plan = quote.plan
    worst_case = ""
    if quote.at_most_usd != quote.usd:
        worst_case = f" (at most ${quote.at_most_usd})"
    summary = Markdown("**{} rows, {} different clips: ${} are to be paid{}**, all are worth ${}.")
    lines = [
        summary.format(plan.rows, quote.clips, quote.usd, worst_case, quote.worth_usd),
        Markdown(),
        Markdown("- table: {}").format(code(plan.table.id)),
    ]
    if plan.wrong:
        lines.append(Markdown("- {} rows have mistakes and are left out").format(plan.wrong))
    counts = [[each.value, str(quote.count(each))] for each in Standing if quote.count(each)]
    lines += [Markdown(), *table(("now", "clips"), counts), Markdown()]

    prices: Counter[tuple[int, Decimal]] = Counter()
    for price in plan.quotes.values():
        prices[price.seconds, price.usd] += 1
    cells = [
        [str(count), f"{seconds} s", f"${usd}", f"${usd * count}"]
        for (seconds, usd), count in prices.most_common(20)
    ]
    lines += table(("clips", "each lasts", "each costs", "together"), cells)
    lines += [Markdown(), Markdown("The first of them:"), Markdown()]
    if orders:
        lines += _orders(orders, standings, pictures)
    else:
        lines += bullets(plan.samples)
    return page(lines)


def _orders(
    orders: Sequence[ClipOrder], standings: Sequence[Standing], pictures: Sequence[Markdown]
) -> list[Markdown]:
    """Return orders as a table: what is asked for, its price, and what is there already."""
    headings = ["prompt", "lasts", "price", "now"]
    if any(pictures):
        headings.insert(1, "pictures")
    rows = []
    for number, (order, standing) in enumerate(zip(orders, standings, strict=True)):
        price = price_of(order.request)
        row = [
            order.request.spoken_prompt,
            f"{price.seconds} s",
            f"${price.usd}",
            standing.value,
        ]
        if any(pictures):
            row.insert(1, pictures[number])
        rows.append(row)
    return table(headings, rows)


def clip_quote_page(order: ClipOrder, price: Quote, pictures: Markdown | None = None) -> Markdown:
    """Return what a single clip will cost as a page, with its pictures if they are given."""
    request = order.request
    worst_case = ""
    if price.at_most_usd != price.usd:
        worst_case = f" (at most ${price.at_most_usd})"
    lines = [
        Markdown("**One clip of {} seconds: ${} are to be paid{}**.").format(
            price.seconds, price.usd, worst_case
        ),
        Markdown(),
        Markdown("- prompt: {}").format(request.spoken_prompt),
        Markdown("- model: {}").format(request.model),
    ]
    if pictures:
        lines.append(Markdown("- pictures: {}").format(pictures))
    lines += bullets(price.notes)
    return page(lines)
