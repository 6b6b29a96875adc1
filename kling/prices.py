"""What a request will cost: one dated table as data, and a quote from it."""

import math
from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import VideoRequest

LONGEST_INPUT_SECONDS = 10
Extra = Literal["plain", "sound", "keep_sound"]


class PriceTable(BaseModel):
    """US dollars per second by model, mode and sound; replace it when your account pays other prices.

    Estimates only: the operator's prices have moved before. What was really charged is in `KlingClient.record`.
    """

    model_config = ConfigDict(frozen=True)

    as_of: date
    source: str
    rates: dict[str, dict[str, dict[Extra, Decimal]]]

    def rate(self, model: str, mode: str, extra: Extra) -> Decimal:
        """Return dollars per second; what has no row of its own costs what the plain clip costs."""
        rows = self.rates[model][mode]
        return rows.get(extra, rows["plain"])

    def worst_with_video(self, model: str, mode: str) -> Decimal:
        """Return what a clip with an input video costs at worst per second: the keep-sound row, else the dearest."""
        rows = self.rates[model][mode]
        return rows.get("keep_sound", max(rows.values()))


PAGE_PRICES = PriceTable(
    as_of=date(2026, 11, 23),
    # The page's headline "from $0.0064/s" contradicts its own table by a factor of ten, and "85% off" is a
    # mistranslation of "pay 85 %": only the table is used.
    source="the price table of the operator's Omni-Video page",
    rates={
        "kling-video-o1": {
            "std": {"plain": Decimal("0.0633"), "sound": Decimal("0.0956")},
            "pro": {"plain": Decimal("0.0853"), "sound": Decimal("0.1280")},
        },
        "kling-v3-omni": {
            "std": {
                "plain": Decimal("0.0633"),
                "keep_sound": Decimal("0.0853"),
                "sound": Decimal("0.0956"),
            },
            "pro": {
                "plain": Decimal("0.0853"),
                "keep_sound": Decimal("0.1059"),
                "sound": Decimal("0.1280"),
            },
        },
    },
)


class Quote(BaseModel):
    """The price of one request before it is sent, in US dollars."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    seconds: int
    """Seconds that will be billed; for an edit without a known input, the longest input allowed."""
    usd: Decimal
    """The expected price."""
    at_most_usd: Decimal
    """The price if every open question is decided against you; this is what a budget reserves."""
    notes: tuple[str, ...] = ()
    """Why the two differ, in words."""


def quote(
    request: VideoRequest, table: PriceTable = PAGE_PRICES, input_seconds: float | None = None
) -> Quote:
    """Price a request by the table. Costs nothing, asks nobody.

    `input_seconds` is the length of the video an edit starts from: edits are billed on it, rounded to whole
    seconds. Without it the longest allowed input is assumed.
    """
    notes = []
    seconds = request.duration
    if request.edits_video:
        seconds = (
            LONGEST_INPUT_SECONDS
            if input_seconds is None
            else max(1, math.floor(input_seconds + 0.5))
        )
        if input_seconds is None:
            notes.append("billed on the length of the input video, assumed to be 10 seconds")
    expected = worst = table.rate(request.model, request.mode, _extra(request))
    if request.video:
        worst = max(expected, table.worst_with_video(request.model, request.mode))
    if worst > expected:
        notes.append(
            "the table leaves open what an input video adds to the price with this model and sound"
        )
    return Quote(
        seconds=seconds, usd=expected * seconds, at_most_usd=worst * seconds, notes=tuple(notes)
    )


def _extra(request: VideoRequest) -> Extra:
    if request.sound == "on":
        return "sound"
    return "keep_sound" if request.video and request.video.keep_original_sound == "yes" else "plain"
