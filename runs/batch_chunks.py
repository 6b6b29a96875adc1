"""Spread a frozen table over flow runs of a deployment: Prefect's workers are the engine.

Each chunk of rows is a run of the deployment `batch-chunk`. A run that has died is followed by
another one of the same rows. Whatever two of them do at the same time, the ledger pays each clip
once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Cancelled

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.prefect_busy import attempts_while_prefect_is_busy
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.batch.frozen import BatchPlan
from prefect_kling.studio.batch.results import merge_results
from prefect_kling.studio.errors import BatchNotSpread, StudioError
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.concurrency import in_thread, uninterrupted
from prefect_kling.telemetry.batch_page import BatchPage
from prefect_kling.telemetry.logs import run_logger

DEPLOYMENT = "batch-chunk/batch-chunk"
ROWS_OF_A_CHUNK = 500
MOST_TRIES = 5
HEARTBEAT_SECONDS = 20.0
DEAD_AFTER_SECONDS = 120.0
"""How long a running chunk may be silent before another run takes its rows."""
STARTING_SECONDS = 600.0
"""How long a run may take from a worker's claim to its first sign: images are pulled meanwhile."""
_WITHDRAWN = "the batch that started this run was stopped before a worker took it"
_POLL_SECONDS = 3.0
_BUSY_TRIES = 20
_MERGE_SECONDS = 30.0
_MERGE_SHARE = 20


