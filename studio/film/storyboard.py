"""A film as a document: who and what is in it, and scenes of shots."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from prefect_kling.kling.models import known_models
from prefect_kling.kling.request import ModelName, OnOff, YesNo
from prefect_kling.kling.server_words import printable
from prefect_kling.studio.money.tags import Tags

Name = Annotated[str, Field(pattern=r"^[^<>\s]+$", max_length=60)]
MOST_TAKES = 10
"""Of one shot."""
VariableName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=60)]
Link = Literal["cut", "last_frame", "reference_video", "edit"]


def _longest_clip() -> int:
    """Return the longest clip that any known model makes, in whole seconds."""
    return max(model.max_seconds for model in known_models())


def _longest_prompt() -> int:
    """Return the longest prompt that any known model takes, in characters."""
    return max(model.max_prompt_length for model in known_models())


def _within_longest_clip(seconds: int) -> int:
    limit = _longest_clip()
    if seconds > limit:
        raise PydanticKnownError("less_than_equal", {"le": limit})
    return seconds


def _within_longest_prompt(text: str) -> str:
    limit = _longest_prompt()
    if len(text) > limit:
        raise PydanticKnownError("string_too_long", {"max_length": limit})
    return text


def _show_longest_clip(schema: dict[str, Any]) -> None:
    schema["maximum"] = _longest_clip()


def _show_longest_prompt(schema: dict[str, Any]) -> None:
    schema["maxLength"] = _longest_prompt()


# A storyboard may use any known model, and a shot may take its model from its scene. The fields
# accept what some model makes; the rules of the request then hold the shot's own model to its
# limits.
Duration = Annotated[
    int,
    Field(ge=1, json_schema_extra=_show_longest_clip),
    AfterValidator(_within_longest_clip),
]
Prompt = Annotated[
    str,
    Field(min_length=1, json_schema_extra=_show_longest_prompt),
    AfterValidator(_within_longest_prompt),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ShotSettings(_Part):
    """What shots have in common.

    The nearest word counts: the shot's own, then its scene's, then the defaults.
    """

    model: ModelName | None = None
    """Which model makes the clips; kling-v3-omni unless said."""
    mode: Literal["std", "pro"] | None = None
    """std is 720p, pro is 1080p and dearer; std unless said."""
    aspect_ratio: Literal["16:9", "9:16", "1:1"] | None = None
    """Shape of the picture; 16:9 unless said. A first frame or an edited video decides it
    instead."""
    sound: OnOff | None = None
    """Let the model make sound; off unless said. Never together with an input video."""
    duration: Duration | None = None
    """Length of a shot in whole seconds; 5 unless said. Less than 3 only inside a multi_shot
    scene."""
    watermark: bool | None = None
    """Have the API mark the clip."""
    keep_original_sound: YesNo | None = None
    """Where a clip is made from a video: whether to keep that video's sound, which costs more; no
    unless said."""
    look: str | None = None
    """Style in words, repeated word for word at the end of every prompt: film stock, light,
    colours."""
    characters: list[Name] | None = None
    """Who is in the shot: names from `characters`. Their descriptions are repeated word for word in
    the prompt."""
    references: list[str] | None = None
    """What the shot is shown to the model with: names from `references`, or links to pictures."""
    crossfade: Annotated[float, Field(ge=0, le=3)] | None = None
    """Seconds of crossfade into the shot where it begins anew (a cut, or a new scene); a hard cut
    unless said."""
    takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] | None = None
    """How many takes to make of a shot, each paid; the film shows the one that is picked. One
    unless said."""

    @model_serializer(mode="wrap")
    def _leave_out_newer_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write takes and picks only where they are said.

        A pending film is named by a hash of its storyboard, and one of an earlier version must keep
        its name.
        """
        written: dict[str, Any] = write(self)
        for name in ("takes", "pick"):
            if written.get(name) is None:
                written.pop(name, None)
        return written

    def over(self, other: "ShotSettings") -> "ShotSettings":
        """Return these settings. What is not set here is taken from the other settings."""
        return ShotSettings(**(other.settings() | self.settings()))

    def settings(self) -> dict[str, object]:
        """Return the settings that are set, by field name."""
        values = {}
        for name in ShotSettings.model_fields:
            value = getattr(self, name)
            if value is not None:
                values[name] = value
        return values


class Reference(_Part):
    """Something to show the model: exactly one of picture, video or registered subject."""

    image: str | None = None
    """A JPG or PNG: a link, or a file beside the storyboard (it is uploaded to the archive)."""
    video: str | None = None
    """An MP4 or MOV of 3 to 10 seconds: a link, or a file beside the storyboard."""
    element: Annotated[int, Field(ge=0)] | None = None
    """Number of a subject registered with Kling (experimental: ids belong to the account that made
    them)."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Reference":
        given = [name for name in ("image", "video", "element") if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "one_of",
                "give one of image, video, element; this has {given}",
                {"given": tuple(given)},
            )
        return self


class Character(_Part):
    """Somebody or something that comes back, described once and in the same words every time."""

    description: Annotated[str, Field(min_length=1, max_length=1000)]
    """Put into the prompt word for word: name, age, face, hair, clothes. `<<<name>>>` points at a
    reference."""
    references: list[str] = []
    """Pictures or subjects that show the character: names from `references`. Three views are better
    than one."""


class Shot(ShotSettings):
    """One shot: it becomes one clip, or one segment of a multi_shot clip."""

    prompt: Prompt
    """What happens. `<<<name>>>` points at a reference, and attaches it."""
    title: Annotated[str, Field(max_length=120)] = ""
    """A short name, for people; the shot's number unless said."""
    continuity: Link | None = None
    """How this shot begins, where it differs from its scene."""
    first_frame: str | None = None
    """The picture the shot begins with: a reference's name or a link."""
    end_frame: str | None = None
    """The picture the shot ends with; needs a first frame."""
    edit_of: str | None = None
    """A video to edit instead of making one: a reference's name or a link."""
    take: Annotated[int, Field(ge=1)] = 1
    """Raise it to have an unchanged shot made, and paid, once more. It then has only that take."""
    pick: Annotated[int, Field(ge=1, le=MOST_TAKES)] | None = None
    """Which of its takes the film shows, and the next shot is made from."""
    shown: bool = True
    """Whether the film shows it; a shot that is not shown still serves the next one."""


