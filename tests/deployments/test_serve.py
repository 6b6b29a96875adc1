"""Serving beside a work pool: it is refused, and what belongs to the pool is never paused."""

import secrets
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from prefect_kling.deployments.catalogue import load_deployments
from prefect_kling.deployments.cli.serve import ServedByPool, _pause_served, _require_no_pool
from tests.deployed import forget_deployments

pytestmark = pytest.mark.usefixtures("prefect_ui")


@pytest.fixture
async def nothing_deployed(prefect_ui: str) -> AsyncIterator[None]:
    """None of our deployments on the server, as another file's tests may have left them."""
    await forget_deployments()
    yield
    await forget_deployments()


async def deploy(name: str, pool: str | None) -> UUID:
    """Deploy one of ours, to a work pool if one is given."""
    made = next(each for each in await load_deployments() if each.name == name)
    made.work_pool_name = pool
    return await made.aapply()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_deployed")
async def test_serving_leaves_a_work_pools_deployments_alone() -> None:
    """It says which pool has them; and what it pauses at its end is only what it has served."""
    pool = f"production-{secrets.token_hex(4)}"
    async with get_client() as api:
        await api.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    served = await deploy("report", None)
    await _require_no_pool()

    pooled = await deploy("collect-finished", pool)
    with pytest.raises(ServedByPool, match=f"prefect worker start --pool {pool}"):
        await _require_no_pool()
    await _pause_served()
    async with get_client() as api:
        assert (await api.read_deployment(served)).paused
        assert not (await api.read_deployment(pooled)).paused

    # Served again, it goes on.
    await deploy("report", None)
    async with get_client() as api:
        assert not (await api.read_deployment(served)).paused
        await api.delete_work_pool(pool)
