"""`prefect-kling serve`: all deployments from one process."""

import asyncio

import prefect
from prefect.settings import PREFECT_API_URL

from prefect_kling.deployments.catalogue import load_deployments
from prefect_kling.deployments.cli.signals import until_ended
from prefect_kling.deployments.cli.terminal import say


class ServerNotConfigured(RuntimeError):
    """No Prefect server is named. A temporary one would forget every run."""


def serve(*, at_once: int = 5) -> None:
    """Serve every deployment of this package from this process until it is interrupted.

    No work pool is needed. Runs are processes of their own on this machine. What is
    deployed and how: see `deployments/prefect.yaml`.

    Args:
        at_once: How many runs may go on at the same time.
    """
    if not PREFECT_API_URL.value():
        raise ServerNotConfigured(
            "no Prefect server is named; start one with `prefect server start`, "
            "and set PREFECT_API_URL"
        )
    deployments = asyncio.run(load_deployments())
    say(f"registering {len(deployments)} deployments …")
    with until_ended():
        prefect.serve(*deployments, limit=at_once)
