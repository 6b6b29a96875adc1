"""What is deployed on the test's Prefect server, which all files of a test process share."""

from contextlib import suppress

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound


async def forget_deployments() -> None:
    """Delete every deployment. A file of tests that deploys does this at its end."""
    async with get_client() as api:
        while found := await api.read_deployments():
            for each in found:
                with suppress(ObjectNotFound):
                    await api.delete_deployment(each.id)
