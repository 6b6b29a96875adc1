"""One picture of a whole film: a thumbnail per shot, in rows."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.frames import EXACT, buffer_step, encode_picture, filter_graph, filtered, matrix_of, open_film

COLUMNS = 4
THUMB_PIXELS = 320
"""The longer side of a thumbnail."""
GUTTER_PIXELS = 8
_QUALITY = {"qmin": "3", "qmax": "3"}


@dataclass(frozen=True)
class Caption:
    """A shot of a film, as a contact sheet shows it."""

    start: float
    """Where it begins, in seconds."""
    seconds: float
    title: str = ""
    """What to call it. The picture bears no text: whoever shows it prints the titles beside it, in the same order."""


def contact_sheet(film: Path, shots: Sequence[Caption]) -> bytes:
    """Return a JPEG with one thumbnail per shot, taken at its middle; four in a row, in the order of their starts.

    The film is decoded once, whatever the number of shots; a shot beyond its end shows the last picture. Of H.264,
    pictures that no other builds on are passed over for the one before. Raises `NotAVideo`, or `ValueError` without
    shots. The same film gives the same bytes.
    """
    if not shots:
        raise ValueError("a contact sheet needs at least one shot")
    moments = sorted(shot.start + shot.seconds / 2 for shot in shots)
    with open_film(film) as (container, video):
        thumbs = _pick(container, video, moments)
        sheet = next(filtered(thumbs, lambda like: _grid(like, len(moments))), None)
        if sheet is None:
            raise NotAVideo("the file holds no picture that can be decoded")
        return encode_picture(sheet, "mjpeg", _QUALITY)


def _pick(film: InputContainer, video: VideoStream, moments: Sequence[float]) -> Iterator[VideoFrame]:
    """Yield the picture that is shown at each of the moments, which rise; nothing behind the last is decoded."""
    context = video.codec_context
    context.thread_type = "AUTO"
    context.skip_frame = "NONREF" if context.name == "h264" else "DEFAULT"
    waiting = deque(moments)
    for frame, until in _spans(film.decode(video)):
        while waiting and waiting[0] < until:
            waiting.popleft()
            yield frame
        if not waiting:
            return


def _spans(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, float]]:
    """Yield each picture with the second at which the next one takes its place, counted from the first picture."""
    shown, begin = None, 0.0
    for frame in frames:
        if shown is None:
            begin = frame.time
        else:
            yield shown, frame.time - begin
        shown = frame
    if shown is not None:
        yield shown, math.inf


def _grid(like: VideoFrame, count: int) -> Graph:
    columns = min(COLUMNS, count)
    fit = f"{THUMB_PIXELS}:{THUMB_PIXELS}:force_original_aspect_ratio=decrease:force_divisible_by=2"
    # A JPEG has no field for its matrix: it is always bt601.
    colours = f"in_color_matrix={matrix_of(like)}:out_color_matrix=bt601:{EXACT}"
    layout = f"{columns}x{-(-count // columns)}:nb_frames={count}"
    return filter_graph(
        buffer_step(like, Fraction(1, 25)),
        ("scale", f"{fit}:{colours}"),
        ("format", "yuvj420p"),
        ("tile", f"{layout}:padding={GUTTER_PIXELS}:margin={GUTTER_PIXELS}:color=black"),
        ("buffersink", ""),
    )
