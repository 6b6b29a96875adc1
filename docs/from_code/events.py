"""Events, read from the functions that emit them."""

import ast
import inspect
import re
from dataclasses import dataclass

from docs.from_code.markdown import code, table, told
from prefect_kling.telemetry import events as emitting

NAME = re.compile(r"kling(?:\.\w+)+")


@dataclass(frozen=True)
class EventDescription:
    """Names of events that one function emits, what it says of them, and what they carry."""

    names: tuple[str, ...]
    text: str
    payload: tuple[str, ...]


def read_events() -> list[EventDescription]:
    """Return the events of `telemetry/events.py`."""
    tree = ast.parse(inspect.getsource(emitting))
    found = []
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [node for node in ast.walk(function) if _is_emission(node)]
        if calls:
            text = told(getattr(emitting, function.name)).text
            names = _names(calls, text)
            found.append(EventDescription(names, text, _payload(function)))
    return found


def _is_emission(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "emit_event"
    )


def _names(calls: list[ast.AST], text: str) -> tuple[str, ...]:
    """Return the names of events: as written in the call, or as the docstring says them.

    `kling.clip.` and `held`, `gone` in a docstring are `kling.clip.held` and `kling.clip.gone`.
    """
    names: dict[str, None] = {}
    for call in calls:
        assert isinstance(call, ast.Call)
        name = call.args[0]
        if isinstance(name, ast.Constant):
            names[name.value] = None
    if names:
        return tuple(names)
    quoted = re.findall(r"`([^`]+)`", text)
    for word in quoted:
        if word.endswith("."):
            prefix = word
            ends = [each for each in quoted if each.isidentifier() and each.islower()]
            return tuple(prefix + each for each in ends)
    own = _constants()
    return tuple(word for word in quoted if NAME.fullmatch(word) and word in own)


def _constants() -> set[str]:
    """Return the events that the module names outside of functions."""
    values = set()
    for name, value in vars(emitting).items():
        if name.startswith("_EVENT") and isinstance(value, dict):
            values |= set(value.values())
    return values


def _payload(function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the names in the payload that a function composes."""
    names: dict[str, None] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id == "payload":
                    assert isinstance(node.value, ast.Dict)
                    names |= dict.fromkeys(_texts(node.value.keys))
                if isinstance(target, ast.Subscript) and _is_payload(target.value):
                    names |= dict.fromkeys(_texts([target.slice]))
    return tuple(names)


def _is_payload(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "payload"


def _texts(nodes: "list[ast.expr | None] | list[ast.expr]") -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant)]


def events() -> str:
    """Return a section for each function that emits events."""
    sections = []
    for each in read_events():
        heading = ", ".join(code(name) for name in each.names)
        payload = ", ".join(code(name) for name in each.payload)
        sections.append(f"\n## {heading}\n\n{each.text}\n\nPayload: {payload}.\n")
    return "".join(sections)
