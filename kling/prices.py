"""What a request will cost, by the table of `models`."""

import math
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.models import ModelSpecification, RateKind, find_model
from prefect_kling.kling.request import VideoRequest


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


def in_dollars(usd: Decimal) -> str:
    """Return an amount that somebody has chosen as people write it: 0.50, 20.00, 0.125."""
    if usd == round(usd, 2):
        return f"{usd:.2f}"
    return str(usd)


def quote(
    request: VideoRequest,
    model: ModelSpecification | None = None,
    input_seconds: float | None = None,
) -> Quote:
    """Price a request. Costs nothing, asks nobody, and is the same every time.

    An estimate: the operator's prices have moved before. `KlingClient.record` tells what was really
    charged.

    `model` is the specification to price by, the known one of the request's model unless given.
    `input_seconds` is the length of the video an edit starts from: edits are billed on it, rounded
    to whole seconds. Without it the longest allowed input is assumed. Raises `ModelUnknown` for a
    model without a specification.
    """
    if model is None:
        model = find_model(request.model)
    notes = []

    seconds = request.duration
    if request.edits_video and input_seconds is None:
        seconds = model.max_input_seconds
        notes.append(f"billed on the length of the input video, assumed to be {seconds} seconds")
    elif request.edits_video and input_seconds is not None:
        seconds = max(1, math.floor(input_seconds + 0.5))

    expected = model.rate(request.mode, _rate_kind(request))
    highest = expected
    if request.video:
        highest = max(expected, model.highest_rate_with_video(request.mode))
        if highest > expected:
            notes.append(
                "the table leaves open what an input video adds to the price "
                "with this model and sound"
            )
    if not model.rates_are_confirmed and model.highest_rate(request.mode) > highest:
        highest = model.highest_rate(request.mode)
        notes.append(
            f"the price of {model.name} was configured by you; its highest rate is reserved"
        )

    return Quote(
        seconds=seconds,
        usd=expected * seconds,
        at_most_usd=highest * seconds,
        notes=tuple(notes),
    )


def _rate_kind(request: VideoRequest) -> RateKind:
    if request.sound == "on":
        return "sound"
    if request.video and request.video.keep_original_sound == "yes":
        return "keep_sound"
    return "plain"
