"""Every rule of `VideoRequest`, on the accepting and on the refusing side."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_kling.kling.models import ModelSpecification, register_model, unregister_model
from prefect_kling.kling.request import STORED, VideoRequest
from prefect_kling.kling.rules import RULES, check
from prefect_kling.kling.violations import describe, describe_rule, violations_of
from prefect_kling.sandbox import violations as sandbox_violations

O1, V3 = "kling-video-o1", "kling-v3-omni"
FIRST = {"image_url": "https://example.com/first.png", "type": "first_frame"}
END = {"image_url": "https://example.com/end.png", "type": "end_frame"}
PLAIN = {"image_url": "https://example.com/look.png"}
BASE = {"video_url": "https://example.com/in.mp4", "refer_type": "base"}
FEATURE = {"video_url": "https://example.com/in.mp4", "refer_type": "feature"}
ELEMENT = {"element_id": 7}
SILENT = "silent-model"


@pytest.fixture(autouse=True)
def silent_model() -> Iterator[None]:
    """A model that can do little."""
    silent = ModelSpecification(
        name=SILENT,
        as_of=date(2026, 11, 26),
        source="this test",
        max_seconds=5,
        modes=("std",),
        aspect_ratios=("16:9",),
        max_videos=0,
        sound=False,
        rates={"std": {"plain": Decimal("0.01")}},
    )
    register_model(silent)
    yield
    unregister_model(SILENT)


def ask(model: str = V3, **fields: Any) -> dict[str, Any]:
    """A request that is fine unless the fields spoil it."""
    return {"model": model, "prompt": "A harbour at dawn", **fields}


def cut(*seconds: int, **fields: Any) -> dict[str, Any]:
    """A multi-shot request with shots of these lengths."""
    shots = [
        {"prompt": f"Shot {number}", "duration": length} for number, length in enumerate(seconds)
    ]
    return ask(
        **{
            "multi_shot": True,
            "shot_type": "customize",
            "multi_prompt": shots,
            "duration": sum(seconds),
        }
        | fields
    )


# rule name -> (requests that obey it, requests that break it)
TABLE: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "prompt_given": ([ask(), cut(5, prompt=None)], [{"model": V3, "image_list": [PLAIN]}]),
    "first_frame_among_few": (
        [ask(O1, image_list=[FIRST, PLAIN]), ask(V3, image_list=[FIRST, PLAIN, PLAIN])],
        [ask(O1, image_list=[FIRST, PLAIN, PLAIN])],
    ),
    "multi_shot_without_edit": (
        [cut(3, 2), cut(3, 2, video_list=[FEATURE])],
        [cut(3, 2, video_list=[BASE])],
    ),
    "extra_is_extra": (
        [ask(extra={"seed": 1}), ask(multi_shot=True, extra={"shot_type": "dolly"})],
        [ask(extra={"mode": "4k"}), ask(extra={"duration": "15", "sound": "on"})],
    ),
    "something_asked": (
        [ask(), {"model": V3, "image_list": [PLAIN]}, {"model": O1, "video_list": [FEATURE]}],
        [{"model": V3}, {"model": V3, "prompt": ""}, {"model": V3, "prompt": "  "}],
    ),
    "duration_of_model": (
        [ask(O1, duration=10), ask(V3, duration=15), ask(O1, duration=15, video_list=[BASE])],
        [ask(O1, duration=11), ask(O1, duration=15)],
    ),
    "duration_with_feature": (
        [ask(duration=10, video_list=[FEATURE]), ask(duration=15)],
        [ask(duration=11, video_list=[FEATURE])],
    ),
    "plain_duration": (
        [ask(O1, duration=5), ask(O1, duration=7, image_list=[PLAIN]), ask(V3, duration=7)],
        [ask(O1, duration=7), ask(O1, duration=3, image_list=[FIRST])],
    ),
    "end_needs_first": (
        [ask(image_list=[FIRST, END]), ask(image_list=[FIRST])],
        [ask(image_list=[END])],
    ),
    "one_of_each_frame": (
        [ask(image_list=[FIRST, END])],
        [ask(image_list=[FIRST, FIRST]), ask(image_list=[FIRST, END, END])],
    ),
    "frames_exclude_base": (
        [ask(image_list=[FIRST], video_list=[FEATURE]), ask(image_list=[PLAIN], video_list=[BASE])],
        [ask(image_list=[FIRST], video_list=[BASE])],
    ),
    "references_within_limit": (
        [
            ask(image_list=[PLAIN] * 4, element_list=[ELEMENT] * 3),
            ask(image_list=[PLAIN] * 4, video_list=[FEATURE]),
        ],
        [
            ask(image_list=[PLAIN] * 5, element_list=[ELEMENT] * 3),
            ask(image_list=[PLAIN] * 5, video_list=[FEATURE]),
        ],
    ),
    "end_frame_among_few": (
        [ask(O1, image_list=[FIRST, END]), ask(V3, image_list=[FIRST, END, PLAIN])],
        [ask(O1, image_list=[FIRST, END, PLAIN])],
    ),
    "end_frame_without_references": (
        [ask(image_list=[FIRST, END]), ask(image_list=[FIRST, PLAIN])],
        [ask(image_list=[FIRST, END, PLAIN])],
    ),
    "elements_with_frames": (
        [
            ask(image_list=[FIRST], element_list=[ELEMENT] * 3),
            ask(image_list=[FIRST, END], element_list=[ELEMENT] * 3),
            ask(element_list=[ELEMENT] * 7),
        ],
        [
            ask(image_list=[FIRST], element_list=[ELEMENT] * 4),
            ask(O1, image_list=[FIRST, END], element_list=[ELEMENT]),
        ],
    ),
    "silent_with_video": (
        [ask(sound="on"), ask(sound="off", video_list=[FEATURE])],
        [ask(sound="on", video_list=[FEATURE]), ask(sound="on", video_list=[BASE])],
    ),
    "disputed_sound": ([ask(V3, sound="on"), ask(O1, sound="off")], [ask(O1, sound="on")]),
    "multi_shot_model": ([cut(3, 2)], [cut(3, 2, model=O1)]),
    "multi_shot_needs_type": (
        [cut(3, 2), ask(multi_shot=True, extra={"shot_type": "dolly"})],
        [ask(multi_shot=True)],
    ),
    "multi_fields_need_multi_shot": (
        [cut(3, 2), ask()],
        [ask(shot_type="intelligence"), cut(3, 2, multi_shot=False)],
    ),
    "customize_needs_segments": ([cut(5), cut(1, 1, 1, 1, 1, 1)], [cut(5, multi_prompt=[])]),
    "intelligence_takes_no_segments": (
        [ask(multi_shot=True, shot_type="intelligence")],
        [cut(3, 2, shot_type="intelligence")],
    ),
    "intelligence_needs_prompt": (
        [ask(multi_shot=True, shot_type="intelligence")],
        [{"model": V3, "image_list": [PLAIN], "multi_shot": True, "shot_type": "intelligence"}],
    ),
    "prompt_length": ([ask(prompt="x" * 2500)], [ask(prompt="x" * 2501)]),
    "segment_prompt_length": (
        [cut(5, multi_prompt=[{"prompt": "x" * 512, "duration": 5}])],
        [cut(5, multi_prompt=[{"prompt": "x" * 513, "duration": 5}])],
    ),
    "segments_within_limit": ([cut(1, 1, 1, 1, 1, 1)], [cut(1, 1, 1, 1, 1, 1, 1)]),
    "mode_of_model": ([ask(), ask(SILENT)], [ask(SILENT, mode="pro")]),
    "aspect_ratio_of_model": ([ask(SILENT)], [ask(SILENT, aspect_ratio="1:1")]),
    "video_of_model": (
        [ask(SILENT), ask(video_list=[FEATURE])],
        [ask(SILENT, video_list=[FEATURE])],
    ),
    "sound_of_model": ([ask(SILENT), ask(sound="on")], [ask(SILENT, sound="on")]),
    "segments_add_up": ([cut(3, 2), cut(15)], [cut(3, 2, duration=6), cut(3, 2, duration=4)]),
    "multi_shot_without_end": ([cut(5)], [cut(5, image_list=[FIRST, END])]),
    "multi_shot_with_first": ([cut(5), cut(5, image_list=[PLAIN])], [cut(5, image_list=[FIRST])]),
    "references_exist": (
        [
            ask(
                prompt="<<<image_2>>> meets <<<element_1>>>",
                image_list=[PLAIN, PLAIN],
                element_list=[ELEMENT],
            ),
            ask(prompt="after <<<video_1>>>", video_list=[FEATURE]),
        ],
        [
            ask(prompt="<<<image_1>>>"),
            ask(prompt="<<<image_0>>>", image_list=[PLAIN]),
            ask(prompt="<<<image1>>>", image_list=[PLAIN]),
            ask(prompt="<<<Image_1>>>", image_list=[PLAIN]),
            ask(prompt="<<<video_2>>>", video_list=[FEATURE]),
            cut(5, multi_prompt=[{"prompt": "<<<element_1>>> waves", "duration": 5}]),
        ],
    ),
}
CASES = [(rule, request) for rule in RULES for request in TABLE[rule.name][0]]
BREACHES = [(rule, request) for rule in RULES for request in TABLE[rule.name][1]]


def test_the_table_covers_every_rule() -> None:
    """No rule is without an example on both sides."""
    assert {rule.name for rule in RULES} == set(TABLE)
    assert all(accepted and refused for accepted, refused in TABLE.values())


@pytest.mark.parametrize(("rule", "request_"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_a_request_within_the_rule_is_accepted(rule: Any, request_: dict[str, Any]) -> None:
    """What a rule allows does not break that rule, nor any undisputed one."""
    request = VideoRequest.model_validate(request_)
    assert rule.name not in {violation.rule for violation in check(request)}


@pytest.mark.parametrize(
    ("rule", "request_"), BREACHES, ids=lambda value: getattr(value, "name", "")
)
def test_a_breach_is_refused_or_if_disputed_named(rule: Any, request_: dict[str, Any]) -> None:
    """A breach names the field, the value and the rule; a disputed one lets the request pass."""
    if rule.is_disputed:
        violations = VideoRequest.model_validate(request_).disputes()
    else:
        with pytest.raises(ValidationError) as caught:
            VideoRequest.model_validate(request_)
        violations = violations_of(caught.value)
        for violation in violations:
            assert describe(violation) in str(caught.value)

    [found] = [violation for violation in violations if violation.rule == rule.name]
    assert found.field == rule.field
    assert found.is_disputed is rule.is_disputed
    assert describe(found).startswith(f"{rule.field} (")
    assert describe_rule(found) in describe(found)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("model", O1, "kling-v9"),
        ("prompt", "x" * 2500, "x" * 2501),
        ("mode", "pro", "4k"),
        ("duration", 15, 16),
        ("duration", "3", "2"),
        ("duration", 5, 5.5),
        ("sound", "on", "loud"),
        ("sound", True, 1),
        ("aspect_ratio", "1:1", "4:3"),
        ("callback_url", "https://example.com/hook", "ftp://example.com"),
        (
            "image_list",
            [{"image_url": "http://example.com/a.png"}],
            [{"image_url": "data:image/png;base64,AAAA"}],
        ),
        ("image_list", [PLAIN], [{"image_url": "https:///nohost.png"}]),
        ("image_list", [PLAIN], [{"image_url": "https://example.com/a b.png"}]),
        ("image_list", [FIRST], [{**FIRST, "type": "middle_frame"}]),
        ("video_list", [FEATURE], [FEATURE, FEATURE]),
        (
            "video_list",
            [{**BASE, "keep_original_sound": "yes"}],
            [{**BASE, "keep_original_sound": "maybe"}],
        ),
        (
            "video_list",
            [{**BASE, "keep_original_sound": True}],
            [{"video_url": "https://example.com/in.mp4"}],
        ),
        ("element_list", [{"element_id": "123456789012345678"}], [{"element_id": "abc"}]),
        ("shot_type", None, "dolly"),
        ("watermark_info", {"enabled": True}, {"enabled": "perhaps"}),
        ("negative_prompt", None, "rain"),
    ],
)
def test_each_field_has_its_own_limits(field: str, good: Any, bad: Any) -> None:
    """A field takes what the page says and refuses the next thing, under its own name."""
    if good is not None:
        VideoRequest.model_validate(ask() | {field: good})
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate(ask() | {field: bad})
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    ("shots", "place"),
    [
        ([{"prompt": "x" * 513, "duration": 5}], "prompt"),
        ([{"prompt": "x", "duration": 0}], "duration"),
        ([{"prompt": "", "duration": 5}], "prompt"),
    ],
)
def test_each_shot_of_a_multi_shot_clip_has_limits(shots: list[dict[str, Any]], place: str) -> None:
    """A shot has 1 to 512 characters and at least one second."""
    cut_request = cut(5) | {"multi_prompt": shots}
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate(cut_request)
    assert caught.value.errors()[0]["loc"] == ("multi_prompt", 0, place)


def test_more_than_six_shots_are_refused() -> None:
    """A multi-shot clip has at most six shots."""
    VideoRequest.model_validate(cut(1, 1, 1, 1, 1, 1))
    with pytest.raises(ValidationError, match="at most 6"):
        VideoRequest.model_validate(cut(1, 1, 1, 1, 1, 1, 1))


def test_the_body_says_what_has_a_price_and_leaves_out_what_is_absent() -> None:
    """Durations are strings, disputed defaults are explicit, nothing is null."""
    request = VideoRequest(model=V3, prompt="Dawn", video_list=[FEATURE], duration=7)
    assert request.body() == {
        "model": V3,
        "prompt": "Dawn",
        "video_list": [{**FEATURE, "keep_original_sound": "no"}],
        "mode": "std",
        "sound": "off",
        "duration": "7",
        "aspect_ratio": "16:9",
    }


def test_a_first_frame_decides_the_shape() -> None:
    """No aspect ratio is sent next to a first frame, and a plain image has no type key."""
    body = VideoRequest(
        model=V3, prompt="Dawn", image_list=[FIRST, PLAIN], aspect_ratio="9:16"
    ).body()
    assert "aspect_ratio" not in body
    assert body["image_list"] == [FIRST, PLAIN]


def test_an_edit_sends_neither_length_nor_shape() -> None:
    """An edited video keeps its own length and shape."""
    body = VideoRequest(model=V3, prompt="Make it snow", video_list=[BASE]).body()
    assert not {"duration", "aspect_ratio"} & set(body)


def test_multi_prompt_is_a_json_string_unless_an_array_is_wanted() -> None:
    """The page types multi_prompt as a string, Kling's own API as an array: the same shots."""
    request = VideoRequest.model_validate(
        {key: value for key, value in cut(3, 2).items() if key != "prompt"}
    )
    shots = [
        {"index": 1, "prompt": "Shot 0", "duration": "3"},
        {"index": 2, "prompt": "Shot 1", "duration": "2"},
    ]
    assert request.body("array")["multi_prompt"] == shots

    assert json.loads(str(request.body()["multi_prompt"])) == shots
    assert request.body()["prompt"] == "Shot 0", "the page wants a prompt in every body"


