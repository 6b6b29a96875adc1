"""The benchmark itself works: `make bench` measures it."""

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.sandbox import Sandbox
from tests.bench.contenders import CONTENDERS, Place, requests_of


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENDERS)
async def test_each_way_makes_its_clips(
    name: str,
    sandbox: Sandbox,
    s3: LocalS3,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
) -> None:
    """One job for each clip, and each is told with its time."""
    place = Place(
        sandbox.base_url,
        sandbox.key,
        s3.client(),
        BUCKET,
        f"{name}-bench",
        credentials,
        archive_block,
    )
    _, work = CONTENDERS[name]
    made = len(sandbox.jobs())
    kept = await work(requests_of(2, (0, 0)), place)
    assert len({each.job_id for each in kept}) == 2
    assert len(sandbox.jobs()) == made + 2
