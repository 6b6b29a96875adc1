"""A film as a document: scenes of shots, read from YAML or JSON with errors that name the line."""

import hashlib
import json
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.request import ElementInput, ImageInput, ModelName, OnOff
from prefect_kling.studio.errors import StoryboardInvalid


class Look(BaseModel):
    """What shots have in common. Whatever a scene or a shot says itself wins over its surroundings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: ModelName | None = None
    """Which model makes the clips; kling-v3-omni unless said."""
    mode: Literal["std", "pro"] | None = None
    """std is 720p, pro is 1080p."""
    aspect_ratio: Literal["16:9", "9:16", "1:1"] | None = None
    """Shape of the picture."""
    sound: OnOff | None = None
    """Let the model make sound."""
    duration: Annotated[int, Field(ge=3, le=15)] | None = None
    """Length of a shot in whole seconds; 5 unless said."""

    def over(self, other: "Look") -> "Look":
        """Return this look, with what it leaves open taken from the other."""
        return Look(**(other.settings() | self.settings()))

    def settings(self) -> dict[str, object]:
        """Return what is said, by field name."""
        return {name: value for name in Look.model_fields if (value := getattr(self, name)) is not None}


class Shot(Look):
    """One shot: it becomes one clip."""

    prompt: Annotated[str, Field(min_length=1, max_length=2500)]
    """What happens in the shot."""
    title: str = ""
    """A short name, for people; the shot's number unless said."""
    image_list: list[ImageInput] = []
    """Pictures: first frame, last frame, references."""
    element_list: list[ElementInput] = []
    """Registered subjects."""
    take: Annotated[int, Field(ge=1)] = 1
    """Raise it to have an unchanged shot made, and paid, once more."""


class Scene(Look):
    """A chain of shots and how they hang together."""

    title: str = ""
    """A short name, for people; the scene's number unless said."""
    continuity: Literal["cut", "last_frame"] = "cut"
    """cut: shots are independent and made side by side. last_frame: each shot begins with the last picture of the
    one before, made one after the other."""
    shots: Annotated[list[Shot], Field(min_length=1)]
    """The shots in order."""


class Storyboard(BaseModel):
    """A film: scenes of shots, and the look they share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    title: Annotated[str, Field(min_length=1, max_length=120)]
    """Name of the film."""
    defaults: Look = Look()
    """What all shots have in common."""
    scenes: Annotated[list[Scene], Field(min_length=1)]
    """The scenes in order."""

    @property
    def slug(self) -> str:
        """The title as a folder name; one that has no Latin letters is named by its hash."""
        plain = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
        return words or f"film-{hashlib.sha256(self.title.encode()).hexdigest()[:8]}"


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
        data = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
        tree = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except json.JSONDecodeError as error:
        raise StoryboardInvalid(f"{name}, line {error.lineno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StoryboardInvalid(f"{name}{line}: {error.problem or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoryboardInvalid(f"{name}: {error}") from None
    try:
        return Storyboard.model_validate(data)
    except ValidationError as error:
        told = [f"{name}, line {_line(tree, mistake['loc'])}: {_say(mistake)}" for mistake in error.errors()]
        raise StoryboardInvalid("\n".join(told)) from None


_PLAIN_WORDS = {"missing": "this is required", "extra_forbidden": "there is no such field"}


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