class Scene(ShotSettings):
    """A chain of shots and how they hang together."""

    title: Annotated[str, Field(max_length=120)] = ""
    """A short name, for people; the scene's number unless said."""
    continuity: Literal[
        "cut", "last_frame", "keyframes", "reference_video", "multi_shot", "edit"
    ] = "cut"
    """cut: shots are independent, made side by side. last_frame: each begins with the last picture
    of the one before. keyframes: neighbours share planned pictures, made side by side.
    reference_video: each continues from the video of the one before. multi_shot: the whole scene is
    one clip, the model cuts. edit: each is the one before, edited."""
    handover: Literal["sharpest", "last"] = "sharpest"
    """For last_frame: hand over the sharpest picture of the last half second, where the film then
    ends the shot, or the literal last one."""
    pick: Annotated[int, Field(ge=1, le=MOST_TAKES)] | None = None
    """For multi_shot, whose takes are those of the whole scene: which of them the film shows."""
    keyframes: list[str] = []
    """For keyframes: the pictures shots begin and end with, one more than there are shots (or as
    many: then the last shot ends freely). Names of references, or links."""
    shots: Annotated[list[Shot], Field(min_length=1)]
    """The shots in order."""


class Version(ShotSettings):
    """One version of the story, a film of its own: what is different in it.

    Its settings count before the shots' own.
    """

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """A short name: `tall`, `30 seconds`, `German`."""
    title: Annotated[str, Field(max_length=120)] = ""
    """Name of its film; the story's title and the version's name unless said."""
    variables: dict[VariableName, str] = {}
    """What `{{name}}` is in this version, by name."""
    only: list[str] = []
    """The shots it has, by number (`'2.1'`) or title, or whole scenes (`'2'`); all unless said."""
    without: list[str] = []
    """The shots or scenes it leaves out, named likewise. One that a later shot is made from is
    made, and not shown."""


class Storyboard(_Part):
    """A film: scenes of shots, and what they share."""

    title: Annotated[str, Field(min_length=1, max_length=120)]
    """Name of the film."""
    tags: Tags = {}
    """Who pays, such as `{project: spring, client: Acme}`: kept in the ledger for reports. Tags
    change no shot."""
    defaults: ShotSettings = ShotSettings()
    """What all shots have in common."""
    references: dict[Name, Reference] = {}
    """Pictures, videos and subjects by name."""
    characters: dict[Name, Character] = {}
    """Recurring characters by name."""
    scenes: Annotated[list[Scene], Field(min_length=1)]
    """The scenes in order."""
    variables: dict[VariableName, str] = {}
    """What `{{name}}` stands for in any text, unless a version says otherwise."""
    versions: list[Version] = []
    """Versions of this story, such as other shapes, lengths or languages: a film each. They share
    every clip that does not differ."""
    _remarks: tuple[str, ...] = PrivateAttr(default=())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What somebody should know of the text that the storyboard was read from."""
        return self._remarks

    def with_remarks(self, remarks: Iterable[str]) -> "Storyboard":
        """Return this storyboard with what somebody should know of its text.

        No part of the film.
        """
        board = self.model_copy()
        board._remarks = tuple(remarks)  # noqa: SLF001  of its own class
        return board

    @property
    def name(self) -> str:
        """The title, as it can be shown and kept everywhere."""
        return printable(self.title)

    @property
    def slug(self) -> str:
        """The title as a folder name, which also names the film's budget."""
        return slug_of(self.title)

    @property
    def earlier_slug(self) -> str:
        """The slug that versions before 0.3 gave to this title; empty if it is the same.

        Other titles may have had it, too: "上海之夜 1" and "北京之晨 1" were both "1".
        """
        words = latin_words(self.title)
        if words and words != self.slug:
            return words
        return ""


def slug_of(title: str) -> str:
    """Return a title as a folder name.

    Letters and digits that ASCII cannot even roughly write are told apart by a hash of the title.
    """
    words = latin_words(title)
    title_hash = hashlib.sha256(title.encode()).hexdigest()[:8]
    if not words:
        return f"film-{title_hash}"
    if _is_all_latin(title):
        return words
    return f"{words}-{title_hash}"


def latin_words(title: str) -> str:
    """Return what of a text ASCII can write, in small letters and digits with dashes between."""
    latin = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", latin).strip("-")


def _is_all_latin(title: str) -> bool:
    """Whether each letter and digit of a title leaves something of itself in ASCII."""
    characters = unicodedata.normalize("NFC", title)
    return all(latin_words(each) for each in characters if each.isalnum())


Place = tuple[int | str, ...]
_SHOWN = 60


def shortened(text: str, most: int = _SHOWN) -> str:
    """Return a text that can be shown: at most so many characters, all of which can be printed."""
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    # Half of a character, which only JSON and YAML escapes can write, has no UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def in_words(place: Place) -> str:
    """Return a place in a storyboard in words, as in `scene 1, shot 2, duration`."""
    words: list[str] = []
    for step in place:
        if isinstance(step, int) and words:
            words[-1] = f"{words[-1].removesuffix('s')} {step + 1}"
        else:
            words.append(shortened(str(step)))
    return ", ".join(words) or "the storyboard"
