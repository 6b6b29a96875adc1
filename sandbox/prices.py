"""The price table of the operator's page.

It is kept apart from the client's, so that neither can hide a mistake of the other.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_COMMON_RATES = {
    ("std", "plain"): Decimal("0.0633"),
    ("std", "sound"): Decimal("0.0956"),
    ("pro", "plain"): Decimal("0.0853"),
    ("pro", "sound"): Decimal("0.1280"),
}
USD_PER_SECOND: dict[str, dict[tuple[str, str], Decimal]] = {
    "kling-video-o1": _COMMON_RATES,
    "kling-v3-omni": _COMMON_RATES
    | {("std", "keep"): Decimal("0.0853"), ("pro", "keep"): Decimal("0.1059")},
}
LONGEST_INPUT_SECONDS = 10
_UNITS_PER_USD = 10_000


def rate_of(body: Mapping[str, Any]) -> Decimal:
    """Return the USD per second of a valid body.

    The page lists no price for keeping the sound with O1, which pays the plain one.
    """
    rates = USD_PER_SECOND[body["model"]]
    mode = body.get("mode", "std")
    if body.get("sound") == "on":
        return rates[mode, "sound"]
    plain = rates[mode, "plain"]
    for video in body.get("video_list", []):
        if video.get("keep_original_sound") == "yes":
            return rates.get((mode, "keep"), plain)
    return plain


def worst_price(body: Mapping[str, Any]) -> Decimal:
    """Return the most a valid body can cost in USD.

    How long an edit is, and so what it costs, is known only after its input was read.
    """
    if is_edit(body):
        return rate_of(body) * LONGEST_INPUT_SECONDS
    return rate_of(body) * int(body.get("duration", "5"))


def price_of(body: Mapping[str, Any], clip_seconds: float) -> Decimal:
    """Return what a completed job costs in USD.

    Edits pay for the length of their input in whole seconds.
    """
    if is_edit(body):
        return rate_of(body) * Decimal(clip_seconds).quantize(Decimal(1), ROUND_HALF_UP)
    return rate_of(body) * int(body.get("duration", "5"))


def is_edit(body: Mapping[str, Any]) -> bool:
    """Return whether a body edits a base video."""
    return any(video["refer_type"] == "base" for video in body.get("video_list", []))


def to_units(usd: Decimal | int | str) -> int:
    """Convert USD into whole ten-thousandths, the smallest step in the price table."""
    return int(Decimal(usd) * _UNITS_PER_USD)


def to_usd(units: int) -> float:
    """Convert ten-thousandths of a USD into the number that answers show."""
    return units / _UNITS_PER_USD
