"""Events, read from the functions that emit them."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from docs.from_code.markdown import code, read_docstring
from prefect_kling.telemetry import events as emitting

NAME = re.compile(r"kling\.\w+\.\w+")


@dataclass(frozen=True)
class EventDescription:
    """Names of events that one function emits, what it says of them, and what they carry."""

    names: tuple[str, ...]
    text: str
    payload: tuple[str, ...]


def read_events(source: str = "") -> list[EventDescription]:
    """Return the events of a module; of `telemetry/events.py` unless its text is given."""
    tree = ast.parse(source or inspect.getsource(emitting))
    maps = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found = []
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and _emissions(function):
            text = read_docstring(ast.get_docstring(function) or "").text
            names = tuple(_written_names(function, maps)) or _names_in_words(text)
            found.append(EventDescription(names, text, tuple(_payload(function))))
    return found


def _emissions(function: ast.FunctionDef) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "emit_event"
    ]


def _written_names(function: ast.FunctionDef, maps: dict[str, ast.expr]) -> Iterator[str]:
    """Yield the names of events in a function, and in the maps of the module that it uses."""
    nodes: list[ast.AST] = []
    for node in ast.walk(function):
        nodes.append(node)
        if isinstance(node, ast.Name) and node.id in maps:
            nodes.extend(ast.walk(maps[node.id]))
    yield from (text for text in _texts(nodes) if NAME.fullmatch(text))


def _names_in_words(text: str) -> tuple[str, ...]:
    """Return the names that a docstring puts together.

    `kling.clip.` and `held` or `gone` are two names; so are `kling.`, `film` or `clip`, `.failed`.
    """
    quoted = re.findall(r"`([^`]+)`", text)
    (beginning,) = [word for word in quoted if word.endswith(".")]
    end = "".join(word for word in quoted if word.startswith("."))
    return tuple(f"{beginning}{word}{end}" for word in quoted if re.fullmatch(r"[a-z]+", word))


def _payload(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the names in the payload that a function composes."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield from _assigned(node.targets, node.value)
        elif isinstance(node, ast.AnnAssign):
            yield from _assigned([node.target], node.value)
        elif isinstance(node, ast.keyword) and node.arg == "payload":
            yield from _keys(node.value)


def _assigned(targets: list[ast.expr], value: ast.expr | None) -> Iterator[str]:
    for target in targets:
        if _is_payload(target):
            yield from _keys(value)
        elif isinstance(target, ast.Subscript) and _is_payload(target.value):
            yield from _texts([target.slice])


def _is_payload(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "payload"


def _keys(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        yield from _texts(node.keys)


def _texts(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def events() -> str:
    """Return a section for each function that emits events."""
    sections = []
    for each in read_events():
        heading = ", ".join(code(name) for name in each.names)
        section = f"\n## {heading}\n\n{each.text}\n"
        if each.payload:
            section += f"\nPayload: {', '.join(code(name) for name in each.payload)}.\n"
        sections.append(section)
    return "".join(sections)
