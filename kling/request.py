"""What may be asked: one `POST /video/generations` body, checked before it can cost anything."""

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from prefect_kling.kling import rules
from prefect_kling.kling.form import FormModel

ModelName = Literal["kling-video-o1", "kling-v3-omni"]


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or any(c.isspace() for c in value)
    ):
        raise PydanticCustomError(
            "http_url", "must be an http or https URL, this is {value}", {"value": value}
        )
    return value


def _on_off(value: object) -> object:
    """YAML reads a bare `on` as true; the API wants the word."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


def _yes_no(value: object) -> object:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _none_if_blank(value: str) -> str | None:
    return value if value.strip() else None


Url = Annotated[str, AfterValidator(_http_url)]
OnOff = Annotated[Literal["on", "off"], BeforeValidator(_on_off)]
YesNo = Annotated[Literal["yes", "no"], BeforeValidator(_yes_no)]


class ImageInput(FormModel):
    """A picture: the first or last frame of the clip, or (without a type) a reference for its look."""

    image_url: Url
    """Link to a JPG or PNG of at most 10 MB, 300 px or more on each side."""
    type: Literal["first_frame", "end_frame"] | None = None
    """Leave empty for a plain reference picture, named `<<<image_1>>>` in the prompt."""


class VideoInput(FormModel):
    """A video to continue from (feature) or to edit (base)."""

    video_url: Url
    """Link to an MP4 or MOV of 3 to 10 seconds, 720 to 2160 px a side, at most 200 MB."""
    refer_type: Literal["feature", "base"]
    """feature: the clip takes motion, camera and scene from it. base: the video itself is edited."""
    keep_original_sound: YesNo = "no"
    """Keep the sound of the input video; it costs more per second."""


class ElementInput(FormModel):
    """A subject registered with Kling (experimental: ids belong to the account that made them)."""

    element_id: Annotated[int, Field(ge=0)]
    """Number of the subject; a string of digits is accepted."""


class Segment(FormModel):
    """One shot inside a multi-shot clip."""

    prompt: Annotated[str, Field(min_length=1, max_length=512)]
    """What happens in this shot, at most 512 characters."""
    duration: Annotated[int, Field(ge=1, le=15)]
    """Length of this shot in whole seconds."""


class WatermarkInfo(FormModel):
    """Whether the API also marks the clip."""

    enabled: bool
    """Ask for a watermarked version."""


# The context in which documents of the past are read: they were judged by the rules of their day, and a rule that
# came later must not make a paid clip unreadable.
STORED: dict[str, bool] = {"stored": True}


class VideoRequest(FormModel):
    """One generation, with the page's own parameter names; equal requests make equal bodies.

    Constructing it costs nothing and raises pydantic's `ValidationError` naming field, value and rule for
    everything the operator's page or Kling's own documentation forbids. Rules on which those two disagree
    do not stop a request: `disputes()` lists them (KlingCredentials can be set to refuse them).
    """

    model: ModelName
    """Which model makes the clip."""
    prompt: Annotated[str, Field(max_length=2500), AfterValidator(_none_if_blank)] | None = None
    """What happens in the clip. Inputs are named by their place: `<<<image_1>>>`, `<<<element_1>>>`,
    `<<<video_1>>>`."""
    image_list: list[ImageInput] = []
    """Pictures: first frame, last frame, references."""
    video_list: Annotated[list[VideoInput], Field(max_length=1)] = []
    """At most one video to continue from or to edit."""
    element_list: list[ElementInput] = []
    """Registered subjects."""
    mode: Literal["std", "pro"] = "std"
    """std is 720p, pro is 1080p."""
    duration: Annotated[int, Field(ge=3, le=15)] = 5
    """Length in whole seconds: 3 to 10, with Kling V3 Omni up to 15. An edit takes its length from the input video."""
    sound: OnOff = "off"
    """Let the model make sound. Not together with an input video."""
    aspect_ratio: Literal["16:9", "9:16", "1:1"] = "16:9"
    """Shape of the picture. A first frame or an edited video decides it instead."""
    callback_url: Url | None = None
    """Called by the API when the job ends."""
    multi_shot: bool = False
    """Several shots in one clip (Kling V3 Omni only)."""
    shot_type: Literal["customize", "intelligence"] | None = None
    """Who cuts a multi-shot clip: customize takes multi_prompt, intelligence lets the model cut the prompt."""
    multi_prompt: Annotated[list[Segment], Field(max_length=6)] = []
    """The shots of a multi-shot clip in order; their lengths add up to the duration."""
    watermark_info: WatermarkInfo | None = None
    """Ask for a watermarked version."""
    extra: dict[str, JsonValue] = {}
    """Parameters the page does not know yet, or a shot_type of your own. Sent as they are, unchecked."""

    @model_validator(mode="after")
    def _obey_the_rules(self, info: ValidationInfo) -> "VideoRequest":
        if info.context is STORED:
            return self
        broken = [offence for offence in rules.offences(self) if not offence.rule.disputed]
        if broken:
            told = "; ".join(str(offence) for offence in broken)
            raise PydanticCustomError(
                "kling_rule", "{told}", {"told": told, "field": broken[0].rule.field}
            )
        return self

    def disputes(self) -> list[str]:
        """Name the rules this request breaks on which the page and Kling's documentation disagree."""
        return [str(offence) for offence in rules.offences(self) if offence.rule.disputed]

    @property
    def headline(self) -> str:
        """The request in a few words, for names of runs: the beginning of its prompt."""
        spoken = [
            self.prompt,
            *(segment.prompt for segment in self.multi_prompt),
            "without a prompt",
        ]
        text = " ".join(next(words for words in spoken if words).split())
        return text if len(text) <= 60 else f"{text[:59]}…"

    @property
    def video(self) -> VideoInput | None:
        """The input video, if there is one."""
        return self.video_list[0] if self.video_list else None

    @property
    def edits_video(self) -> bool:
        """Whether the input video itself is edited; such a clip has the length and shape of its input."""
        return self.video is not None and self.video.refer_type == "base"

    def image_of_type(self, kind: Literal["first_frame", "end_frame"]) -> ImageInput | None:
        """Return the picture that plays this part, if any."""
        return next((image for image in self.image_list if image.type == kind), None)

    def body(self, multi_prompt_as: Literal["string", "array"] = "string") -> dict[str, JsonValue]:
        """Write the JSON body of the page.

        Durations are strings, absent things are left out (never null), and everything that has a price or a
        disputed default (`mode`, `sound`, `refer_type`, `keep_original_sound`) is always said. `multi_prompt` is a
        JSON string as the page types it; `"array"` writes what Kling's own API takes.
        """
        body = self.model_dump(
            exclude_none=True, exclude={"extra", "duration", "aspect_ratio", "multi_prompt"}
        )
        body = {
            name: value
            for name, value in body.items()
            if value not in ([], False, {"enabled": False})
        }
        if not self.edits_video:
            body["duration"] = str(self.duration)
        if not self.edits_video and self.image_of_type("first_frame") is None:
            body["aspect_ratio"] = self.aspect_ratio
        if self.multi_prompt:
            segments = [
                {"index": index, "prompt": segment.prompt, "duration": str(segment.duration)}
                for index, segment in enumerate(self.multi_prompt, start=1)
            ]
            body["multi_prompt"] = (
                segments if multi_prompt_as == "array" else json.dumps(segments, ensure_ascii=False)
            )
            # The page wants one of prompt, image, video in every body; Kling ignores the prompt here.
            body.setdefault("prompt", self.multi_prompt[0].prompt)
        return body | self.extra
