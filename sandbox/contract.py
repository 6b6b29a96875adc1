"""The operator's parameter table and combination rules, written a second time and strictly.

The client has rules of its own. These share no code with them, so that neither hides a mistake of
the other. Types are exactly the page's: a duration is a string, sound is "on" or "off", and nothing
is null.
"""

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

_MAX_SECONDS = {"kling-video-o1": 10, "kling-v3-omni": 15}
KNOWN_MODELS = tuple(_MAX_SECONDS)
_MIN_SECONDS = 3
_MAX_REFERENCES = 7
_MAX_REFERENCES_BESIDE_A_VIDEO = 4
_MAX_SEGMENTS = 6
_SHOT_TYPES = ("customize", "intelligence")


def violations(body: object) -> list[str]:
    """Return what is wrong with the JSON body of a create call, one sentence each.

    An empty list means that the API accepts it. Combinations of parameters are checked only when
    all names, types and values are right.
    """
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    try:
        request = _Request.model_validate(body)
    except ValidationError as invalid:
        return [_describe(error) for error in invalid.errors()]
    found: list[str] = []
    for rule in _RULES:
        found += rule(request)
    return found


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    return text


def _decode_list(given: object) -> object:
    """Accept a list as it is, or as a JSON string."""
    if not isinstance(given, str):
        return given
    try:
        decoded = json.loads(given)
    except ValueError as error:
        raise ValueError("must be a JSON array, or a string that holds one") from error
    if not isinstance(decoded, list):
        raise ValueError("must be a JSON array, or a string that holds one")
    return decoded


def _element_id(given: object) -> object:
    """Accept integers, as upstream does, and strings of digits, as other vendors show."""
    if isinstance(given, bool) or not isinstance(given, int | str) or not str(given).isdecimal():
        raise ValueError("must be an integer or a string of digits")
    return given


_NOT_GIVEN: Any = None
_Address = Annotated[str, AfterValidator(_web_address)]
_Seconds = Annotated[str, Field(pattern=r"^[0-9]{1,2}$")]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Image(_Table):
    image_url: _Address
    type: Literal["first_frame", "end_frame"] = _NOT_GIVEN


class _Video(_Table):
    video_url: _Address
    refer_type: Literal["feature", "base"]
    keep_original_sound: Literal["yes", "no"] = "no"


class _Element(_Table):
    element_id: Annotated[object, BeforeValidator(_element_id)]


class _Segment(_Table):
    index: int = _NOT_GIVEN
    prompt: Annotated[str, Field(min_length=1, max_length=512)]
    duration: _Seconds


class _Watermark(_Table):
    enabled: bool


class _Request(_Table):
    """The page's parameter table."""

    model: Literal["kling-video-o1", "kling-v3-omni"]
    prompt: Annotated[str, Field(max_length=2500)] = ""
    image_list: list[_Image] = []
    video_list: list[_Video] = []
    element_list: list[_Element] = []
    mode: Literal["std", "pro"] = "std"
    duration: _Seconds = "5"
    sound: Literal["on", "off"] = "off"
    aspect_ratio: Literal["16:9", "9:16", "1:1"] = _NOT_GIVEN
    callback_url: _Address = _NOT_GIVEN
    multi_shot: bool = False
    shot_type: str = ""
    multi_prompt: Annotated[list[_Segment], BeforeValidator(_decode_list)] = []
    watermark_info: _Watermark = _Watermark(enabled=False)

    def count_images(self, kind: str) -> int:
        """Count the images of one type."""
        return sum(image.type == kind for image in self.image_list)

    def has_video(self, kind: str) -> bool:
        """Return whether a video of one type is given."""
        return any(video.refer_type == kind for video in self.video_list)


def _check_content(request: _Request) -> Iterator[str]:
    if not (request.prompt.strip() or request.image_list or request.video_list):
        yield "at least one of prompt, image_list or video_list must be provided"