def test_a_blank_prompt_is_none_and_a_disabled_watermark_is_not_said() -> None:
    """What means the same is written the same, so that it is paid for once."""
    assert VideoRequest.model_validate(cut(3, 2, prompt=" ")).body()["prompt"] == "Shot 0"
    assert (
        VideoRequest.model_validate(ask(watermark_info={"enabled": False})).body()
        == VideoRequest(**ask()).body()
    )


def test_a_stored_request_is_not_judged_again() -> None:
    """A rule that came later does not make a paid clip's record unreadable."""
    refused = (
        '{"model": "kling-v3-omni", "prompt": "Dawn", "sound": "on", "multi_prompt": [], '
        '"multi_shot": true}'
    )
    with pytest.raises(ValidationError):
        VideoRequest.model_validate_json(refused)
    assert VideoRequest.model_validate_json(refused, context=STORED).multi_shot


def test_unknown_parameters_can_be_sent_on_purpose() -> None:
    """`extra` goes out as it is; only a shot_type of one's own may take the place of a field."""
    own = VideoRequest(model=V3, prompt="Dawn", multi_shot=True, extra={"shot_type": "dolly"})
    assert own.body()["shot_type"] == "dolly"
    assert VideoRequest(model=V3, prompt="Dawn", extra={"seed": 3}).body()["seed"] == 3


