"""A batch over several flow runs, in processes of their own, one of which is shot."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Running

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch
from prefect_kling.runs.batch_chunks import _Chunk, _is_heard, _until_ended, heartbeat
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.results import RowState
from prefect_kling.studio.errors import BatchNotSpread
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.tasks import prepare_batch

ROWS = 4
CHUNKS = DeploymentFilter(name=DeploymentFilterName(any_=["batch-chunk"]))
ENOUGH_SECONDS = 120.0


def table(archive: Archive, rows: int = ROWS) -> str:
    """A table with an id for each row, whose clips take some seconds."""
    tag = archive.bucket.prefix.strip("/")
    lines = ["id,prompt,duration"]
    lines += [f"SKU-{number},mug {number} {tag} [seconds:8],3" for number in range(1, rows + 1)]
    return "\n".join(lines)


@pytest.mark.slow
async def test_the_rows_of_a_run_that_is_shot_are_made_by_another(
    served: None,
    api: PrefectClient,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Every row is archived and paid once, and has its line in one table of results."""
    name = archive.bucket.prefix.strip("/")
    await credentials.asave(name, overwrite=True)
    await archive_block.asave(name, overwrite=True)
    shooting = asyncio.create_task(shoot_one(api, archive))
    result = await generate_batch(table(archive), credentials, archive_block, workers=2)
    await shooting
    assert result.counts == {RowState.ARCHIVED: ROWS}
    assert [row.given["id"] for row in result.read_rows(archive)] == [
        f"SKU-{number}" for number in range(1, ROWS + 1)
    ]
    prompts = [job["body"]["prompt"] for job in sandbox.jobs()]
    made = Counter(prompt for prompt in prompts if name in prompt)
    assert sorted(made.values()) == [1] * ROWS
    runs = await chunk_runs(api)
    assert Counter(run.state_type for run in runs) == {
        StateType.COMPLETED: 2,
        StateType.CRASHED: 1,
    }


async def shoot_one(api: PrefectClient, archive: Archive) -> None:
    """Shoot the process of a running chunk when all clips are sent and none is archived."""
    async with asyncio.timeout(ENOUGH_SECONDS):
        while states(archive) != [EntryState.SUBMITTED] * ROWS:
            await asyncio.sleep(0.2)
        running, *_ = await chunk_runs(api, StateType.RUNNING)
        for process in processes_of(running.id):
            os.kill(process, signal.SIGKILL)


def states(archive: Archive) -> list[EntryState]:
    """The states of all records."""
    found = []
    for key in archive.ledger.all_keys():
        version = archive.ledger.read(key)
        if version is not None:
            found.append(version.entry.state)
    return found


async def chunk_runs(api: PrefectClient, state: StateType | None = None) -> list[FlowRun]:
    """The runs of the deployment batch-chunk, or those in a state."""
    only = None
    if state is not None:
        only = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state])))
    return await api.read_flow_runs(deployment_filter=CHUNKS, flow_run_filter=only)


def processes_of(run: UUID) -> Iterator[int]:
    """The processes that work on a flow run."""
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark in environment:
            yield int(folder.name)


@flow
def do_nothing() -> None:
    """A flow whose runs are only looked at."""


@pytest.mark.parametrize(("state", "told"), [(Running(), None), (Cancelled(), StateType.CANCELLED)])
async def test_a_run_is_dead_when_it_says_that_it_runs_and_is_silent(
    state: "State[None]",
    told: StateType | None,
    api: PrefectClient,
    archive_block: KlingArchive,
    archive: Archive,
) -> None:
    """One that has ended is told with its end."""
    plan = await prepare_batch(table(archive, 1), archive_block)
    run = await api.create_flow_run(do_nothing, state=state)
    ended = await _until_ended(run, _Chunk(1, 1), plan, archive.bucket, dead_after_seconds=0.5)
    assert (ended and ended.type) == told


async def test_a_run_is_heard_while_it_works(
    prefect_ui: str, archive_block: KlingArchive, archive: Archive
) -> None:
    """Its heartbeat is an object in the bucket, whose age the store tells."""
    plan = await prepare_batch(table(archive, 1), archive_block)
    chunk = _Chunk(1, 1)
    assert not _is_heard(chunk, plan, archive.bucket)
    async with heartbeat(plan, archive.bucket), asyncio.timeout(ENOUGH_SECONDS):
        while not _is_heard(chunk, plan, archive.bucket):
            await asyncio.sleep(0.05)


async def test_a_batch_is_spread_with_stored_blocks_only(
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Other runs load them by name; nothing is sent otherwise, and no secret is in a parameter."""
    made = len(sandbox.jobs())
    with pytest.raises(BatchNotSpread, match="stored in Prefect"):
        await generate_batch(table(archive), credentials, archive_block, workers=2)
    assert len(sandbox.jobs()) == made
