"""Where to cut a clip: at the sharpest of its last pictures, from which the next shot continues.

A shot that begins with a blurred picture stays blurred. The film cuts the clip at that same
picture, so that nothing jumps.
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
"""A later picture at least this sharp is preferred: pictures are cut off only for a visible gain.

Measured: equally sharp pictures differ by 3 % in a fast pan and by less than 1 % through x264; a
blur of half a pixel costs 7 to 15 %.
"""


@dataclass(frozen=True)
class CutPoint:
    """The picture after which a film cuts a clip."""

    still: Still
    pictures: int
    """How many of the clip's pictures are shown, this one included."""
    seconds: float
    """How long they are shown."""
    sharpness: float
    """The deviation of the slopes in its luma (SI of ITU-T P.910); 0 is flat.

    Only pictures of one film can be compared.
    """


def find_cut_point(source: BinaryIO | Path, window_seconds: float = 0.5) -> CutPoint:
    """Return the sharpest of a film's last pictures, of nearly equal ones the last.

    Candidates are the last picture and, of those shown in the last `window_seconds`, every one
    behind which the film can be cut without encoding. Only what follows the last key frame before
    them is decoded. `source` is a path or a seekable file, left open at any position.

    Raises `NotAVideo` for a file that is cut or that cannot be decoded up to its end, and
    `ValueError` for a negative window. Reads only; the same film gives the same result.
    """
    if not 0 <= window_seconds < math.inf:
        raise ValueError("the window has a length")
    with open_film(source) as (film, video):
        timeline = read_timeline(film, video)
        window = timeline.since(timeline.end - Fraction(window_seconds) / timeline.time_base)
        candidates = {timeline.shown[-1], *set(window).intersection(timeline.cuts)}
        video.thread_type = "AUTO"
        frames = pictures_from(film, video, timeline, min(candidates))
        sharpest, sharpness = _sharpest(frames, candidates)
        pictures = timeline.count(sharpest.pts or 0)
        seconds = float((timeline.end_of(pictures) - timeline.begin) * timeline.time_base)
        return CutPoint(
            encode_still(sharpest, video.sample_aspect_ratio), pictures, seconds, sharpness
        )


def _sharpest(frames: Iterable[VideoFrame], candidates: set[int]) -> tuple[VideoFrame, float]:
    """Return the last of the sharpest candidates and its sharpness; hold only one in memory."""
    best = 0.0
    chosen = None
    for frame in frames:
        if frame.pts not in candidates:
            continue
        sharpness = _sharpness(frame)
        if sharpness >= best * _NEARLY:
            chosen = frame, sharpness
        best = max(best, sharpness)
    if chosen is None:
        raise NotAVideo("the last pictures cannot be decoded")
    return chosen


def _sharpness(frame: VideoFrame) -> float:
    """Measure the slopes of one picture: blur, darkness and fog flatten them, noise adds little.

    No other measure of libavfilter and libavcodec orders all of these correctly. `blurdetect` calls
    a darker picture sharper and gives no number for a black one; the size of a JPEG grows with
    noise as with detail.
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
