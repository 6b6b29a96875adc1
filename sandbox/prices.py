"""The page's price table, kept apart from the client's own so that neither can hide a mistake of the other."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

_SILENT_OR_LOUD = {
    ("std", "plain"): Decimal("0.0633"),
    ("std", "sound"): Decimal("0.0956"),
    ("pro", "plain"): Decimal("0.0853"),
    ("pro", "sound"): Decimal("0.1280"),
}
USD_PER_SECOND: dict[str, dict[tuple[str, str], Decimal]] = {
    "kling-video-o1": _SILENT_OR_LOUD,
    "kling-v3-omni": _SILENT_OR_LOUD
    | {("std", "keep"): Decimal("0.0853"), ("pro", "keep"): Decimal("0.1059")},
}
LONGEST_INPUT_SECONDS = 10
_UNITS_PER_USD = 10_000


def rate_of(body: Mapping[str, Any]) -> Decimal:
    """Return the USD per second of a valid body. The page lists no keep-sound price for O1: it pays the plain one."""
    rates, mode = USD_PER_SECOND[body["model"]], body.get("mode", "std")
    if body.get("sound") == "on":
        return rates[mode, "sound"]
    keeps = any(video.get("keep_original_sound") == "yes" for video in body.get("video_list", ()))
    return rates.get((mode, "keep"), rates[mode, "plain"]) if keeps else rates[mode, "plain"]


def worst_price(body: Mapping[str, Any]) -> Decimal:
    """Return the most a valid body can cost in USD: an edit's length is only known once its input was read."""
    return rate_of(body) * (
        LONGEST_INPUT_SECONDS if is_edit(body) else int(body.get("duration", "5"))
    )


def price_of(body: Mapping[str, Any], clip_seconds: float) -> Decimal:
    """Return what a completed job costs in USD. Edits pay for the length of their input in whole seconds."""
    if is_edit(body):
        return rate_of(body) * Decimal(clip_seconds).quantize(Decimal(1), ROUND_HALF_UP)
    return rate_of(body) * int(body.get("duration", "5"))


def is_edit(body: Mapping[str, Any]) -> bool:
    """Say whether a body edits a base video."""
    return any(video["refer_type"] == "base" for video in body.get("video_list", ()))


def to_units(usd: Decimal | int | str) -> int:
    """Turn USD into whole ten-thousandths, the finest step the price table knows."""
    return int(Decimal(usd) * _UNITS_PER_USD)


def to_usd(units: int) -> float:
    """Turn ten-thousandths of a USD into the number replies show."""
    return units / _UNITS_PER_USD
