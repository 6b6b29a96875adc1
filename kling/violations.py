"""Facts about what is wrong with a request, and the one place where they become sentences."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

Place = tuple[str | int, ...]

ERROR_TYPE = "kling_rule"
"""The type of a broken rule among the errors of pydantic's `ValidationError`."""


@dataclass(frozen=True)
class Violation:
    """A rule that a request breaks, and what breaks it."""

    place: Place
    """Where in the request, as pydantic writes a location: `("multi_prompt", 0, "prompt")`."""
    field: str
    """The field of the request that the rule is about."""
    rule: str
    """Name of the rule, as in `rules.RULES`."""
    value: object
    """What breaks the rule: a number, a text, or a tuple of names."""
    limit: object = None
    """What the rule allows, where that is one value or a pair (least, most)."""
    model: str = ""
    """The model of the request."""
    source: str = ""
    """Who says so: the operator's page, Kling's documentation, or several clients."""
    is_disputed: bool = False
    """Whether the sources contradict each other; such a request is sent with a warning unless set
    otherwise."""

    def __str__(self) -> str:
        return describe(self)


def violations_of(error: "ValidationError") -> list[Violation]:
    """Return the broken rules among the errors of a validation.

    Errors of single fields' types are not among them.
    """
    errors = error.errors()
    return [each["ctx"]["violation"] for each in errors if each["type"] == ERROR_TYPE]


def describe(violation: Violation) -> str:
    """Say in one sentence which field breaks which rule, with which value, and who says so."""
    value = describe_value(violation)
    rule = describe_rule(violation)
    return f"{violation.field} ({value}): {rule} [{violation.source}]"


def describe_rule(violation: Violation) -> str:
    """Say what the rule demands, without the field, the value and the source."""
    _, rule = _WORDS[violation.rule]
    return _fill(rule, violation)


def describe_value(violation: Violation) -> str:
    """Say what breaks the rule, without the field and the rule."""
    value, _ = _WORDS[violation.rule]
    return _fill(value, violation)


def _fill(template: str, violation: Violation) -> str:
    return template.format(
        value=_in_words(violation.value),
        limit=_in_words(violation.limit),
        least=_bound(violation.limit, 0),
        most=_bound(violation.limit, -1),
        model=violation.model,
    )


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value)
    return str(value)


def _bound(limit: object, index: int) -> object:
    if isinstance(limit, tuple) and limit:
        return limit[index]
    return limit


# For each rule: what breaks it, and what it demands.
_WORDS: dict[str, tuple[str, str]] = {
    "something_asked": (
        "empty, like image_list and video_list",
        "at least one of prompt, image_list or video_list must be given",
    ),
    "prompt_given": ("empty", "Kling wants a prompt, the page does not"),
    "prompt_length": ("{value} characters", "a prompt of {model} has at most {limit} characters"),
    "mode_of_model": ("{value}", "{model} is made in these modes: {limit}"),
    "aspect_ratio_of_model": ("{value}", "{model} is made in these shapes: {limit}"),
    "duration_of_model": ("{value} with {model}", "{model} makes {least} to {most} seconds"),
    "duration_with_feature": ("{value}", "with a feature video a clip has at most {limit} seconds"),
    "plain_duration": (
        "{value} with {model}",
        "text alone, or a first frame alone, makes only these lengths in seconds: {limit}",
    ),
    "end_needs_first": ("an end_frame without a first_frame", "an end_frame needs a first_frame"),
    "one_of_each_frame": (
        "more than one {value}",
        "there is at most one first_frame and one end_frame",
    ),
    "frames_exclude_base": (
        "a frame next to a base video",
        "first and end frames cannot be combined with a base video",
    ),
    "references_within_limit": (
        "{value} images and elements, the limit here is {limit}",
        "images and elements are at most {limit} together here",
    ),
    "end_frame_among_few": (
        "{value} images with an end_frame",
        "with more than {limit} images {model} takes no end_frame",
    ),
    "first_frame_among_few": (
        "{value} images with a first_frame",
        "with more than {limit} images {model} takes no first_frame either",
    ),
    "end_frame_without_references": (
        "an end_frame next to reference images",
        "an end_frame goes without reference images",
    ),
    "elements_with_frames": (
        "{value} elements with these frames",
        "with these frames {model} takes at most {limit} elements",
    ),
    "video_of_model": ("{value} videos", "{model} takes at most {limit} videos"),
    "sound_of_model": ("on, with {model}", "{model} makes no sound"),
    "silent_with_video": (
        "on, with a video_list",
        "sound cannot be made when an input video is given",
    ),
    "disputed_sound": (
        "on, with {model}",
        "several clients say {model} makes no sound; the page sells it",
    ),
    "multi_shot_model": ("true, with {model}", "only {limit} makes several shots in one clip"),
    "multi_shot_without_edit": (
        "true, with a base video",
        "an edit keeps the cuts of its input video",
    ),
    "extra_is_extra": (
        "naming {value}",
        "what the request has a field for is said there, where it is checked and priced",
    ),
    "multi_shot_needs_type": ("missing", "multi_shot needs a shot_type: customize or intelligence"),
    "multi_fields_need_multi_shot": (
        "false, with {value}",
        "shot_type and multi_prompt only have a meaning with multi_shot",
    ),
    "customize_needs_segments": ("empty", "shot_type customize needs 1 to {limit} shots"),
    "intelligence_takes_no_segments": (
        "{value} shots",
        "shot_type intelligence cuts the prompt itself",
    ),
    "intelligence_needs_prompt": (
        "empty",
        "shot_type intelligence cuts the prompt itself, so it needs one",
    ),
    "segments_within_limit": (
        "{value} shots",
        "a multi-shot clip of {model} has at most {limit} shots",
    ),
    "segment_prompt_length": (
        "{value} characters",
        "the prompt of one shot has at most {limit} characters",
    ),
    "segments_add_up": (
        "{value} seconds in all, the duration says {limit}",
        "the shots must add up to the duration",
    ),
    "multi_shot_without_end": (
        "an end_frame with multi_shot",
        "a multi-shot clip takes no end_frame",
    ),
    "multi_shot_with_first": (
        "a first_frame with multi_shot",
        "Kling's text forbids a first_frame with multi_shot, its table lists it",
    ),
    "references_exist": (
        "naming {value}",
        "what a prompt names must be in its list, counted from 1 in list order",
    ),
}
