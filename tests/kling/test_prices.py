"""Quotes are exact, dated, and say when they are not sure."""

from decimal import Decimal
from typing import Any

import pytest

from prefect_kling.kling.models import find_model
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest

FEATURE = {"video_url": "https://example.com/in.mp4", "refer_type": "feature"}
KEEPING = {**FEATURE, "keep_original_sound": "yes"}


def ask(**fields: Any) -> VideoRequest:
    """A five-second request."""
    return VideoRequest.model_validate({"model": "kling-v3-omni", "prompt": "Dawn"} | fields)


@pytest.mark.parametrize(
    ("fields", "usd"),
    [
        ({"model": "kling-video-o1"}, "0.3165"),
        ({"model": "kling-video-o1", "sound": "on"}, "0.4780"),
        ({"model": "kling-video-o1", "mode": "pro"}, "0.4265"),
        ({"model": "kling-video-o1", "mode": "pro", "sound": "on"}, "0.6400"),
        ({}, "0.3165"),
        ({"video_list": [KEEPING]}, "0.4265"),
        ({"sound": "on"}, "0.4780"),
        ({"mode": "pro"}, "0.4265"),
        ({"mode": "pro", "video_list": [KEEPING]}, "0.5295"),
        ({"mode": "pro", "sound": "on"}, "0.6400"),
        ({"mode": "pro", "sound": "on", "duration": 15}, "1.9200"),
    ],
)
def test_every_row_of_the_page_prices_a_clip(fields: dict[str, Any], usd: str) -> None:
    """Price is seconds times the row's rate, to the last digit."""
    assert quote(ask(**fields)).usd == Decimal(usd)


def test_a_silent_input_video_may_cost_the_keep_sound_rate() -> None:
    """Where the page leaves a price open, the budget reserves the dearer reading and says why."""
    price = quote(ask(video_list=[FEATURE]))
    assert (price.usd, price.at_most_usd) == (Decimal("0.3165"), Decimal("0.4265"))
    assert price.notes


def test_a_missing_row_costs_the_plain_price_and_at_worst_the_dearest() -> None:
    """O1 has no keep-sound row: the budget reserves the dear reading."""
    price = quote(ask(model="kling-video-o1", video_list=[KEEPING]))
    assert (price.usd, price.at_most_usd) == (Decimal("0.3165"), Decimal("0.4780"))


def test_an_edit_is_billed_on_its_input() -> None:
    """Whole seconds of the input count; without a known input the longest one is assumed."""
    edit = ask(video_list=[{**FEATURE, "refer_type": "base"}], duration=5)
    assert quote(edit, input_seconds=4.4).seconds == 4
    assert quote(edit, input_seconds=4.5).seconds == 5
    assert quote(edit).seconds == 10


def test_an_account_can_have_prices_of_its_own() -> None:
    """A specification with other rates prices the same request."""
    model = find_model("kling-v3-omni")
    cheap = model.model_copy(update={"rates": {"std": {"plain": Decimal("0.05")}}})
    assert quote(ask(), cheap).usd == Decimal("0.25")


def test_the_dearest_rate_is_reserved_for_a_model_whose_price_nobody_confirmed() -> None:
    """The expected price is the configured one, the reservation the highest of its mode."""
    model = find_model("kling-v3-omni").model_copy(update={"rates_are_confirmed": False})
    price = quote(ask(), model)
    assert (price.usd, price.at_most_usd) == (Decimal("0.3165"), Decimal("0.4780"))
    assert price.notes
