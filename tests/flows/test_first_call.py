"""The first call: a clip without `await`, a flow, or a block in hand."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import generate_clip_sync
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive

SCRIPT = """
from prefect_kling import generate_clip_sync

clip = generate_clip_sync("A lamp is lit", duration=3)
print(clip.uri, clip.usd)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("default_blocks")
def test_where_an_event_loop_runs_as_in_a_notebook(archive: Archive, sandbox: Sandbox) -> None:
    """The blocks named default are used; the same call again brings the same clip."""
    created = sandbox.stats()["created"]

    async def cell() -> str:
        return generate_clip_sync(f"A lamp {archive.bucket.prefix}", duration=3).uri

    first = asyncio.run(cell())
    assert first.startswith(archive.bucket.uri("clips/"))
    assert asyncio.run(cell()) == first
    assert sandbox.stats()["created"] == created + 1


@pytest.mark.usefixtures("prefect_ui")
def test_without_blocks_the_environment_counts(
    sandbox: Sandbox, s3: LocalS3, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the API as well: who practises does not reach the real one."""
    with pytest.raises(BlockMissing, match="APIMODELS_API_KEY is not set"):
        generate_clip_sync("A lamp", duration=3)
    for name, value in surroundings(sandbox, s3, archive).items():
        monkeypatch.setenv(name, value)
    clip = generate_clip_sync(f"A door {archive.bucket.prefix}", duration=3, sound="on")
    assert archive.find(clip.clip_key) is not None
    assert clip.order.request.sound == "on"


def surroundings(sandbox: Sandbox, s3: LocalS3, archive: Archive) -> dict[str, str]:
    """The environment as `prefect-kling sandbox --store` prints it."""
    return {
        "APIMODELS_API_KEY": sandbox.key,
        "APIMODELS_BASE_URL": sandbox.base_url,
        "KLING_BUCKET": BUCKET,
        "KLING_PREFIX": archive.bucket.prefix.strip("/"),
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_REGION": "us-east-1",
    }


@pytest.mark.slow
def test_a_script_needs_no_prefect_server(
    sandbox: Sandbox, s3: LocalS3, archive: Archive, tmp_path: Path
) -> None:
    """Prefect starts a temporary one; the environment says the rest, and what is paid is told."""
    own = surroundings(sandbox, s3, archive) | {"PREFECT_HOME": str(tmp_path)}
    created = sandbox.stats()["created"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(archive.bucket.uri("clips/"))
    assert done.stdout.strip().endswith("0.1899")
    assert sandbox.stats()["created"] == created + 1


async def test_what_is_given_counts(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """A whole request takes no further fields: they would be dropped."""
    request = VideoRequest(model="kling-v3-omni", prompt="A lamp")
    with pytest.raises(TypeError, match="put duration into it"):
        generate_clip_sync(request, credentials=credentials, archive=archive_block, duration=3)
