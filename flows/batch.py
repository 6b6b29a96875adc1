"""Many clips at once: made and waited for, or sent and left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

from prefect import flow
from pydantic import BaseModel, ConfigDict

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.kling.error_details import in_words
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.resources import RunResources
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.tasks import RequestsInput, prepare_requests, submit_video
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import (
    Markdown,
    code,
    log_view_errors,
    page,
    table,
    write_page,
)

# Clips that one process works on at a time. Prefect's event queue loses task runs beyond a few
# thousand.
CLIPS_AT_ONCE = 500
# Rows of a batch that its artifact shows.
MAX_ROWS_SHOWN = 500


class BatchRow(BaseModel):
    """What became of one request of a batch. Rows are in the order of the requests."""

    model_config = ConfigDict(frozen=True)

    clip_key: str
    job_id: str | None = None
    clip: Clip | None = None
    trouble: str = ""


@flow(flow_run_name="batch", persist_result=False, on_failure=[name_missing_blocks])
async def generate_batch(
    requests: RequestsInput, credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Make many clips and return a row for each; a clip that fails has the reason in its row.

    **Costs the sum of the clips that are not archived yet**, equal requests once. A clip that fails
    stops no other.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so
            on, or where one is: a link, or a path in the archive such as tables/mugs.csv. Programs
            may hand over `VideoRequest`s.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """
    resources = RunResources(credentials, archive)

    async def make(order: ClipOrder, label: str) -> BatchRow:
        clip = await make_clip(order, resources, SubmitOptions(), label)
        return BatchRow(clip_key=order.clip_key, job_id=clip.job_id, clip=clip)

    return await _work_on_all(await prepare_requests(requests, archive), make, "archived")


@flow(flow_run_name="send a batch", persist_result=False, on_failure=[name_missing_blocks])
async def submit_batch(
    requests: RequestsInput, credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Send many clips and end without waiting; the receiver or `collect_finished` archives them.

    **Costs the sum of the clips that were never sent**, equal requests once. Sending the same batch
    again sends what is missing.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so
            on, or where one is: a link, or a path in the archive such as tables/mugs.csv. Programs
            may hand over `VideoRequest`s.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """

    async def send(order: ClipOrder, label: str) -> BatchRow:
        archived = await in_thread(archive.get_archive().find, order.clip_key)
        if archived is not None:
            return BatchRow(clip_key=order.clip_key, job_id=archived.job_id, clip=archived)
        entry = await submit_video(order, credentials, archive, label)
        return BatchRow(clip_key=order.clip_key, job_id=entry.job_id)

    return await _work_on_all(await prepare_requests(requests, archive), send, "sent")


async def _work_on_all(
    requests: list[VideoRequest],
    work: Callable[[ClipOrder, str], Awaitable[BatchRow]],
    success: str,
) -> list[BatchRow]:
    """Do the work for every request and return its rows; an error becomes a row.

    `success` is the word for what the clips are when it has succeeded.
    """
    orders = [ClipOrder(request=request) for request in requests]
    _tell_price(orders)
    working = asyncio.Semaphore(CLIPS_AT_ONCE)

    async def make_row(number: int, order: ClipOrder) -> BatchRow:
        async with working:
            try:
                return await work(order, f"{number} {order.request.headline}")
            except Exception as error:
                # Whatever it is, it is this row's trouble and no other's.
                return BatchRow(clip_key=order.clip_key, trouble=in_words(error))

    numbers = range(1, len(orders) + 1)
    rows = list(await asyncio.gather(*map(make_row, numbers, orders)))
    await _report(orders, rows, success)
    return rows


def _tell_price(orders: Sequence[ClipOrder]) -> None:
    """Log how many clips there are and what they cost in dollars, before the first is sent."""
    quotes = [quote(order.request) for order in {each.clip_key: each for each in orders}.values()]
    run_logger().info(
        "%d requests, %d different clips: $%s, at most $%s, less what is archived or sent already",
        len(orders),
        len(quotes),
        sum((each.usd for each in quotes), Decimal(0)),
        sum((each.at_most_usd for each in quotes), Decimal(0)),
    )


async def _report(orders: Sequence[ClipOrder], rows: Sequence[BatchRow], success: str) -> None:
    """Log how many clips succeeded and write the batch's artifact, failures first.

    A very long batch is shown in part.
    """
    failures = [index for index, row in enumerate(rows) if row.trouble]
    successes = [index for index, row in enumerate(rows) if not row.trouble]
    summary = f"{len(successes)} of {len(rows)} clips are {success}"
    level = logging.INFO
    if failures:
        level = logging.WARNING
    run_logger().log(level, "%s, %d have trouble", summary, len(failures))

    cells = []
    for index in (failures + successes)[:MAX_ROWS_SHOWN]:
        headline = orders[index].request.headline
        price, where = _price_and_place(rows[index])
        cells.append([str(index + 1), headline, price, where])
    lines = [Markdown("**{}.**").format(summary), Markdown()]
    lines += [*table(("no.", "request", "price", "where"), cells), Markdown()]
    if len(rows) > MAX_ROWS_SHOWN:
        lines.append(Markdown("and {} more").format(len(rows) - MAX_ROWS_SHOWN))
    with log_view_errors():
        await write_page("batch", page(lines), summary)


def _price_and_place(row: BatchRow) -> tuple[str, str]:
    if row.clip is not None:
        return f"${row.clip.usd}", code(row.clip.uri)
    if row.trouble:
        return "", row.trouble
    return "", f"job `{row.job_id}`"
