"""The deployments of `prefect.yaml`, for one process that serves them all without a work pool."""

from importlib import import_module
from importlib.resources import files
from typing import Any

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.types.entrypoint import EntrypointType

# What `prefect deploy` knows and `Flow.to_deployment` takes under the same name.
SHARED = ("name", "description", "tags", "parameters")


def described() -> list[dict[str, Any]]:
    """Return the deployments as `prefect.yaml` describes them."""
    text = (files("prefect_kling.deployments") / "prefect.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)["deployments"]
    return found


def flow_at(entrypoint: str) -> Flow[..., Any]:
    """Import the flow a module entrypoint names."""
    module, _, name = entrypoint.rpartition(".")
    found: Flow[..., Any] = getattr(import_module(module), name)
    return found


async def runnable() -> list[RunnerDeployment]:
    """Return the deployments ready to be served. Nothing is sent to the Prefect server yet."""
    return [
        await flow_at(each["entrypoint"]).ato_deployment(
            entrypoint_type=EntrypointType.MODULE_PATH,
            schedules=[_schedule(one) for one in each.get("schedules", ())],
            concurrency_limit=_limit(each.get("concurrency_limit")),
            **{name: each[name] for name in SHARED if name in each},
        )
        for each in described()
    ]


def _schedule(one: dict[str, Any]) -> DeploymentScheduleCreate:
    rest = {name: one[name] for name in ("active", "slug", "parameters") if name in one}
    return DeploymentScheduleCreate(schedule=CronSchedule(cron=one["cron"]), **rest)


def _limit(given: "int | dict[str, Any] | None") -> int | ConcurrencyLimitConfig | None:
    return ConcurrencyLimitConfig.model_validate(given) if isinstance(given, dict) else given
