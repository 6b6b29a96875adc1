"""The rules a request must obey beyond the type of each field, as one table.

Sources are named as in the project's API notes: "page" is the operator's own page, "Kling" the official
documentation of the models behind it, "clients" what several independent clients enforce. A *disputed* rule is
one on which these contradict each other; there the page wins and the rule only warns, unless told otherwise.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_kling.kling.request import VideoRequest

LONGEST_SECONDS = {"kling-video-o1": 10, "kling-v3-omni": 15}
REFERENCE = re.compile(r"<<<[^<>]*>>>")


@dataclass(frozen=True)
class Rule:
    """One rule: the field it speaks of, what it says, who says so, and how to find an offence.

    `find` returns the offending value in words, or None.
    """

    name: str
    field: str
    says: str
    source: str
    disputed: bool
    find: Callable[["VideoRequest"], str | None]


@dataclass(frozen=True)
class Offence:
    """A rule that a request breaks, and the value that breaks it."""

    rule: Rule
    value: str

    def __str__(self) -> str:
        return f"{self.rule.field} ({self.value}): {self.rule.says} [{self.rule.source}]"


RULES: list[Rule] = []


def offences(request: "VideoRequest") -> Iterator[Offence]:
    """Yield every rule the request breaks, disputed ones included, in the order of the table."""
    for rule in RULES:
        value = rule.find(request)
        if value is not None:
            yield Offence(rule, value)


_Find = Callable[["VideoRequest"], str | None]


def _rule(
    field: str, says: str, source: str, *, disputed: bool = False
) -> Callable[[_Find], _Find]:
    def register(find: _Find) -> _Find:
        RULES.append(Rule(find.__name__.strip("_"), field, says, source, disputed, find))
        return find

    return register


def _plain_images(request: "VideoRequest") -> int:
    return sum(image.type is None for image in request.image_list)


@_rule("prompt", "at least one of prompt, image_list or video_list must be given", "page")
def _something_asked(request: "VideoRequest") -> str | None:
    asked = request.prompt or request.image_list or request.video_list or request.multi_prompt
    return None if asked else "empty, like image_list and video_list"


@_rule("prompt", "Kling wants a prompt, the page does not", "Kling", disputed=True)
def _prompt_given(request: "VideoRequest") -> str | None:
    return None if request.prompt or request.multi_prompt else "empty"


@_rule("duration", "kling-video-o1 makes 3 to 10 seconds, kling-v3-omni 3 to 15", "page")
def _duration_of_model(request: "VideoRequest") -> str | None:
    too_long = request.duration > LONGEST_SECONDS[request.model] and not request.edits_video
    return f"{request.duration} with {request.model}" if too_long else None


@_rule("duration", "with a feature video a clip has at most 10 seconds", "Kling")
def _duration_with_feature(request: "VideoRequest") -> str | None:
    feature = request.video is not None and not request.edits_video
    return f"{request.duration}" if feature and request.duration > 10 else None


@_rule(
    "duration",
    "text alone, or a first frame alone, makes 5 or 10 seconds on O1",
    "Kling's table",
    disputed=True,
)
def _duration_of_plain_o1(request: "VideoRequest") -> str | None:
    plain = not (request.video_list or request.element_list or len(request.image_list) > 1)
    plain = plain and _plain_images(request) == 0
    odd = request.model == "kling-video-o1" and plain and request.duration not in (5, 10)
    return f"{request.duration}" if odd else None


@_rule("image_list", "an end_frame needs a first_frame", "Kling")
def _end_needs_first(request: "VideoRequest") -> str | None:
    lone = request.image_of_type("end_frame") and not request.image_of_type("first_frame")
    return "an end_frame without a first_frame" if lone else None


@_rule("image_list", "there is at most one first_frame and one end_frame", "page")
def _one_of_each_frame(request: "VideoRequest") -> str | None:
    types = [image.type for image in request.image_list if image.type]
    double = sorted({kind for kind in types if types.count(kind) > 1})
    return " and ".join(f"{types.count(kind)} times {kind}" for kind in double) or None


@_rule("image_list", "first and end frames cannot be combined with a base video", "Kling")
def _frames_exclude_base(request: "VideoRequest") -> str | None:
    framed = any(image.type for image in request.image_list)
    return "a frame next to a base video" if framed and request.edits_video else None


@_rule("image_list", "images and elements are at most 7 together, 4 with a video", "Kling")
def _references_within_limit(request: "VideoRequest") -> str | None:
    count, limit = (
        len(request.image_list) + len(request.element_list),
        4 if request.video_list else 7,
    )
    return f"{count} images and elements, the limit here is {limit}" if count > limit else None


@_rule("image_list", "with more than 2 images O1 takes no end frame", "Kling")
def _o1_end_frame_among_few(request: "VideoRequest") -> str | None:
    crowded = request.model == "kling-video-o1" and len(request.image_list) > 2
    return (
        f"{len(request.image_list)} images with an end_frame"
        if crowded and _has_end(request)
        else None
    )


@_rule(
    "image_list",
    "with more than 2 images O1 takes no first frame either",
    "Kling's text",
    disputed=True,
)
def _o1_first_frame_among_few(request: "VideoRequest") -> str | None:
    crowded = request.model == "kling-video-o1" and len(request.image_list) > 2
    framed = request.image_of_type("first_frame") is not None
    return f"{len(request.image_list)} images with a first_frame" if crowded and framed else None


@_rule("image_list", "an end_frame goes without reference images", "clients", disputed=True)
def _end_frame_without_references(request: "VideoRequest") -> str | None:
    return (
        "an end_frame next to reference images"
        if _has_end(request) and _plain_images(request)
        else None
    )


@_rule(
    "element_list",
    "with a first frame there are at most 3 elements (with an end frame too, O1 takes none)",
    "Kling",
)
def _elements_with_frames(request: "VideoRequest") -> str | None:
    none_allowed = request.model == "kling-video-o1" and _has_end(request)
    limit = 0 if none_allowed else 3
    framed = request.image_of_type("first_frame") is not None
    count = len(request.element_list)
    return f"{count} elements with a first frame" if framed and count > limit else None


@_rule("sound", "sound cannot be made when an input video is given", "Kling")
def _silent_with_video(request: "VideoRequest") -> str | None:
    return "on, with a video_list" if request.sound == "on" and request.video_list else None


@_rule(
    "sound", "several clients say O1 makes no sound; the page sells it", "clients", disputed=True
)
def _o1_sound(request: "VideoRequest") -> str | None:
    return (
        "on, with kling-video-o1"
        if request.sound == "on" and request.model == "kling-video-o1"
        else None
    )


@_rule("multi_shot", "only kling-v3-omni makes several shots in one clip", "Kling")
def _multi_shot_model(request: "VideoRequest") -> str | None:
    return (
        "true, with kling-video-o1"
        if request.multi_shot and request.model == "kling-video-o1"
        else None
    )


@_rule("multi_shot", "an edit keeps the cuts of its input video", "Kling")
def _multi_shot_without_edit(request: "VideoRequest") -> str | None:
    return "true, with a base video" if request.multi_shot and request.edits_video else None


@_rule(
    "extra",
    "what the request has a field for is said there, where it is checked and priced",
    "this package",
)
def _extra_is_extra(request: "VideoRequest") -> str | None:
    known = sorted(set(request.extra) & (set(type(request).model_fields) - {"shot_type"}))
    return f"naming {', '.join(known)}" if known else None


@_rule("shot_type", "multi_shot needs a shot_type: customize or intelligence", "Kling")
def _multi_shot_needs_type(request: "VideoRequest") -> str | None:
    named = request.shot_type or "shot_type" in request.extra
    return "missing" if request.multi_shot and not named else None


@_rule("multi_shot", "shot_type and multi_prompt only have a meaning with multi_shot", "Kling")
def _multi_fields_need_multi_shot(request: "VideoRequest") -> str | None:
    given = [name for name in ("shot_type", "multi_prompt") if getattr(request, name)]
    return f"false, with {' and '.join(given)}" if given and not request.multi_shot else None


@_rule("multi_prompt", "shot_type customize needs 1 to 6 shots", "Kling")
def _customize_needs_segments(request: "VideoRequest") -> str | None:
    return "empty" if request.shot_type == "customize" and not request.multi_prompt else None


@_rule("multi_prompt", "shot_type intelligence cuts the prompt itself", "Kling")
def _intelligence_takes_prompt(request: "VideoRequest") -> str | None:
    if request.shot_type != "intelligence":
        return None
    if request.multi_prompt:
        return f"{len(request.multi_prompt)} shots"
    return None if request.prompt else "empty, and the prompt is empty too"


@_rule("multi_prompt", "the shots must add up to the duration", "Kling")
def _segments_add_up(request: "VideoRequest") -> str | None:
    total = sum(segment.duration for segment in request.multi_prompt)
    wrong = request.multi_prompt and total != request.duration
    return f"{total} seconds in all, the duration says {request.duration}" if wrong else None


@_rule("image_list", "a multi-shot clip takes no end_frame", "Kling")
def _multi_shot_without_end(request: "VideoRequest") -> str | None:
    return "an end_frame with multi_shot" if request.multi_shot and _has_end(request) else None


@_rule(
    "image_list",
    "Kling's text forbids a first_frame with multi_shot, its table lists it",
    "Kling",
    disputed=True,
)
def _multi_shot_with_first(request: "VideoRequest") -> str | None:
    framed = request.multi_shot and request.image_of_type("first_frame") is not None
    return "a first_frame with multi_shot" if framed else None


@_rule("prompt", "what a prompt names must be in its list, counted from 1 in list order", "Kling")
def _references_exist(request: "VideoRequest") -> str | None:
    given = {
        "image": len(request.image_list),
        "element": len(request.element_list),
        "video": len(request.video_list),
    }
    texts = [request.prompt or "", *(segment.prompt for segment in request.multi_prompt)]
    named = [found for text in texts for found in REFERENCE.findall(text)]
    known = {
        f"<<<{kind}_{number}>>>" for kind, count in given.items() for number in range(1, count + 1)
    }
    missing = [name for name in named if name not in known]
    return f"naming {', '.join(missing)}" if missing else None


def _has_end(request: "VideoRequest") -> bool:
    return request.image_of_type("end_frame") is not None
