"""Clip keys: what decides a clip decides its key, for ever."""

from typing import Any

import pytest

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.orders import ClipOrder


def key(take: int = 1, **fields: Any) -> str:
    """The key of a request with these fields."""
    request = VideoRequest.model_validate({"model": "kling-v3-omni", "prompt": "Dawn"} | fields)
    return ClipOrder(request=request, take=take).clip_key


def test_keys_never_change_their_meaning() -> None:
    """These two keys are in users' buckets: a change would pay for every clip again."""
    assert key() == "f7b40f2c9abfd6d5e356785e5d670cda"
    assert (
        key(multi_shot=True, shot_type="customize", multi_prompt=[{"prompt": "A", "duration": 5}])
        == "4b136dae38adf0b125627ae353bdd8b4"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Dusk"},
        {"model": "kling-video-o1"},
        {"mode": "pro"},
        {"duration": 6},
        {"sound": "on"},
        {"aspect_ratio": "9:16"},
        {"take": 2},
        {"image_list": [{"image_url": "https://example.com/a.png"}]},
        {"element_list": [{"element_id": 7}]},
        {"watermark_info": {"enabled": True}},
        {"extra": {"seed": 1}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_whatever_changes_the_clip_changes_its_key(fields: dict[str, Any]) -> None:
    """No two different clips share a key."""
    assert key(**fields) != key()


def test_what_does_not_change_the_clip_does_not_change_its_key() -> None:
    """The callback address, spelled-out defaults and the caller's types are not part of the key."""
    assert key(callback_url="https://example.com/hook") == key()
    assert key(mode="std", duration="5", sound=False, aspect_ratio="16:9", image_list=[]) == key()


def test_a_shape_that_is_not_sent_is_not_part_of_the_key() -> None:
    """Next to a first frame the aspect ratio is left out of the request, and so of the key."""
    first = [{"image_url": "https://example.com/a.png", "type": "first_frame"}]
    assert key(image_list=first, aspect_ratio="9:16") == key(image_list=first, aspect_ratio="16:9")


def test_differences_from_the_order_are_told_in_words() -> None:
    """Length, size and sound are compared; a fine clip has nothing to say."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="Dawn", sound="on"))
    assert order.differences(5.04, 1280, 720, has_sound=True) == []
    assert len(order.differences(4.0, 640, 360, has_sound=False)) == 3
