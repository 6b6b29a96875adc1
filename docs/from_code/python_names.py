"""The public names of the package, and the fields of its models."""

import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from prefect import Flow, Task
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import prefect_kling
from docs.from_code.markdown import code, table, told
from prefect_kling.kling.parameters import (
    ElementInput,
    ImageInput,
    Segment,
    VideoInput,
    WatermarkInfo,
)
from prefect_kling.studio.film.storyboard import (
    Character,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
)

INPUTS: tuple[type[BaseModel], ...] = (
    ImageInput,
    VideoInput,
    ElementInput,
    Segment,
    WatermarkInfo,
)
PARTS: tuple[type[BaseModel], ...] = (
    Storyboard,
    ShotSettings,
    Reference,
    Character,
    Scene,
    Shot,
)


def names() -> str:
    """Return a section for each public name: what it is called with, or its fields."""
    return "\n".join(_name(name) for name in prefect_kling.__all__) + "".join(
        f"\n### {part.__name__}\n\n{told(part).text}\n\n{fields(part)}" for part in INPUTS
    )


def storyboards() -> str:
    """Return a section for each part of a storyboard."""
    return "".join(f"\n## {part.__name__}\n\n{told(part).text}\n\n{fields(part)}" for part in PARTS)


def _name(name: str) -> str:
    value = getattr(prefect_kling, name)
    heading = f"## {name}\n\n"
    if isinstance(value, str):
        return f"{heading}The version that is installed, as a text.\n"
    if isinstance(value, type):
        home = {"KlingCredentials": "blocks.md", "KlingArchive": "blocks.md"}
        home["Storyboard"] = "storyboards.md"
        if name in home:
            return f"{heading}{told(value).first} See [{home[name][:-3]}]({home[name]}).\n"
        return f"{heading}{told(value).text}\n\n{fields(value)}"
    if isinstance(value, Flow | Task):
        page = "flows" if isinstance(value, Flow) else "tasks"
        return f"{heading}{told(value.fn).first} See [{page}]({page}.md#{slug(name)}).\n"
    return f"{heading}{signature(name, value)}{told(value).text}\n"


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip("_").replace("_", "-")


def signature(name: str, function: Any) -> str:
    """Return how a function is called, as a block of code."""
    lines = [f"    {each}," for each in _parameters(function)]
    returned = inspect.signature(function).return_annotation
    answer = ""
    if returned is not inspect.Signature.empty:
        answer = f" -> {type_name(returned)}"
    return "\n".join(["```python", f"{name}(", *lines, f"){answer}", "```", "", ""])


def _parameters(function: Any) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters.values():
        text = f"{parameter.name}: {type_name(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {parameter.default!r}"
        yield text


def fields(model: type[BaseModel]) -> str:
    """Return the table of a model's fields: type, default, meaning."""
    rows = [
        (code(name), code(type_name(field.annotation)), default(field), meaning(field))
        for name, field in model.model_fields.items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def default(field: FieldInfo) -> str:
    """Return what a field holds unless it is given."""
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined:
        value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its own defaults"
    if isinstance(value, SecretStr):
        return "secret"
    return code(value if value != "" else '""')


def meaning(field: FieldInfo) -> str:
    """Return what a field means, and its limits."""
    unit = "entries"
    if "str" in type_name(field.annotation).split(" | "):
        unit = "characters"
    limits = []
    for each in field.metadata:
        for name, words in LIMITS.items():
            limit = getattr(each, name, None)
            if limit is not None:
                limits.append(words.format(limit, unit))
    text = field.description or ""
    if limits:
        text += f" ({', '.join(limits)})"
    return text


LIMITS = {
    "ge": "at least {0}",
    "gt": "more than {0}",
    "le": "at most {0}",
    "lt": "less than {0}",
    "min_length": "not empty",
    "max_length": "at most {0} {1}",
}


def type_name(annotation: Any) -> str:
    """Return a type as people write it: no modules, no constraints, its choices in words."""
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return type_name(annotation.__value__)
    origin = typing.get_origin(annotation)
    inside = typing.get_args(annotation)
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    if origin is typing.Annotated:
        return type_name(inside[0])
    if origin is typing.Literal:
        return " | ".join(repr(each) for each in inside)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_name, inside))
    if inside and inside[-1] is Ellipsis:
        return f"{origin.__name__}[{type_name(inside[0])}, ...]"
    return f"{origin.__name__}[{', '.join(map(type_name, inside))}]"
