"""`prefect-kling serve`: all deployments from one process."""

import asyncio

import httpx
import prefect
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from prefect_kling.deployments.catalogue import load_deployments, our_deployments
from prefect_kling.deployments.cli.signals import until_ended
from prefect_kling.deployments.cli.terminal import errors, say


class ServedByPool(RuntimeError):
    """The deployments belong to a work pool. Serving would take them from its workers."""


class ServerNotConfigured(RuntimeError):
    """No Prefect server is named. A temporary one would forget every run."""


def serve(*, at_once: int = 5, take_over: bool = False) -> None:
    """Serve every deployment of this package from this process until it is interrupted.

    No work pool is needed. Runs are processes of their own on this machine. What is
    deployed and how: see `deployments/prefect.yaml`.

    Args:
        at_once: How many runs may go on at the same time.
        take_over: Serve also deployments that belong to a work pool, which lose it.
    """
    if not PREFECT_API_URL.value():
        raise ServerNotConfigured(
            "no Prefect server is named; start one with `prefect server start`, "
            "and set PREFECT_API_URL"
        )
    if not take_over:
        asyncio.run(_require_no_pool())
    deployments = asyncio.run(load_deployments())
    say(f"registering {len(deployments)} deployments …")
    try:
        with until_ended():
            # By itself, Prefect would pause whatever has these names at the end.
            prefect.serve(*deployments, limit=at_once, pause_on_shutdown=False)
    finally:
        asyncio.run(_pause_served())


async def _require_no_pool() -> None:
    """Raise `ServedByPool` if any deployment of ours belongs to a work pool."""
    pools = {each.work_pool_name for each in await our_deployments() if each.work_pool_name}
    if pools:
        pool = sorted(pools)[0]
        raise ServedByPool(
            f"the deployments belong to the work pool {pool}, and serving would take them from its "
            f"workers; start a worker (`prefect worker start --pool {pool}`), or give --take-over"
        )


async def _pause_served() -> None:
    """Pause what nobody serves now, so that no late runs pile up; the next `serve` goes on.

    What has been deployed to a work pool meanwhile is left alone.
    """
    try:
        async with get_client() as client:
            for each in await our_deployments():
                if each.work_pool_name is None and not each.paused:
                    await client.pause_deployment(each.id)
    except (PrefectException, httpx.HTTPError) as error:
        say(f"the deployments could not be paused: {error}", to=errors)
        return
    say("The deployments are paused until they are served again.")
