"""Storyboards from YAML and JSON files, with errors that name the line."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.plan import plan_film
from prefect_kling.studio.storyboard import Storyboard


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without two of its traps: `16:9` stays a text, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 16:9 as 16 * 60 + 9.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$") if tag.endswith(":int") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":float") or first != ":"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_storyboard(path: Path) -> Storyboard:
    """Read a YAML or JSON file. Raises `StoryboardInvalid` naming file, line, field and rule of every mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoryboardInvalid(f"{path} cannot be read: {error}") from None
    return read_storyboard(text, str(path))


def read_storyboard(text: str, name: str = "storyboard") -> Storyboard:
    """Read a YAML or JSON text; see `load_storyboard`."""
    try:
        # JSON may be indented with tabs, which YAML forbids.
        data = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
        tree = yaml.compose(text.replace("\t", " "), Loader=_Loader)
    except json.JSONDecodeError as error:
        raise StoryboardInvalid(f"{name}, line {error.lineno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StoryboardInvalid(f"{name}{line}: {error.problem or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoryboardInvalid(f"{name}: {error}") from None
    if isinstance(data, dict):
        data.pop("$schema", None)  # how JSON documents name their schema to editors
    try:
        board = Storyboard.model_validate(data)
    except ValidationError as error:
        places = [(_line(tree, mistake["loc"]), _say(mistake)) for mistake in error.errors()]
        raise StoryboardInvalid("\n".join(f"{name}, line {line}: {told}" for line, told in sorted(places))) from None

    def where(scene: int, shot: int) -> str:
        line = _line(tree, ("scenes", scene - 1, "shots", shot - 1))
        return f"{name}, line {line}: scene {scene}, shot {shot}"

    # Some rules show only in whole requests: planning finds out while the lines are still known.
    plan_film(board, where)
    return board


_PLAIN_WORDS = {
    "missing": "this is required",
    "extra_forbidden": "there is no such field",
    "model_type": "this must be a list of fields, like `title: …`",
    "model_attributes_type": "this must be a list of fields, like `title: …`",
    "too_short": "at least one is needed",
}


def _say(mistake: ErrorDetails) -> str:
    """One mistake in words: where, what, and what stands there."""
    given = mistake["input"]
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{_place(mistake['loc'])}: {_PLAIN_WORDS.get(mistake['type'], mistake['msg'])}{shown}"


def _place(steps: tuple[int | str, ...]) -> str:
    """A place as a person says it: `scene 1, shot 2, duration`."""
    words: list[str] = []
    for step in steps:
        if isinstance(step, int):
            words[-1] = f"{words[-1].removesuffix('s')} {step + 1}"
        else:
            words.append(step)
    return ", ".join(words) or "the storyboard"


def _line(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    """Line of the deepest existing part of a place in the document, counted from 1."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            pair = (node.value[step], node.value[step])
        else:
            pair = None
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
