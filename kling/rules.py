"""The rules a request must obey beyond the type of each field, as one table.

Sources are named as in the project's API notes: "page" is the operator's own page, "Kling" the
official documentation of the models behind it, "clients" what several independent clients enforce.
A *disputed* rule is one on which these contradict each other; there the page wins and the rule only
warns, unless told otherwise.

A rule finds facts. The sentences about them are formed in `violations`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prefect_kling.kling.models import ModelSpecification, find_model, known_models
from prefect_kling.kling.parameters import RequestParameters
from prefect_kling.kling.violations import Place, Violation

REFERENCE = re.compile(r"<<<[^<>]*>>>")


@dataclass(frozen=True)
class Measured:
    """What breaks a rule, what the rule allows, and where, if not at the rule's own field."""

    value: object = None
    limit: object = None
    place: Place | None = None


Found = Measured | None
"""What breaks a rule, or None where it is obeyed."""
Check = Callable[[RequestParameters, ModelSpecification], Found]


@dataclass(frozen=True)
class Rule:
    """One rule: the field it speaks of, who says so, and how to find what breaks it."""

    name: str
    field: str
    source: str
    is_disputed: bool
    find: Check


RULES: list[Rule] = []


def check(request: RequestParameters) -> Iterator[Violation]:
    """Yield every rule the request breaks, disputed ones included, in the order of the table."""
    model = find_model(request.model)
    for rule in RULES:
        finding = rule.find(request, model)
        if finding is None:
            continue
        yield Violation(
            place=finding.place or (rule.field,),
            field=rule.field,
            rule=rule.name,
            value=finding.value,
            limit=finding.limit,
            model=model.name,
            source=rule.source,
            is_disputed=rule.is_disputed,
        )


def _rule(field: str, source: str, *, disputed: bool = False) -> Callable[[Check], Check]:
    def register(find: Check) -> Check:
        RULES.append(Rule(find.__name__.strip("_"), field, source, disputed, find))
        return find

    return register


