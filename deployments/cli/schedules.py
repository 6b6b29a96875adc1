"""The schedules of a prefect.yaml, and what people did to those that are deployed.

Prefect's own `prefect deploy` replaces all schedules of a deployment by those of the file. Here
what people did stays: a schedule that was switched on is on, and one that was added is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import DeploymentSchedule

Described = dict[str, Any]
"""A prefect.yaml, as it is read."""
Deployed = Mapping[tuple[str, str], Sequence[DeploymentSchedule]]
"""Schedules by the entrypoint and the name of their deployment."""

_TIMES = ("cron", "interval", "rrule")


async def read_schedules(names: Sequence[str]) -> Deployed:
    """Return the schedules that deployments of these names have on the server."""
    chosen = DeploymentFilter(name=DeploymentFilterName(any_=list(names)))
    async with get_client() as client:
        deployments = await client.read_deployments(deployment_filter=chosen)
    return {(each.entrypoint or "", each.name): each.schedules for each in deployments}


def name_schedules(described: Described) -> None:
    """Give each schedule of the file a slug, which is how it is known again on the server."""
    for deployment in described["deployments"]:
        if deployment.get("schedules"):
            # Copies: YAML lets deployments share one.
            deployment["schedules"] = [
                {"slug": f"schedule-{number}", **schedule}
                for number, schedule in enumerate(deployment["schedules"], start=1)
            ]


def keep_schedules(described: Described, deployed: Deployed, *, as_edited: bool) -> None:
    """Keep what people did to schedules that are deployed.

    Args:
        described: What is about to be deployed; it is changed.
        deployed: What is deployed.
        as_edited: Whether times and parameters that were edited on the server count, too, and
            not those of the file.
    """
    for deployment in described["deployments"]:
        written = deployment.get("schedules") or []
        by_slug = {schedule["slug"]: schedule for schedule in written}
        place = (deployment.get("entrypoint", ""), deployment["name"])
        for schedule in deployed.get(place, ()):
            same = by_slug.get(schedule.slug)
            if same is None:
                # One with another slug was in an earlier file.
                if schedule.slug is None and not _has_times_of(schedule, written):
                    written.append(_as_written(schedule))
                continue
            if as_edited:
                same.clear()
                same.update(_as_written(schedule))
            elif schedule.active:
                same["active"] = True
        if written:
            deployment["schedules"] = written


def switch_on(described: Described, name: str) -> None:
    """Switch on the schedules of a deployment. Raises `KeyError` if it has none."""
    for schedule in with_schedules(described)[name]:
        schedule["active"] = True


def with_schedules(described: Described) -> dict[str, list[dict[str, Any]]]:
    """Return the schedules of each deployment that has some."""
    return {
        deployment["name"]: deployment["schedules"]
        for deployment in described["deployments"]
        if deployment.get("schedules")
    }


def are_on(schedules: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the schedules is on. As Prefect reads it: it is, unless it says otherwise."""
    return any(schedule.get("active", True) for schedule in schedules)


def in_words(schedule: Mapping[str, Any]) -> str:
    """Return a schedule of a file as a line: its name, when it runs, and whether it is on."""
    times = next(f"{schedule[field]}" for field in _TIMES if field in schedule)
    if "interval" in schedule:
        times = f"every {times} s"
    state = "off"
    if are_on([schedule]):
        state = "on"
    name = schedule.get("slug", "of somebody's own")
    return f"{name}: {times}, {schedule.get('timezone', 'UTC')}, {state}"


def _as_written(schedule: DeploymentSchedule) -> dict[str, Any]:
    written: dict[str, Any] = schedule.schedule.model_dump(mode="json", exclude_none=True)
    written["active"] = schedule.active
    if schedule.slug:
        written["slug"] = schedule.slug
    if schedule.parameters:
        written["parameters"] = schedule.parameters
    return written


def _has_times_of(schedule: DeploymentSchedule, written: Sequence[Mapping[str, Any]]) -> bool:
    mine = _as_written(schedule)
    return any(all(each.get(field) == mine.get(field) for field in _TIMES) for each in written)