@dataclass(frozen=True)
class _Chunk:
    """Rows that one run works on."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"rows {self.first} to {self.last}"


def _chunks(plan: BatchPlan, workers: int) -> Iterator[_Chunk]:
    size = min(ROWS_OF_A_CHUNK, -(-plan.rows // workers))
    for first in range(plan.first, plan.last + 1, size):
        yield _Chunk(first, min(first + size - 1, plan.last))


async def spread(
    plan: BatchPlan,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending,
    workers: int,
    page: BatchPage,
) -> None:
    """Have the rows of a plan made by runs of the deployment, so many at a time.

    **Costs what the clips cost.** Safe to repeat: a parent that is begun again finds the runs that
    it started. Raises `BatchNotSpread` where there is no such deployment, or a block is not stored.
    """
    parameters = {
        "table": plan.table.id,
        "credentials": _reference(credentials, "credentials"),
        "archive": _reference(archive, "archive"),
        "spending": spending.model_dump(mode="json"),
    }
    places = asyncio.Semaphore(workers)
    bucket = archive.get_archive().bucket
    started: list[FlowRun] = []

    async def make(chunk: _Chunk) -> None:
        async with places:
            await _make(chunk, plan, parameters, bucket, started)

    try:
        async with _merged_now_and_then(plan, archive, page):
            await asyncio.gather(*map(make, _chunks(plan, workers)))
    except asyncio.CancelledError:
        await uninterrupted(_withdraw(started))
        raise


async def _withdraw(runs: Sequence[FlowRun]) -> None:
    """Cancel the runs that no worker has taken yet: it would pay for rows nobody waits for."""
    async with get_client() as client:
        for run in runs:
            state = (await client.read_flow_run(run.id)).state
            if state is not None and state.is_scheduled():
                await client.set_flow_run_state(run.id, Cancelled(message=_WITHDRAWN))


def _reference(block: Block, name: str) -> dict[str, Any]:
    """Return a reference to a stored block: its values, and so its secrets, stay where they are."""
    block_id = block._block_document_id  # noqa: SLF001  Prefect has no other way to ask
    if block_id is None:
        raise BatchNotSpread(
            f"{name} must be a block that is stored in Prefect: other runs load it"
        )
    return {"$ref": {"block_document_id": str(block_id)}}


async def _make(
    chunk: _Chunk,
    plan: BatchPlan,
    parameters: dict[str, Any],
    bucket: Bucket,
    started: list[FlowRun],
) -> None:
    """Run a chunk until one of its runs has completed. Some tries may die."""
    log = run_logger()
    for number in range(1, MOST_TRIES + 1):
        run = await _start(chunk, plan, parameters, number)
        started.append(run)
        ended = await _until_ended(run, chunk, plan, bucket)
        if ended is None:
            log.warning("%s: the run %s has been silent for long, try %d", chunk, run.name, number)
            continue
        if ended.is_completed():
            return
        if ended.is_cancelled() and ended.message != _WITHDRAWN:
            log.warning("%s: somebody cancelled the run; it is not started again", chunk)
            return
        log.warning(
            "%s: the run %s has died (%s), try %d", chunk, run.name, ended.type.value, number
        )
    log.error("%s: %d runs have died; run the batch again", chunk, MOST_TRIES)


async def _start(
    chunk: _Chunk, plan: BatchPlan, parameters: dict[str, Any], number: int
) -> FlowRun:
    # The try is part of the key: the same key would give the dead run back.
    key = f"{plan.table.id}.{chunk.first}-{chunk.last}.{flow_run.id}.{number}"
    try:
        async for attempt in attempts_while_prefect_is_busy(_BUSY_TRIES):
            with attempt:
                run = await arun_deployment(
                    DEPLOYMENT,
                    parameters=parameters | {"first": chunk.first, "last": chunk.last},
                    flow_run_name=f"{plan.table.name}, {chunk}",
                    idempotency_key=key,
                    timeout=0,
                )
        return run
    except ObjectNotFound:
        raise BatchNotSpread(
            f"there is no deployment {DEPLOYMENT} on this Prefect server"
        ) from None


async def _until_ended(
    run: FlowRun,
    chunk: _Chunk,
    plan: BatchPlan,
    bucket: Bucket,
    dead_after_seconds: float = DEAD_AFTER_SECONDS,
) -> "State[Any] | None":
    """Return how a run ended; None if it says that it runs, and nothing has been heard of it."""
    silent_since = time.monotonic()
    async with get_client() as client:
        while True:
            async for attempt in attempts_while_prefect_is_busy(_BUSY_TRIES):
                with attempt:
                    state = (await client.read_flow_run(run.id)).state
            if state is not None and state.is_final():
                return state
            patience = dead_after_seconds
            if state is not None and state.is_pending():
                patience = STARTING_SECONDS
            is_waiting = state is None or state.is_scheduled()
            if is_waiting or await in_thread(_is_heard, chunk, plan, bucket):
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > patience:
                return None
            await asyncio.sleep(_POLL_SECONDS)


def _is_heard(chunk: _Chunk, plan: BatchPlan, bucket: Bucket) -> bool:
    path = layout.chunk_heartbeat(plan.table.id, chunk.first)
    ages = [age for name, age in bucket.ages(path) if name == path]
    return bool(ages) and ages[0] < DEAD_AFTER_SECONDS


@asynccontextmanager
async def heartbeat(plan: BatchPlan, bucket: Bucket) -> AsyncIterator[None]:
    """Let others see, until the block ends, that this process works on the rows of a plan."""
    beating = asyncio.create_task(_beat(layout.chunk_heartbeat(plan.table.id, plan.first), bucket))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def _beat(path: str, bucket: Bucket) -> None:
    while True:
        try:
            await in_thread(bucket.put, path, b"", "text/plain")
        except StudioError as error:
            run_logger().warning("this run could not show that it is alive: %s", error)
        await asyncio.sleep(HEARTBEAT_SECONDS)


@asynccontextmanager
async def _merged_now_and_then(
    plan: BatchPlan, archive: KlingArchive, page: BatchPage
) -> AsyncIterator[None]:
    """Merge what all chunks have written, and show it, until the block ends."""

    async def merge_on() -> None:
        pause = _MERGE_SECONDS
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            try:
                result = await in_thread(merge_results, plan.table, archive.get_archive())
            except StudioError as error:
                run_logger().warning("results could not be merged: %s", error)
            else:
                await page.show_result(result, archive)
            pause = max(_MERGE_SECONDS, _MERGE_SHARE * (time.monotonic() - begun))

    merging = asyncio.create_task(merge_on())
    try:
        yield
    finally:
        merging.cancel()
        await asyncio.gather(merging, return_exceptions=True)
