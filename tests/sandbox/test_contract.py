"""The page's parameter table and combination rules."""

import json
from typing import Any

import pytest

from prefect_kling.sandbox import violations

V3 = {"model": "kling-v3-omni", "prompt": "a fox"}
O1 = {"model": "kling-video-o1", "prompt": "a fox"}
FIRST = {"image_url": "https://x.test/a.png", "type": "first_frame"}
END = {"image_url": "https://x.test/b.png", "type": "end_frame"}
PLAIN = {"image_url": "http://x.test/c.jpg"}
FEATURE = {"video_url": "https://x.test/v.mp4", "refer_type": "feature"}
BASE = {"video_url": "https://x.test/v.mp4", "refer_type": "base", "keep_original_sound": "yes"}
PARTS = [
    {"index": 1, "prompt": "one", "duration": "2"},
    {"index": 2, "prompt": "two", "duration": "3"},
]
SHOTS = V3 | {"multi_shot": True, "shot_type": "customize", "multi_prompt": PARTS}

ACCEPTED: dict[str, dict[str, Any]] = {
    "page example": O1 | {"mode": "std", "duration": "5", "aspect_ratio": "16:9"},
    "only an image": {"model": "kling-v3-omni", "image_list": [FIRST]},
    "only a video": {"model": "kling-v3-omni", "video_list": [FEATURE]},
    "longest prompt": V3 | {"prompt": "x" * 2500},
    "shortest": V3 | {"duration": "3"},
    "longest O1": O1 | {"duration": "10"},
    "longest V3": V3 | {"duration": "15"},
    "both frames": V3 | {"image_list": [FIRST, END]},
    "seven references": V3
    | {"image_list": [PLAIN] * 5, "element_list": [{"element_id": 1}, {"element_id": "22"}]},
    "four beside a video": V3 | {"image_list": [PLAIN] * 4, "video_list": [FEATURE]},
    "first frame beside a feature video": V3 | {"image_list": [FIRST], "video_list": [FEATURE]},
    "edit": V3 | {"video_list": [BASE], "sound": "off"},
    "sound": O1 | {"sound": "on"},
    "callback": V3 | {"callback_url": "http://127.0.0.1:9/done"},
    "watermark": V3 | {"watermark_info": {"enabled": True}},
    "parts as an array": SHOTS,
    "parts as a string": SHOTS | {"multi_prompt": json.dumps(PARTS)},
    "parts without indexes": SHOTS | {"multi_prompt": [{"prompt": "one", "duration": "5"}]},
    "multi-shot with a first frame": SHOTS | {"image_list": [FIRST]},
    "model cuts": V3 | {"multi_shot": True, "shot_type": "intelligence"},
    "multi-shot off": O1 | {"multi_shot": False},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"prompt": "a fox"}, "model is required"),
    "unknown model": (
        V3 | {"model": "kling-v9"},
        "model must be 'kling-video-o1' or 'kling-v3-omni'",
    ),
    "unknown parameter": (V3 | {"seed": 1}, "unknown parameter seed"),
    "unknown image field": (
        V3 | {"image_list": [PLAIN | {"alt": "x"}]},
        "unknown parameter image_list.0.alt",
    ),
    "nothing to go by": (
        {"model": "kling-v3-omni"},
        "at least one of prompt, image_list or video_list",
    ),
    "blank prompt": (V3 | {"prompt": "  ", "image_list": []}, "at least one of"),
    "long prompt": (V3 | {"prompt": "x" * 2501}, "prompt must not be longer than 2500 characters"),
    "null": (V3 | {"aspect_ratio": None}, "aspect_ratio must be"),
    "null image type": (V3 | {"image_list": [PLAIN | {"type": None}]}, "image_list.0.type must be"),
    "empty image type": (V3 | {"image_list": [PLAIN | {"type": ""}]}, "image_list.0.type must be"),
    "number as duration": (V3 | {"duration": 5}, "duration must be a string"),
    "word as duration": (
        V3 | {"duration": "five"},
        'duration must be a string of digits such as "5"',
    ),
    "too short": (V3 | {"duration": "2"}, 'duration must be "3" to "15" for kling-v3-omni'),
    "too long for O1": (O1 | {"duration": "11"}, 'duration must be "3" to "10" for kling-video-o1'),
    "too long for V3": (V3 | {"duration": "16"}, 'duration must be "3" to "15"'),
    "boolean sound": (V3 | {"sound": True}, "sound must be 'on' or 'off'"),
    "unknown mode": (V3 | {"mode": "4k"}, "mode must be 'std' or 'pro'"),
    "unknown ratio": (V3 | {"aspect_ratio": "4:3"}, "aspect_ratio must be '16:9', '9:16' or '1:1'"),
    "file address": (
        V3 | {"image_list": [{"image_url": "file:///a.png"}]},
        "must be an http or https address",
    ),
    "no host": (V3 | {"callback_url": "http://"}, "callback_url must be an http or https address"),
    "no address": (
        V3 | {"video_list": [{"refer_type": "base"}]},
        "video_list.0.video_url is required",
    ),
    "no refer_type": (
        V3 | {"video_list": [{"video_url": "http://x.test/v"}]},
        "refer_type is required",
    ),
    "keep as boolean": (
        V3 | {"video_list": [BASE | {"keep_original_sound": True}]},
        "must be 'yes' or 'no'",
    ),
    "word as element": (
        V3 | {"element_list": [{"element_id": "cat"}]},
        "an integer or a string of digits",
    ),
    "boolean element": (
        V3 | {"element_list": [{"element_id": True}]},
        "an integer or a string of digits",
    ),
    "end without first": (V3 | {"image_list": [END]}, "an end_frame needs a first_frame"),
    "two first frames": (V3 | {"image_list": [FIRST, FIRST]}, "one first_frame and one end_frame"),
    "frame and edit": (
        V3 | {"image_list": [FIRST], "video_list": [BASE]},
        "cannot be combined with a base video",
    ),
    "two videos": (V3 | {"video_list": [FEATURE, FEATURE]}, "video_list may hold one video"),
    "sound and video": (
        V3 | {"video_list": [FEATURE], "sound": "on"},
        'sound must be "off" when a video is given',
    ),
    "eight references": (
        V3 | {"image_list": [PLAIN] * 7, "element_list": [{"element_id": 1}]},
        "at most 7",
    ),
    "five beside a video": (V3 | {"image_list": [PLAIN] * 5, "video_list": [FEATURE]}, "at most 4"),
    "multi-shot on O1": (
        SHOTS | {"model": "kling-video-o1"},
        "multi_shot is only offered by kling-v3-omni",
    ),
    "no shot_type": (V3 | {"multi_shot": True}, "multi_shot needs shot_type"),
    "camera as shot_type": (
        V3 | {"multi_shot": True, "shot_type": "dolly"},
        "multi_shot needs shot_type",
    ),
    "multi-shot to an end frame": (
        SHOTS | {"image_list": [FIRST, END]},
        "cannot be combined with an end_frame",
    ),
    "model cuts nothing": (
        {
            "model": "kling-v3-omni",
            "image_list": [PLAIN],
            "multi_shot": True,
            "shot_type": "intelligence",
        },
        'shot_type "intelligence" needs a prompt',
    ),
    "no parts": (V3 | {"multi_shot": True, "shot_type": "customize"}, "needs 1 to 6 parts"),
    "seven parts": (
        SHOTS | {"multi_prompt": PARTS * 3 + PARTS[:1]},
        "needs 1 to 6 parts in multi_prompt, got 7",
    ),
    "wrong sum": (
        SHOTS | {"duration": "6"},
        "the parts of multi_prompt last 5 s together, duration says 6",
    ),
    "long part": (
        SHOTS | {"multi_prompt": [{"prompt": "x" * 513, "duration": "5"}]},
        "than 512 characters",
    ),
    "part of no time": (
        SHOTS
        | {"multi_prompt": [{"prompt": "a", "duration": "0"}, {"prompt": "b", "duration": "5"}]},
        "at least 1 second",
    ),
    "part as number": (
        SHOTS | {"multi_prompt": [{"prompt": "a", "duration": 5}]},
        "duration must be a string",
    ),
    "parts out of order": (SHOTS | {"multi_prompt": PARTS[::-1]}, "must count up from 1"),
    "parts as prose": (SHOTS | {"multi_prompt": "first this, then that"}, "must be a JSON array"),
    "parts as an object": (SHOTS | {"multi_prompt": "{}"}, "must be a JSON array"),
    "parts without multi-shot": (
        V3 | {"multi_prompt": PARTS},
        "multi_prompt needs multi_shot: true",
    ),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(body: dict[str, Any]) -> None:
    """What the page allows is accepted."""
    assert violations(body) == []


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(body: dict[str, Any], reason: str) -> None:
    """What the page or upstream forbids is refused, and the message names the rule."""
    assert [message for message in violations(body) if reason in message]


def test_every_violation_is_named() -> None:
    """All wrong parameters are listed at once, not only the first."""
    assert len(violations(V3 | {"mode": "4k", "sound": 1, "seed": 2})) == 3


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_not_an_object(body: object) -> None:
    """A body that is not a JSON object is refused."""
    assert violations(body) == ["the body must be a JSON object"]


def test_extra_model(open_sandbox: Any) -> None:
    """A model the page does not know can be accepted, with another's rules and prices."""
    caller = open_sandbox(extra_models={"kling-v4-omni": "kling-v3-omni"}, balance_usd=10)
    ended = caller.finish(model="kling-v4-omni", sound="on")
    assert (ended["state"], ended["model"]) == ("completed", "kling-video/kling-v4-omni")
    assert caller.http.get("/balance").json()["data"]["total"] == 9.7132
    body = {"model": "kling-v4-omni", "prompt": "a fox", "duration": "16"}
    reply = caller.http.post("/video/generations", json=body)
    assert (reply.status_code, "duration must be" in reply.text) == (400, True)
