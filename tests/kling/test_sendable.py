"""A request that cannot be written as JSON never comes near a paid call."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import RequestRefused
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox

UNWRITABLE: list[dict[str, Any]] = [
    {"prompt": "half a \ud83d smile"},
    {"extra": {"cfg_scale": float("nan")}},
    {"extra": {"cfg_scale": float("-inf")}},
    {"extra": {"note": ["\udc00"]}},
    {"extra": {"\ud800": 1}},
    {"extra": {"seed": 10**5000}},
    {"image_list": [{"image_url": "https://pictures.test/\ud800.png"}]},
    {
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": [{"prompt": "\udfff", "duration": 5}],
    },
]


@pytest.mark.parametrize("fields", UNWRITABLE)
def test_it_cannot_be_made(fields: dict[str, Any]) -> None:
    """The reason is told when the request is made, before anybody claims a clip."""
    with pytest.raises(ValidationError, match=r"cannot be written as JSON|unicode"):
        VideoRequest.model_validate({"model": "kling-v3-omni", "prompt": "A lamp"} | fields)


async def test_one_that_went_around_validation_is_refused_before_a_connection(
    sandbox: Sandbox,
) -> None:
    """Nothing may be held for a request of which no byte can have left."""
    request = VideoRequest(model="kling-v3-omni", prompt="A lamp")
    request = request.model_copy(update={"extra": {"seed": float("nan")}})
    before = sandbox.stats()["posts"]
    async with KlingClient(
        SecretStr(sandbox.key), ClientSettings(base_url=sandbox.base_url)
    ) as client:
        with pytest.raises(RequestRefused, match="cannot be written as JSON"):
            await client.create(request)
    assert sandbox.stats()["posts"] == before
