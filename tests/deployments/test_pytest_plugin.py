"""Users test their own flows with the fixtures that the package brings to pytest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OWN_TEST = """
from prefect_kling import generate_clip_sync


def test_my_clip(kling_credentials, kling_archive, kling_sandbox):
    own = {"credentials": kling_credentials, "archive": kling_archive}
    clip = generate_clip_sync("A lamp", duration=3, **own)
    assert clip.uri.startswith("s3://")
    assert generate_clip_sync("A lamp", duration=3, **own).uri == clip.uri
    assert kling_sandbox.stats()["created"] == 1


def test_the_archive_is_empty_again(kling_archive):
    assert list(kling_archive.get_archive().ledger.all_keys()) == []
"""
OWN_FLOW = """
import asyncio

import pytest
from prefect import flow
from prefect_kling import KlingArchive, KlingCredentials, VideoRequest, generate_clip
from prefect_kling.kling.errors import JobFailed


@flow
async def teaser(product: str) -> str:
    credentials = await KlingCredentials.aload("default")
    archive = await KlingArchive.aload("default")
    request = VideoRequest(model="kling-v3-omni", prompt=product, duration=3)
    return (await generate_clip(request, credentials, archive)).uri


def test_a_teaser_is_made(kling_blocks):
    assert asyncio.run(teaser("A lamp")).endswith(".mp4")


def test_a_refused_prompt_is_told(kling_blocks, kling_sandbox):
    with pytest.raises(JobFailed):
        asyncio.run(teaser("[fail:CONTENT_MODERATION] A sword"))
    assert str(kling_sandbox.stats()["paid_usd"]) == "0.1899"
"""
UNUSED = """
import sys


def test_nothing_was_imported():
    assert not {"prefect", "boto3", "pydantic", "httpx", "av"} & set(sys.modules)
"""


def run_pytest(folder: Path, test: str, **environment: str) -> None:
    """Run a user's test in a folder of its own, as an installed pytest does."""
    (folder / "test_own.py").write_text(test)
    surroundings = {"PREFECT_HOME": str(folder / "home"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    # Plugins of this environment that import much of their own.
    words = ("-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:asyncio", "-p", "no:xdist")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, str(folder)],
        env=os.environ | surroundings | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_clip_is_made_and_paid_once(tmp_path: Path, prefect_ui: str) -> None:
    """Against the Prefect server that is there; each test has an archive of its own."""
    run_pytest(tmp_path, OWN_TEST, PREFECT_API_URL=f"{prefect_ui}/api")


@pytest.mark.slow
def test_a_flow_that_loads_its_blocks_is_tested_with_one_fixture(tmp_path: Path) -> None:
    """API, store and Prefect server are all brought along."""
    run_pytest(tmp_path, OWN_FLOW)


def test_a_pytest_that_uses_no_fixture_imports_nothing(tmp_path: Path) -> None:
    """Where the package is only installed, it costs nothing."""
    run_pytest(tmp_path, UNUSED)
