"""A film as a document: scenes of shots."""

import hashlib
import re
import unicodedata
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_kling.kling.request import ElementInput, ImageInput, ModelName, OnOff


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
