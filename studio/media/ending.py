"""Where a clip ends best: at the sharpest of its last pictures, which is handed over to the next shot.

A blurred last picture would anchor blur in the shot that begins from it. The film then ends the clip at that very
picture, so nothing jumps at the joint.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from av.video.frame import VideoFrame

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import (
    EXACT,
    Still,
    buffer_step,
    encode_still,
    filter_graph,
    open_film,
)
from prefect_kling.studio.media.timeline import pictures_from, read_timeline

_NEARLY = 0.95
"""A later picture at least this sharp is preferred: shown pictures are given up only for what can be seen.

Measured: a fast pan varies what is equally sharp by 3 %, x264 by less than 1 %; a blur of half a pixel costs 7 to 15 %.
"""


@dataclass(frozen=True)
class Ending:
    """The picture at which a clip ends."""

    still: Still
    pictures: int
    """How many of the clip's pictures are shown, this one included."""
    seconds: float
    """How long they are shown."""
    sharpness: float
    """The deviation of the slopes in its luma (SI of ITU-T P.910); 0 is flat, pictures of one film compare."""


def sharpest_ending(source: BinaryIO | Path, window_seconds: float = 0.5) -> Ending:
    """Return the sharpest of a film's last pictures, of nearly equal ones the last.

    Looked at is the last picture, and of those shown in the last `window_seconds` every one behind which the film can
    be cut without encoding it anew. Only what follows the last key frame before them is decoded. `source` is a path or
    a seekable file, left open at any position. Raises `NotAVideo` for a file that is cut or that cannot be decoded up
    to its end, and `ValueError` for a negative window. Reads only; the same film gives the same ending.
    """
    if not 0 <= window_seconds < math.inf:
        raise ValueError("the window has a length")
    with open_film(source) as (film, video):
        timeline = read_timeline(film, video)
        window = timeline.since(timeline.end - Fraction(window_seconds) / timeline.time_base)
        candidates = {timeline.shown[-1], *set(window).intersection(timeline.cuts)}
        video.thread_type = "AUTO"
        frames = pictures_from(film, video, timeline, min(candidates))
        sharpest, sharpness = _sharpest(frame for frame in frames if frame.pts in candidates)
        pictures = timeline.count(sharpest.pts or 0)
        seconds = float((timeline.end_of(pictures) - timeline.begin) * timeline.time_base)
        return Ending(encode_still(sharpest), pictures, seconds, sharpness)


def _sharpest(frames: Iterable[VideoFrame]) -> tuple[VideoFrame, float]:
    """Return the last of the sharpest frames and its sharpness; no other is kept in memory."""
    best, chosen = 0.0, None
    for frame in frames:
        sharpness = _sharpness(frame)
        if sharpness >= best * _NEARLY:
            chosen = frame, sharpness
        best = max(best, sharpness)
    if chosen is None:
        raise NotAVideo("the last pictures cannot be decoded")
    return chosen


def _sharpness(frame: VideoFrame) -> float:
    """Measure the slopes of one picture: blur, darkness and fog flatten them, noise hardly adds to them.

    Of what libavfilter and libavcodec offer, this alone orders all of these rightly. `blurdetect` calls a picture the
    sharper the darker it is, and is no number for a black one; the size of a JPEG grows with noise as with detail.
    """
    graph = filter_graph(
        buffer_step(frame, Fraction(1, 25)),
        ("scale", EXACT),
        ("format", "yuv420p"),
        ("siti", ""),
        ("buffersink", ""),
    )
    graph.push(frame)
    return float(graph.pull().metadata["lavfi.siti.si"])
