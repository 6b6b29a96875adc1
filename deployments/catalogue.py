"""The deployments of `prefect.yaml`, for one process that serves them without a work pool."""

from importlib import import_module
from importlib.resources import files
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.types.entrypoint import EntrypointType

# Fields that `prefect.yaml` and `Flow.to_deployment` name alike.
SHARED_FIELDS = ("name", "description", "tags", "parameters")
SCHEDULE_FIELDS = ("active", "slug", "parameters")


def read_deployments() -> list[dict[str, Any]]:
    """Return the deployments as `prefect.yaml` describes them."""
    text = (files("prefect_kling.deployments") / "prefect.yaml").read_text(encoding="utf-8")
    deployments: list[dict[str, Any]] = yaml.safe_load(text)["deployments"]
    return deployments


def import_flow(entrypoint: str) -> Flow[..., Any]:
    """Import the flow that a module entrypoint names."""
    module, _, name = entrypoint.rpartition(".")
    found: Flow[..., Any] = getattr(import_module(module), name)
    return found


async def load_deployments() -> list[RunnerDeployment]:
    """Return the deployments ready to be served. Nothing is sent to the Prefect server yet."""
    loaded = []
    for description in read_deployments():
        flow = import_flow(description["entrypoint"])
        deployment = await flow.ato_deployment(
            entrypoint_type=EntrypointType.MODULE_PATH,
            schedules=[_schedule(each) for each in description.get("schedules", ())],
            concurrency_limit=_concurrency_limit(description.get("concurrency_limit")),
            **_select(description, SHARED_FIELDS),
        )
        loaded.append(deployment)
    return loaded


async def our_deployments() -> list[DeploymentResponse]:
    """Return the deployments of this package that the Prefect server has, in this order."""
    found = []
    async with get_client() as client:
        for each in read_deployments():
            name = f"{import_flow(each['entrypoint']).name}/{each['name']}"
            try:
                found.append(await client.read_deployment_by_name(name))
            except ObjectNotFound:
                continue
    return found


def _schedule(description: dict[str, Any]) -> DeploymentScheduleCreate:
    cron = CronSchedule(cron=description["cron"])
    return DeploymentScheduleCreate(schedule=cron, **_select(description, SCHEDULE_FIELDS))


def _concurrency_limit(
    description: "int | dict[str, Any] | None",
) -> int | ConcurrencyLimitConfig | None:
    if isinstance(description, dict):
        return ConcurrencyLimitConfig.model_validate(description)
    return description


def _select(description: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of the named fields that are given: an absent field keeps Prefect's default."""
    return {name: description[name] for name in names if name in description}