def test_a_request_has_a_headline() -> None:
    """Runs are named after what is made, in one short line, prompt or not."""
    assert (
        VideoRequest.model_validate(ask(prompt="A harbour\n at dawn")).headline
        == "A harbour at dawn"
    )
    assert len(VideoRequest.model_validate(ask(prompt="long " * 400)).headline) == 60
    assert (
        VideoRequest.model_validate({"model": V3, "image_list": [PLAIN]}).headline
        == "without a prompt"
    )


@pytest.mark.parametrize("encoding", ["string", "array"])
@pytest.mark.parametrize(
    "request_",
    [
        request
        for accepted, _ in TABLE.values()
        for request in accepted
        if "extra" not in request and request["model"] != SILENT
    ],
)
def test_what_is_sent_obeys_the_pages_own_table(request_: dict[str, Any], encoding: Any) -> None:
    """The sandbox checks bodies against the page by itself; no accepted request breaks it."""
    request = VideoRequest.model_validate(request_)
    assert sandbox_violations(request.body(encoding)) == []


def test_a_broken_rule_is_a_fact_with_its_place() -> None:
    """Whoever handles the error reads place, value and limit; nobody takes the sentence apart."""
    request = cut(
        5, multi_prompt=[{"prompt": "x", "duration": 2}, {"prompt": "x" * 513, "duration": 3}]
    )
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate(request)
    [violation] = violations_of(caught.value)
    assert violation.place == ("multi_prompt", 1, "prompt") == caught.value.errors()[0]["loc"]
    assert (violation.rule, violation.value, violation.limit) == ("segment_prompt_length", 513, 512)
    assert violation.model == V3


def test_a_stored_request_of_a_forgotten_model_is_read() -> None:
    """A model that is no longer configured does not make a paid clip's record unreadable."""
    stored = VideoRequest.model_validate(ask(SILENT)).model_dump_json()
    unregister_model(SILENT)
    with pytest.raises(ValidationError):
        VideoRequest.model_validate_json(stored)
    assert VideoRequest.model_validate_json(stored, context=STORED).model == SILENT
