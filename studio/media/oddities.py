"""What is unusual about how a video's pictures are to be shown, and what is done about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from av.video.frame import VideoFrame

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import HDR, display_matrix, open_film, shown_size

_FULL_RANGE = 2
_NAMES_OF_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


@dataclass(frozen=True)
class Oddity:
    """Something that programs which ignore it would show wrongly."""

    what: str
    """What it is, as the end of a sentence that begins with `it`."""
    done: str
    """What pictures that are handed over, and films, make of it."""

    def __str__(self) -> str:
        return f"it {self.what}: {self.done}"


def oddities(source: BinaryIO | Path) -> tuple[Oddity, ...]:
    """Decode the first picture of a video and return what is unusual about it.

    Boxes can be whole around damaged media: raises `NotAVideo` where nothing can be decoded. Reads
    only.
    """
    with open_film(source) as (film, video):
        first = next(film.decode(video), None)
        if first is None:
            raise NotAVideo("the file holds no picture that can be decoded")
        return tuple(_found(first, video.sample_aspect_ratio or Fraction(1)))


def _found(frame: VideoFrame, shape: Fraction) -> Iterator[Oddity]:
    turn = _turn(frame)
    if turn:
        yield Oddity(
            f"is stored {turn}", "it is shown upright, and a film that shows it is encoded anew"
        )
    if shape > 0 and shape != 1:
        width, height = shown_size(frame, shape)
        yield Oddity(
            f"has pixels of the shape {shape.numerator}:{shape.denominator}",
            f"it is shown as {width}x{height} in square pixels, "
            "and a film that shows it beside others is encoded anew",
        )
    if frame.color_range == _FULL_RANGE:
        yield Oddity(
            "uses the full range of colours",
            "a film that is encoded anew fits them to the usual range",
        )
    if frame.color_trc in HDR:
        kind = _NAMES_OF_HDR[HDR[frame.color_trc]]
        yield Oddity(
            f"is HDR ({kind})",
            "a picture that is handed over is SDR, and so is a film that is encoded anew",
        )


def _turn(frame: VideoFrame) -> str:
    """Say how a frame is stored, if not as it is shown."""
    matrix = display_matrix(frame)
    if matrix is None:
        return ""
    a, b, _, d = matrix
    if abs(b) > abs(a):
        return "on its side"
    if a < 0 and d < 0:
        return "upside down"
    if a < 0 or d < 0:
        return "mirrored"
    return ""
