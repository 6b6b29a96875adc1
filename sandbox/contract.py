"""The operator's parameter table and combination rules, written down a second time and strictly.

The client has rules of its own. These share no line with them, so that a request both accept is a request the page
accepts. Wire types are exactly the page's: a duration is a string, sound is "on" or "off", nothing is null.
"""

import json
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

_LONGEST_SECONDS = {"kling-video-o1": 10, "kling-v3-omni": 15}
_SHORTEST_SECONDS = 3
_SHOT_TYPES = ("customize", "intelligence")


def violations(body: object, extra_models: Collection[str] = ()) -> list[str]:
    """Return what is wrong with the JSON body of a create call, one sentence each; an empty list means accepted.

    Names, types and values come first; combinations are only judged when those are right.
    """
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    try:
        if body.get("model") in extra_models:
            body = body | {"model": "kling-v3-omni"}
        wish = _Wish.model_validate(body)
    except ValidationError as refused:
        return [_describe(error) for error in refused.errors()]
    return [message for rule in _RULES for message in rule(wish)]


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
    """Accept upstream's integers, and the digit strings other vendors show."""
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


class _Wish(_Table):
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

    def images(self, kind: str) -> int:
        """Count the images of one type."""
        return sum(image.type == kind for image in self.image_list)

    def refers_to(self, kind: str) -> bool:
        """Say whether a video of one type is given."""
        return any(video.refer_type == kind for video in self.video_list)


def _check_substance(wish: _Wish) -> Iterator[str]:
    if not (wish.prompt.strip() or wish.image_list or wish.video_list):
        yield "at least one of prompt, image_list or video_list must be provided"


def _check_duration(wish: _Wish) -> Iterator[str]:
    longest = _LONGEST_SECONDS[wish.model]
    if not _SHORTEST_SECONDS <= int(wish.duration) <= longest:
        yield f'duration must be "{_SHORTEST_SECONDS}" to "{longest}" for {wish.model}'


def _check_frames(wish: _Wish) -> Iterator[str]:
    first, end = wish.images("first_frame"), wish.images("end_frame")
    if first > 1 or end > 1:
        yield "image_list may hold one first_frame and one end_frame"
    if end and not first:
        yield "an end_frame needs a first_frame"
    if (first or end) and wish.refers_to("base"):
        yield "first_frame and end_frame cannot be combined with a base video"


def _check_videos(wish: _Wish) -> Iterator[str]:
    if len(wish.video_list) > 1:
        yield "video_list may hold one video"
    if wish.video_list and wish.sound == "on":
        yield 'sound must be "off" when a video is given'


def _check_references(wish: _Wish) -> Iterator[str]:
    most, given = 4 if wish.video_list else 7, len(wish.image_list) + len(wish.element_list)
    if given > most:
        yield f"at most {most} images and elements together{' beside a video' if wish.video_list else ''}, got {given}"


def _check_shots(wish: _Wish) -> Iterator[str]:
    if not wish.multi_shot:
        if wish.multi_prompt:
            yield "multi_prompt needs multi_shot: true"
        return
    if wish.model != "kling-v3-omni":
        yield "multi_shot is only offered by kling-v3-omni"
    if wish.shot_type not in _SHOT_TYPES:
        yield 'multi_shot needs shot_type "customize" or "intelligence"'
    if wish.images("end_frame"):
        yield "multi_shot cannot be combined with an end_frame"
    if wish.shot_type == "intelligence" and not wish.prompt.strip():
        yield 'shot_type "intelligence" needs a prompt'
    if wish.shot_type == "customize":
        yield from _check_segments(wish)


def _check_segments(wish: _Wish) -> Iterator[str]:
    if not 1 <= len(wish.multi_prompt) <= 6:
        yield f'shot_type "customize" needs 1 to 6 parts in multi_prompt, got {len(wish.multi_prompt)}'
        return
    seconds = [int(part.duration) for part in wish.multi_prompt]
    if min(seconds) < 1:
        yield "each part of multi_prompt lasts at least 1 second"
    if sum(seconds) != int(wish.duration):
        yield f"the parts of multi_prompt last {sum(seconds)} s together, duration says {int(wish.duration)}"
    numbers = [part.index for part in wish.multi_prompt]
    if any(number is not None for number in numbers) and numbers != list(
        range(1, len(numbers) + 1)
    ):
        yield "the indexes of multi_prompt must count up from 1"


_RULES: tuple[Callable[[_Wish], Iterator[str]], ...] = (
    _check_substance,
    _check_duration,
    _check_frames,
    _check_videos,
    _check_references,
    _check_shots,
)


def _describe(error: ErrorDetails) -> str:
    """Turn one pydantic complaint into a sentence that names the parameter as the page does."""
    name, context = ".".join(map(str, error["loc"])), error.get("ctx", {})
    sentences: dict[str, Callable[[], str]] = {
        "missing": lambda: f"{name} is required",
        "extra_forbidden": lambda: f"unknown parameter {name}",
        "string_type": lambda: f"{name} must be a string",
        "list_type": lambda: f"{name} must be an array",
        "bool_type": lambda: f"{name} must be true or false",
        "literal_error": lambda: f"{name} must be {context['expected']}",
        "string_too_long": lambda: (
            f"{name} must not be longer than {context['max_length']} characters"
        ),
        "string_too_short": lambda: f"{name} must not be empty",
        "string_pattern_mismatch": lambda: f'{name} must be a string of digits such as "5"',
        "value_error": lambda: f"{name} {context['error']}",
    }
    known = sentences.get(error["type"])
    return known() if known else f"{name}: {_lower_first(error['msg'])}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
