"""Many clips at once: made and waited for, or sent and left."""

import asyncio
from collections.abc import Awaitable, Callable

from prefect import flow
from pydantic import BaseModel, ConfigDict

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.flows.slots import Slots, sharing
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.orders import ClipOrder
from prefect_kling.studio.submission import Terms
from prefect_kling.tasks import submit_video

WAVE = 500
"""Clips that are under way in one process at a time; Prefect's event queue loses task runs beyond a few thousand."""


class BatchRow(BaseModel):
    """What became of one request of a batch, in the order in which they were given."""

    model_config = ConfigDict(frozen=True)

    clip_key: str
    job_id: str | None = None
    clip: Clip | None = None
    trouble: str = ""


@flow(flow_run_name="batch", persist_result=False)
async def generate_batch(
    requests: list[VideoRequest], credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Make many clips and return a row for each; one clip's trouble is in its row and stops no other.

    **Costs the sum of the clips that are not archived yet**, equal requests once.

    Args:
        requests: What to make.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """

    async def make(order: ClipOrder, label: str) -> BatchRow:
        clip = await make_clip(order, credentials, archive, Terms(), label)
        return BatchRow(clip_key=order.clip_key, job_id=clip.job_id, clip=clip)

    with sharing(Slots(credentials.parallel_jobs)):
        return await _each(requests, make)


@flow(flow_run_name="send a batch", persist_result=False)
async def submit_batch(
    requests: list[VideoRequest], credentials: KlingCredentials, archive: KlingArchive
) -> list[BatchRow]:
    """Send many clips and end without waiting; the receiver or `collect_finished` archives them.

    **Costs the sum of the clips that were never sent**, equal requests once. Sending the same batch again sends what is
    missing.

    Args:
        requests: What to make.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
    """

    async def send(order: ClipOrder, label: str) -> BatchRow:
        entry = await submit_video(order, credentials, archive, label)
        return BatchRow(clip_key=order.clip_key, job_id=entry.job_id)

    return await _each(requests, send)


async def _each(requests: list[VideoRequest], work: Callable[[ClipOrder, str], Awaitable[BatchRow]]) -> list[BatchRow]:
    """Do the work for every request, a wave at a time; trouble becomes a row."""
    orders = [ClipOrder(request=request) for request in requests]
    places = asyncio.Semaphore(WAVE)

    async def one(number: int, order: ClipOrder) -> BatchRow:
        async with places:
            try:
                return await work(order, f"{number} {order.request.headline}")
            except (KlingError, StudioError) as error:
                return BatchRow(clip_key=order.clip_key, trouble=str(error))

    return list(await asyncio.gather(*(one(number, order) for number, order in enumerate(orders, 1))))
