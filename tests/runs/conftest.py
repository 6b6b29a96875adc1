"""Deployments that are served, and a client of the Prefect server."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient, get_client

from prefect_kling.deployments.local.processes import running
from tests.deployed import forget_deployments


@pytest.fixture(scope="module")
def served(prefect_ui: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All deployments, served by a process of their own."""
    command = [str(Path(sys.executable).parent / "prefect-kling"), "serve", "--take-over"]
    surroundings = os.environ | {
        "PREFECT_API_URL": f"{prefect_ui}/api",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    log = tmp_path_factory.mktemp("served") / "log"
    with running(command, surroundings, log, lambda: "collect-finished/" in log.read_text()):
        yield
    asyncio.run(forget_deployments())


@pytest.fixture
async def api(prefect_ui: str) -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server."""
    async with get_client() as api:
        yield api
