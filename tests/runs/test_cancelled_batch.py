"""A batch over several runs that somebody cancels."""

import asyncio

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import StateType

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch
from prefect_kling.flows.batch import make_batch_chunk
from prefect_kling.runs import batch_chunks
from prefect_kling.studio.money.archive import Archive


async def test_chunks_of_a_cancelled_batch_are_not_made_later(
    prefect_ui: str,
    api: PrefectClient,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They wait for a worker, which would pay for them when it comes."""
    name = archive.bucket.prefix.strip("/")
    await (await make_batch_chunk.ato_deployment(name)).aapply()
    monkeypatch.setattr(batch_chunks, "DEPLOYMENT", f"batch-chunk/{name}")
    await credentials.asave(name, overwrite=True)
    await archive_block.asave(name, overwrite=True)
    text = f"prompt,duration\nA mug {name},3\nA jug {name},3\n"
    chunks = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    running = asyncio.create_task(generate_batch(text, credentials, archive_block, workers=2))
    async with asyncio.timeout(60):
        while len(await api.read_flow_runs(deployment_filter=chunks)) < 2:
            await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    runs = await api.read_flow_runs(deployment_filter=chunks)
    stopped = {StateType.CANCELLED, StateType.CANCELLING}
    assert {run.state_type for run in runs} <= stopped