@_rule("prompt", "page")
def _something_asked(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.prompt or request.image_list or request.video_list or request.multi_prompt:
        return None
    return Measured()


@_rule("prompt", "Kling", disputed=True)
def _prompt_given(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.prompt or request.multi_prompt:
        return None
    return Measured()


@_rule("prompt", "page")
def _prompt_length(request: RequestParameters, model: ModelSpecification) -> Found:
    length = len(request.prompt or "")
    if length <= model.max_prompt_length:
        return None
    return Measured(length, limit=model.max_prompt_length)


@_rule("mode", "this model's specification")
def _mode_of_model(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.mode in model.modes and request.mode in model.rates:
        return None
    return Measured(request.mode, limit=model.modes)


@_rule("aspect_ratio", "this model's specification")
def _aspect_ratio_of_model(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.aspect_ratio in model.aspect_ratios:
        return None
    return Measured(request.aspect_ratio, limit=model.aspect_ratios)


@_rule("duration", "page")
def _duration_of_model(request: RequestParameters, model: ModelSpecification) -> Found:
    most = model.max_seconds
    if request.edits_video:
        # The clip is as long as its input; the duration is not sent.
        most = max(each.max_seconds for each in known_models())
    if model.min_seconds <= request.duration <= most:
        return None
    return Measured(request.duration, limit=(model.min_seconds, most))


@_rule("duration", "Kling")
def _duration_with_feature(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.video is None or request.edits_video:
        return None
    if request.duration <= model.max_seconds_with_feature:
        return None
    return Measured(request.duration, limit=model.max_seconds_with_feature)


@_rule("duration", "Kling's table", disputed=True)
def _plain_duration(request: RequestParameters, model: ModelSpecification) -> Found:
    if model.plain_seconds is None or request.duration in model.plain_seconds:
        return None
    if request.video_list or request.element_list or len(request.image_list) > 1:
        return None
    if _reference_images(request):
        return None
    return Measured(request.duration, limit=model.plain_seconds)


@_rule("image_list", "Kling")
def _end_needs_first(request: RequestParameters, model: ModelSpecification) -> Found:
    if _has_end(request) and not _has_first(request):
        return Measured()
    return None


@_rule("image_list", "page")
def _one_of_each_frame(request: RequestParameters, model: ModelSpecification) -> Found:
    types = [image.type for image in request.image_list]
    repeated = tuple(kind for kind in ("end_frame", "first_frame") if types.count(kind) > 1)
    if not repeated:
        return None
    return Measured(repeated, limit=1)


@_rule("image_list", "Kling")
def _frames_exclude_base(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.edits_video and (_has_first(request) or _has_end(request)):
        return Measured()
    return None


@_rule("image_list", "Kling")
def _references_within_limit(request: RequestParameters, model: ModelSpecification) -> Found:
    count = len(request.image_list) + len(request.element_list)
    limit = model.max_references
    if request.video_list:
        limit = model.max_references_with_video
    if count <= limit:
        return None
    return Measured(count, limit=limit)


@_rule("image_list", "Kling")
def _end_frame_among_few(request: RequestParameters, model: ModelSpecification) -> Found:
    limit = model.max_images_with_frame
    if limit is None or len(request.image_list) <= limit or not _has_end(request):
        return None
    return Measured(len(request.image_list), limit=limit)


@_rule("image_list", "Kling's text", disputed=True)
def _first_frame_among_few(request: RequestParameters, model: ModelSpecification) -> Found:
    limit = model.max_images_with_frame
    if limit is None or len(request.image_list) <= limit or not _has_first(request):
        return None
    return Measured(len(request.image_list), limit=limit)


@_rule("image_list", "clients", disputed=True)
def _end_frame_without_references(request: RequestParameters, model: ModelSpecification) -> Found:
    if _has_end(request) and _reference_images(request):
        return Measured()
    return None


@_rule("element_list", "Kling")
def _elements_with_frames(request: RequestParameters, model: ModelSpecification) -> Found:
    if not _has_first(request):
        return None
    limit = model.max_elements_with_first_frame
    if _has_end(request):
        limit = min(limit, model.max_elements_with_end_frame)
    if len(request.element_list) <= limit:
        return None
    return Measured(len(request.element_list), limit=limit)


@_rule("video_list", "this model's specification")
def _video_of_model(request: RequestParameters, model: ModelSpecification) -> Found:
    if len(request.video_list) <= model.max_videos:
        return None
    return Measured(len(request.video_list), limit=model.max_videos)


@_rule("sound", "this model's specification")
def _sound_of_model(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.sound == "off" or model.sound:
        return None
    return Measured("on", limit="off")


@_rule("sound", "Kling")
def _silent_with_video(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.sound == "on" and request.video_list:
        return Measured("on", limit="off")
    return None


@_rule("sound", "clients", disputed=True)
def _disputed_sound(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.sound == "on" and model.sound and model.sound_is_disputed:
        return Measured("on", limit="off")
    return None


@_rule("multi_shot", "Kling")
def _multi_shot_model(request: RequestParameters, model: ModelSpecification) -> Found:
    if not request.multi_shot or model.max_shots > 0:
        return None
    able = tuple(each.name for each in known_models() if each.max_shots > 0)
    return Measured(True, limit=able)


@_rule("multi_shot", "Kling")
def _multi_shot_without_edit(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.multi_shot and request.edits_video:
        return Measured(True, limit=False)
    return None


@_rule("extra", "this package")
def _extra_is_extra(request: RequestParameters, model: ModelSpecification) -> Found:
    fields = set(RequestParameters.model_fields) - {"shot_type"}
    known = sorted(fields & set(request.extra))
    if not known:
        return None
    return Measured(tuple(known))


@_rule("shot_type", "Kling")
def _multi_shot_needs_type(request: RequestParameters, model: ModelSpecification) -> Found:
    if not request.multi_shot or request.shot_type or "shot_type" in request.extra:
        return None
    return Measured()


@_rule("multi_shot", "Kling")
def _multi_fields_need_multi_shot(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.multi_shot:
        return None
    given = []
    if request.shot_type:
        given.append("shot_type")
    if request.multi_prompt:
        given.append("multi_prompt")
    if not given:
        return None
    return Measured(tuple(given))


@_rule("multi_prompt", "Kling")
def _customize_needs_segments(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.shot_type == "customize" and not request.multi_prompt:
        return Measured(0, limit=model.max_shots)
    return None


@_rule("multi_prompt", "Kling")
def _intelligence_takes_no_segments(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.shot_type == "intelligence" and request.multi_prompt:
        return Measured(len(request.multi_prompt), limit=0)
    return None


@_rule("prompt", "Kling")
def _intelligence_needs_prompt(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.shot_type != "intelligence" or request.multi_prompt or request.prompt:
        return None
    return Measured()


@_rule("multi_prompt", "Kling")
def _segments_within_limit(request: RequestParameters, model: ModelSpecification) -> Found:
    if model.max_shots == 0 or len(request.multi_prompt) <= model.max_shots:
        return None
    return Measured(len(request.multi_prompt), limit=model.max_shots)


@_rule("multi_prompt", "page")
def _segment_prompt_length(request: RequestParameters, model: ModelSpecification) -> Found:
    for index, segment in enumerate(request.multi_prompt):
        if len(segment.prompt) > model.max_shot_prompt_length:
            return Measured(
                len(segment.prompt),
                limit=model.max_shot_prompt_length,
                place=("multi_prompt", index, "prompt"),
            )
    return None


@_rule("multi_prompt", "Kling")
def _segments_add_up(request: RequestParameters, model: ModelSpecification) -> Found:
    if not request.multi_prompt:
        return None
    total = sum(segment.duration for segment in request.multi_prompt)
    if total == request.duration:
        return None
    return Measured(total, limit=request.duration)


@_rule("image_list", "Kling")
def _multi_shot_without_end(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.multi_shot and _has_end(request):
        return Measured()
    return None


@_rule("image_list", "Kling", disputed=True)
def _multi_shot_with_first(request: RequestParameters, model: ModelSpecification) -> Found:
    if request.multi_shot and _has_first(request):
        return Measured()
    return None


@_rule("prompt", "Kling")
def _references_exist(request: RequestParameters, model: ModelSpecification) -> Found:
    given = {
        "image": len(request.image_list),
        "element": len(request.element_list),
        "video": len(request.video_list),
    }
    known = set()
    for kind, count in given.items():
        for number in range(1, count + 1):
            known.add(f"<<<{kind}_{number}>>>")

    texts = [request.prompt or "", *(segment.prompt for segment in request.multi_prompt)]
    named = REFERENCE.findall("\n".join(texts))
    missing = [name for name in named if name not in known]
    if not missing:
        return None
    return Measured(tuple(missing))


def _has_first(request: RequestParameters) -> bool:
    return request.image_of_type("first_frame") is not None


def _has_end(request: RequestParameters) -> bool:
    return request.image_of_type("end_frame") is not None


def _reference_images(request: RequestParameters) -> int:
    return sum(image.type is None for image in request.image_list)
