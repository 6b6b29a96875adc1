"""Many clips at once: made and waited for, or sent and left."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from pydantic import BaseModel, ConfigDict

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.job_limiter import Slots, sharing
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import Terms
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import RequestsGiven, prepare_requests, submit_video
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import cell, only_a_view, table

SHOWN = 500
WAVE = 500
"""Clips that are under way in one process at a time; Prefect's event queue loses task runs beyond a few thousand."""


class BatchRow(BaseModel):
    """What became of one request of a batch, in the order in which they were given."""

    model_config = ConfigDict(frozen=True)

    clip_key: str
    job_id: str | None = None
    clip: Clip | None = None
    trouble: str = ""


@flow(flow_run_name="batch", persist_result=False, on_failure=[name_missing_blocks])
async def generate_batch(
    requests: RequestsGiven, credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Make many clips and return a row for each; one clip's trouble is in its row and stops no other.

    **Costs the sum of the clips that are not archived yet**, equal requests once.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so on, or where one
            is: a link, or a path in the archive such as tables/mugs.csv. Programs may hand over `VideoRequest`s.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """

    async def make(order: ClipOrder, label: str) -> BatchRow:
        clip = await make_clip(order, credentials, archive, Terms(), label)
        return BatchRow(clip_key=order.clip_key, job_id=clip.job_id, clip=clip)

    with sharing(Slots(credentials.parallel_jobs)):
        return await _each(await prepare_requests(requests, archive), make, "archived")


@flow(flow_run_name="send a batch", persist_result=False, on_failure=[name_missing_blocks])
async def submit_batch(
    requests: RequestsGiven, credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Send many clips and end without waiting; the receiver or `collect_finished` archives them.

    **Costs the sum of the clips that were never sent**, equal requests once. Sending the same batch again sends what is
    missing.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so on, or where one
            is: a link, or a path in the archive such as tables/mugs.csv. Programs may hand over `VideoRequest`s.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """

    async def send(order: ClipOrder, label: str) -> BatchRow:
        kept = await in_thread(archive.get_archive().find, order.clip_key)
        if kept is not None:
            return BatchRow(clip_key=order.clip_key, job_id=kept.job_id, clip=kept)
        entry = await submit_video(order, credentials, archive, label)
        return BatchRow(clip_key=order.clip_key, job_id=entry.job_id)

    return await _each(await prepare_requests(requests, archive), send, "sent")


async def _each(
    requests: list[VideoRequest], work: Callable[[ClipOrder, str], Awaitable[BatchRow]], done: str
) -> list[BatchRow]:
    """Do the work for every request, a wave at a time; trouble becomes a row. `done` says what the clips are then."""
    orders = [ClipOrder(request=request) for request in requests]
    places = asyncio.Semaphore(WAVE)

    async def one(number: int, order: ClipOrder) -> BatchRow:
        async with places:
            try:
                return await work(order, f"{number} {order.request.headline}")
            except (KlingError, StudioError) as error:
                return BatchRow(clip_key=order.clip_key, trouble=str(error))

    rows = list(
        await asyncio.gather(*(one(number, order) for number, order in enumerate(orders, 1)))
    )
    await _show(orders, rows, done)
    return rows


async def _show(orders: Sequence[ClipOrder], rows: Sequence[BatchRow], done: str) -> None:
    """Leave a page under the run, troubles first; a very long batch is shown in part."""
    troubled = sum(bool(row.trouble) for row in rows)
    told = f"{len(rows) - troubled} of {len(rows)} clips are {done}"
    run_logger().log(30 if troubled else 20, "%s, %d have trouble", told, troubled)
    numbers = sorted(range(len(rows)), key=lambda number: not rows[number].trouble)
    lines = [
        [str(number + 1), cell(orders[number].request.headline), *_in_words(rows[number])]
        for number in numbers[:SHOWN]
    ]
    left_out = [f"and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    page = [f"**{told}.**", "", *table(("no.", "request", "price", "where"), lines), "", *left_out]
    with only_a_view():
        await acreate_markdown_artifact(key="batch", markdown="\n".join(page), description=told)


def _in_words(row: BatchRow) -> tuple[str, str]:
    if row.clip is not None:
        return f"${row.clip.usd}", f"`{row.clip.uri}`"
    return "", cell(row.trouble) or f"job `{row.job_id}`"
