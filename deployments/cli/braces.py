"""Braces in the parameters of a prefect.yaml: `{{product}}` is a variable of a storyboard.

Prefect would take it for a placeholder of its own, put the environment variable of that name in
its place, or nothing. A storyboard would be deployed, made and paid without the word. So what is
handed to Prefect has a placeholder for the braces themselves, which a build step fills in.
"""

import re
from typing import Any

from prefect_kling.deployments.cli.schedules import Described

_STEP = "prefect_kling.deployments.cli.braces.give_braces"
_ID = "kling_braces"
# What has a dot or a dollar sign is meant for Prefect: `prefect.variables.x`, `$HOME`.
_VARIABLE = re.compile(r"\{\{(?=\s*[\w-]+\s*\}\})")


def give_braces() -> dict[str, str]:
    """Return what the placeholder for opening braces stands for. A build step of Prefect's."""
    return {"opening": "{{"}


def keep_variables(described: Described) -> None:
    """Change a prefect.yaml so that variables in its parameters are deployed as they stand."""
    for deployment in described["deployments"]:
        parts = [deployment, *(deployment.get("schedules") or ())]
        have_changed = [_change_parameters(part) for part in parts]
        if any(have_changed):
            steps = deployment.get("build") or described.get("build") or []
            deployment["build"] = [*steps, {_STEP: {"id": _ID}}]


def _change_parameters(part: dict[str, Any]) -> bool:
    """Return whether there was a variable in the parameters of a deployment or a schedule."""
    parameters = part.get("parameters")
    changed = _with_placeholders(parameters)
    if changed == parameters:
        return False
    part["parameters"] = changed
    return True


def _with_placeholders(value: Any) -> Any:
    """Return a value of parameters with placeholders in front of its variables."""
    if isinstance(value, str):
        return _VARIABLE.sub(f"{{{{ {_ID}.opening }}}}", value)
    if isinstance(value, list):
        return [_with_placeholders(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_placeholders(each) for name, each in value.items()}
    return value
