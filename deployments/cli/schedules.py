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
SchedulesOnServer = Mapping[tuple[str, str], Sequence[DeploymentSchedule]]
"""Schedules by the entrypoint and the name of their deployment."""


async def read_schedules(names: Sequence[str]) -> SchedulesOnServer:
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


def keep_schedules(described: Described, deployed: SchedulesOnServer, *, as_edited: bool) -> None:
    """Keep what people did to schedules that are deployed.

    Args:
        described: What is about to be deployed; it is changed.
        deployed: What is deployed.
        as_edited: Whether times and parameters that were edited on the server count, too, and
            not those of the file.
    """
    for deployment in described["deployments"]:
        written = deployment.get("schedules") or []
        added = []
        place = (deployment.get("entrypoint", ""), deployment["name"])
        for schedule in deployed.get(place, ()):
            same = _find(schedule, written)
            if same is None:
                # A slug that the file lacks is from an earlier file: such a schedule goes.
                if schedule.slug is None:
                    added.append(_as_written(schedule))
            elif as_edited:
                slug = same["slug"]
                same.clear()
                same.update(_as_written(schedule), slug=slug)
            elif schedule.active:
                same["active"] = True
        if written or added:
            deployment["schedules"] = [*written, *added]


def _find(schedule: DeploymentSchedule, written: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the schedule of the file that is this one: by its slug, else by all that it says.

    Prefect itself deploys a schedule without a slug from a file that gives it none.
    """
    for each in written:
        if schedule.slug == each["slug"]:
            return each
        if schedule.slug is None and _times_of(each) == _times_of(_as_written(schedule)):
            return each
    return None


def _times_of(written: Mapping[str, Any]) -> list[object]:
    """Return when a schedule of a file runs, and with which parameters."""
    interval = written.get("interval")
    if isinstance(interval, int | float):
        interval = float(interval)
    zone = written.get("timezone") or "UTC"
    times = [written.get("cron"), interval, written.get("rrule"), zone]
    return [*times, written.get("parameters") or {}]


def switch_on(schedules: Iterable[dict[str, Any]]) -> None:
    """Switch on the schedules that the file has of a deployment; others are people's own."""
    for schedule in schedules:
        if "slug" in schedule:
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


def describe(schedule: Mapping[str, Any]) -> str:
    """Return a schedule of a file as a line: its name, when it runs, and whether it is on."""
    times = schedule.get("cron") or schedule.get("rrule")
    if "interval" in schedule:
        times = f"every {schedule['interval']} s"
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
