"""The parameters of the operator's page: names, types, and what fields mean."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from prefect_kling.kling.form import FormModel
from prefect_kling.kling.models import (
    AspectRatio,
    Mode,
    ModelUnknown,
    find_model,
    known_models,
    prices_in_words,
)
from prefect_kling.kling.server_words import one_line

# The context in which stored documents are read. They were checked by the rules of their day: a
# rule that came later, or a model that is no longer configured, must not make a paid clip
# unreadable.
STORED: dict[str, bool] = {"stored": True}


def _known_model(value: str, info: ValidationInfo) -> str:
    if info.context is STORED:
        return value
    try:
        find_model(value)
    except ModelUnknown as error:
        expected = " or ".join(f"'{name}'" for name in error.known)
        raise PydanticCustomError(
            "literal_error", "Input should be {expected}", {"expected": expected}
        ) from None
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    has_host = parts.scheme in ("http", "https") and parts.hostname
    has_space = any(character.isspace() for character in value)
    if not has_host or has_space:
        raise PydanticCustomError(
            "http_url", "must be an http or https URL, this is {value}", {"value": value}
        )
    return value


def _on_off(value: object) -> object:
    """YAML reads a bare `on` as true; the API wants the word."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value


def _yes_no(value: object) -> object:
    """YAML reads a bare `yes` as true; the API wants the word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _none_if_blank(value: str) -> str | None:
    if value.strip():
        return value
    return None


# What the models allow is written into the JSON Schema when the schema is made; rules check it for
# the model of the request.


def _model_choices(schema: dict[str, Any]) -> None:
    schema["enum"] = [model.name for model in known_models()]


def _clip_lengths(schema: dict[str, Any]) -> None:
    schema["minimum"] = min(model.min_seconds for model in known_models())
    schema["maximum"] = max(model.max_seconds for model in known_models())


def _longest_shot(schema: dict[str, Any]) -> None:
    schema["maximum"] = max(model.max_seconds for model in known_models())


def _longest_prompt(schema: dict[str, Any]) -> None:
    schema["maxLength"] = max(model.max_prompt_length for model in known_models())


def _longest_shot_prompt(schema: dict[str, Any]) -> None:
    schema["maxLength"] = max(model.max_shot_prompt_length for model in known_models())


def _most_shots(schema: dict[str, Any]) -> None:
    schema["maxItems"] = max(model.max_shots for model in known_models())


def _prices(schema: dict[str, Any]) -> None:
    told = "; ".join(f"{model.name} {prices_in_words(model)}" for model in known_models())
    schema["description"] = f"{schema['description']} US dollars per second: {told}."


ModelName = Annotated[str, AfterValidator(_known_model), Field(json_schema_extra=_model_choices)]
Url = Annotated[str, AfterValidator(_http_url)]
OnOff = Annotated[Literal["on", "off"], BeforeValidator(_on_off)]
YesNo = Annotated[Literal["yes", "no"], BeforeValidator(_yes_no)]
Prompt = Annotated[str, Field(json_schema_extra=_longest_prompt), AfterValidator(_none_if_blank)]


class ImageInput(FormModel):
    """A picture: first or last frame of the clip, or (without a type) a reference for its look."""

    model_config = ConfigDict(title="Picture")

    image_url: Annotated[Url, Field(title="Link")]
    """Link to a JPG or PNG of at most 10 MB, 300 px or more on each side."""
    type: Annotated[Literal["first_frame", "end_frame"] | None, Field(title="Part")] = None
    """Leave empty for a plain reference picture, named `<<<image_1>>>` in the prompt."""


class VideoInput(FormModel):
    """A video to continue from (feature) or to edit (base)."""

    model_config = ConfigDict(title="Video")

    video_url: Annotated[Url, Field(title="Link")]
    """Link to an MP4 or MOV of 3 to 10 seconds, 720 to 2160 px a side, at most 200 MB."""
    refer_type: Annotated[Literal["feature", "base"], Field(title="Use")]
    """feature: the clip takes motion, camera and scene from it. base: the video itself is
    edited."""
    keep_original_sound: Annotated[YesNo, Field(title="Keep its sound")] = "no"
    """Keep the sound of the input video; it costs more per second."""


class ElementInput(FormModel):
    """A subject registered with Kling (experimental: ids belong to the account that made them)."""

    model_config = ConfigDict(title="Subject")

    element_id: Annotated[int, Field(ge=0, title="Number")]
    """Number of the subject; a string of digits is accepted."""


class Segment(FormModel):
    """One shot inside a multi-shot clip."""

    model_config = ConfigDict(title="Shot")

    prompt: Annotated[
        str, Field(min_length=1, title="What happens", json_schema_extra=_longest_shot_prompt)
    ]
    """What happens in this shot, at most 512 characters."""
    duration: Annotated[int, Field(ge=1, title="Seconds", json_schema_extra=_longest_shot)]
    """Length of this shot in whole seconds."""


class WatermarkInfo(FormModel):
    """Whether the API also marks the clip."""

    model_config = ConfigDict(title="Watermark")

    enabled: Annotated[bool, Field(title="Mark it")]
    """Ask for a watermarked version."""


class RequestParameters(FormModel):
    """The fields of a request, each right by itself; rules about several fields are in `rules`."""

    model_config = ConfigDict(title="What to make")

    model: Annotated[ModelName, Field(title="Model")]
    """Which model makes the clip."""
    prompt: Annotated[Prompt | None, Field(title="What happens")] = None
    """What happens in the clip. Inputs are named by their place: `<<<image_1>>>`,
    `<<<element_1>>>`, `<<<video_1>>>`."""
    image_list: Annotated[list[ImageInput], Field(title="Pictures")] = []
    """Pictures: first frame, last frame, references."""
    video_list: Annotated[list[VideoInput], Field(max_length=1, title="Video")] = []
    """At most one video to continue from or to edit."""
    element_list: Annotated[list[ElementInput], Field(title="Subjects")] = []
    """Registered subjects."""
    mode: Annotated[Mode, Field(title="Quality", json_schema_extra=_prices)] = "std"
    """std is 720p, pro is 1080p."""
    duration: Annotated[int, Field(ge=1, title="Seconds", json_schema_extra=_clip_lengths)] = 5
    """Length in whole seconds: 3 to 10, with Kling V3 Omni up to 15. An edit takes its length from
    the input video."""
    sound: Annotated[OnOff, Field(title="Sound")] = "off"
    """Let the model make sound. Not together with an input video."""
    aspect_ratio: Annotated[AspectRatio, Field(title="Shape")] = "16:9"
    """Shape of the picture. A first frame or an edited video decides it instead."""
    callback_url: Annotated[Url | None, Field(title="Call when done")] = None
    """A link that the API calls when the job ends."""
    multi_shot: Annotated[bool, Field(title="Several shots")] = False
    """Several shots in one clip (Kling V3 Omni only)."""
    shot_type: Annotated[
        Literal["customize", "intelligence"] | None, Field(title="Who cuts the shots")
    ] = None
    """For a clip with several shots: customize takes the list of shots, intelligence lets the model
    cut what happens."""
    multi_prompt: Annotated[list[Segment], Field(title="Shots", json_schema_extra=_most_shots)] = []
    """The shots of a clip with several shots in order; their lengths add up to the duration."""
    watermark_info: Annotated[WatermarkInfo | None, Field(title="Watermark")] = None
    """Ask for a watermarked version."""
    extra: Annotated[dict[str, JsonValue], Field(title="Other parameters")] = {}
    """Parameters that this form does not know, as JSON. Sent as they are,
    unchecked."""

    @property
    def headline(self) -> str:
        """The request in a few words, for names of runs: the beginning of its prompt."""
        texts = [self.prompt, *(segment.prompt for segment in self.multi_prompt)]
        for text in texts:
            if text:
                return _shorten(text)
        return "without a prompt"

    @property
    def spoken_prompt(self) -> str:
        """All that is asked for in words, those of a multi-shot clip one after the other."""
        texts = [self.prompt, *(segment.prompt for segment in self.multi_prompt)]
        return " / ".join(text for text in texts if text)

    @property
    def video(self) -> VideoInput | None:
        """The input video, if there is one."""
        if self.video_list:
            return self.video_list[0]
        return None

    @property
    def edits_video(self) -> bool:
        """Whether the input video itself is edited.

        Such a clip has the length and shape of its input.
        """
        return self.video is not None and self.video.refer_type == "base"

    def image_of_type(self, kind: Literal["first_frame", "end_frame"]) -> ImageInput | None:
        """Return the picture that plays this part, if any."""
        for image in self.image_list:
            if image.type == kind:
                return image
        return None


def _shorten(text: str) -> str:
    text = one_line(text)
    if len(text) <= 60:
        return text
    return f"{text[:59]}…"