def _check_duration(request: _Request) -> Iterator[str]:
    longest = _MAX_SECONDS[request.model]
    if not _MIN_SECONDS <= int(request.duration) <= longest:
        yield f'duration must be "{_MIN_SECONDS}" to "{longest}" for {request.model}'


def _check_frames(request: _Request) -> Iterator[str]:
    first_frames = request.count_images("first_frame")
    end_frames = request.count_images("end_frame")
    if first_frames > 1 or end_frames > 1:
        yield "image_list may hold one first_frame and one end_frame"
    if end_frames and not first_frames:
        yield "an end_frame needs a first_frame"
    if (first_frames or end_frames) and request.has_video("base"):
        yield "first_frame and end_frame cannot be combined with a base video"


def _check_videos(request: _Request) -> Iterator[str]:
    if len(request.video_list) > 1:
        yield "video_list may hold one video"
    if request.video_list and request.sound == "on":
        yield 'sound must be "off" when a video is given'


def _check_references(request: _Request) -> Iterator[str]:
    given = len(request.image_list) + len(request.element_list)
    if request.video_list:
        if given > _MAX_REFERENCES_BESIDE_A_VIDEO:
            yield (
                f"at most {_MAX_REFERENCES_BESIDE_A_VIDEO} images and elements together"
                f" beside a video, got {given}"
            )
    elif given > _MAX_REFERENCES:
        yield f"at most {_MAX_REFERENCES} images and elements together, got {given}"


def _check_multi_shot(request: _Request) -> Iterator[str]:
    if not request.multi_shot:
        if request.multi_prompt:
            yield "multi_prompt needs multi_shot: true"
        return
    if request.model != "kling-v3-omni":
        yield "multi_shot is only offered by kling-v3-omni"
    if request.shot_type not in _SHOT_TYPES:
        yield 'multi_shot needs shot_type "customize" or "intelligence"'
    if request.count_images("end_frame"):
        yield "multi_shot cannot be combined with an end_frame"
    if request.shot_type == "intelligence" and not request.prompt.strip():
        yield 'shot_type "intelligence" needs a prompt'
    if request.shot_type == "customize":
        yield from _check_segments(request)


def _check_segments(request: _Request) -> Iterator[str]:
    count = len(request.multi_prompt)
    if not 1 <= count <= _MAX_SEGMENTS:
        yield f'shot_type "customize" needs 1 to {_MAX_SEGMENTS} parts in multi_prompt, got {count}'
        return
    seconds = [int(segment.duration) for segment in request.multi_prompt]
    if min(seconds) < 1:
        yield "each part of multi_prompt lasts at least 1 second"
    if sum(seconds) != int(request.duration):
        yield (
            f"the parts of multi_prompt last {sum(seconds)} s together,"
            f" duration says {int(request.duration)}"
        )
    indexes = [segment.index for segment in request.multi_prompt]
    is_indexed = any(index is not None for index in indexes)
    if is_indexed and indexes != list(range(1, count + 1)):
        yield "the indexes of multi_prompt must count up from 1"


_RULES: tuple[Callable[[_Request], Iterator[str]], ...] = (
    _check_content,
    _check_duration,
    _check_frames,
    _check_videos,
    _check_references,
    _check_multi_shot,
)


def _describe(error: ErrorDetails) -> str:
    """Return a sentence for one error of pydantic, with the parameter's name as on the page."""
    name = ".".join(str(part) for part in error["loc"])
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"{name} is required"
        case "extra_forbidden":
            return f"unknown parameter {name}"
        case "string_type":
            return f"{name} must be a string"
        case "list_type":
            return f"{name} must be an array"
        case "bool_type":
            return f"{name} must be true or false"
        case "literal_error":
            return f"{name} must be {context['expected']}"
        case "string_too_long":
            return f"{name} must not be longer than {context['max_length']} characters"
        case "string_too_short":
            return f"{name} must not be empty"
        case "string_pattern_mismatch":
            return f'{name} must be a string of digits such as "5"'
        case "value_error":
            return f"{name} {context['error']}"
        case _:
            return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
