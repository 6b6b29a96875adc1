"""Blocks, flows, tasks and deployments."""

import inspect
from typing import Any

from prefect import Flow, Task
from pydantic import BaseModel, SecretStr

from docs.from_code.markdown import code, table, told
from docs.from_code.python_names import default, fields, signature, type_name
from prefect_kling import blocks as block_room
from prefect_kling import flows as flow_room
from prefect_kling import tasks as task_room
from prefect_kling.deployments.catalogue import import_flow, read_deployments
from prefect_kling.flows.quick_clip import ClipForm
from prefect_kling.studio.media.picture_checks import PictureChecks


def blocks() -> str:
    """Return a section for each block type: what it is, how it is loaded, all its fields."""
    sections = []
    for name in block_room.__all__:
        block = getattr(block_room, name)
        slug = block.get_block_type_slug()
        text = f"\n## {name}\n\nBlock type `{slug}`. {told(block).text}\n\n"
        sections.append(text + _form(block))
    checks = f"\n## PictureChecks\n\n{told(PictureChecks).text}\n\n{fields(PictureChecks)}"
    return "".join([*sections, checks])


def _form(block: type[BaseModel]) -> str:
    rows = []
    for name, field in block.model_fields.items():
        kind = type_name(field.annotation)
        if SecretStr.__name__ in kind:
            kind = "secret text"
        title = field.title or name.replace("_", " ").capitalize()
        rows.append((code(name), title, code(kind), default(field), field.description or ""))
    return table(("field", "in the form", "type", "default", "meaning"), rows)


def flows() -> str:
    """Return a section for each flow."""
    where = _deployments_of_flows()
    sections = []
    for name in flow_room.__all__:
        flow = getattr(flow_room, name)
        if not isinstance(flow, Flow):
            sections.append(f"\n## {name}\n\n{_function(name, flow)}")
            continue
        deployed = ", ".join(code(f"{flow.name}/{each}") for each in where.get(name, ()))
        as_flow = f"Flow `{flow.name}`."
        if deployed:
            as_flow += f" Deployed as {deployed}."
        sections.append(f"\n## {name}\n\n{as_flow}\n\n{_function(name, flow.fn)}")
    form = f"\n## ClipForm\n\n{told(ClipForm).text}\n\n{fields(ClipForm)}"
    return "".join([*sections, form])


def _deployments_of_flows() -> dict[str, list[str]]:
    where: dict[str, list[str]] = {}
    for each in read_deployments():
        function = import_flow(each["entrypoint"]).fn.__name__
        where.setdefault(function, []).append(each["name"])
    return where


def tasks() -> str:
    """Return a section for each task, and for what else the room of tasks hands out."""
    sections = []
    for name in task_room.__all__:
        thing = getattr(task_room, name)
        if isinstance(thing, Task):
            how = f"Task `{thing.name}`, {_retries(thing)}."
            sections.append(f"\n## {name}\n\n{how}\n\n{_function(name, thing.fn)}")
        elif inspect.isfunction(thing):
            sections.append(f"\n## {name}\n\n{_function(name, thing)}")
        else:
            sections.append(f"\n## {name}\n\n```python\n{name} = {type_name(thing)}\n```\n")
    return "".join(sections)


def _retries(task: Task[..., Any]) -> str:
    if not task.retries:
        return "never retried by Prefect"
    return f"retried by Prefect {task.retries} times"


def _function(name: str, function: Any) -> str:
    """Return signature, text and parameters of a function."""
    said = told(function)
    text = f"{signature(name, function)}{said.text}\n\n"
    if said.parameters:
        rows = [(code(parameter), words) for parameter, words in said.parameters.items()]
        text += table(("parameter", "meaning"), rows)
    return text


def deployments() -> str:
    """Return the table of all deployments."""
    rows = []
    for each in read_deployments():
        flow = import_flow(each["entrypoint"])
        schedules = ", ".join(
            f"`{schedule['cron']}` ({schedule['slug']})" for schedule in each.get("schedules", ())
        )
        name = code(f"{flow.name}/{each['name']}")
        rows.append((name, each["description"], schedules))
    return table(("deployment", "for", "schedule, off unless switched on"), rows)
