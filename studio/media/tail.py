"""The end of a film as a film of its own, for an API that takes reference videos up to a length."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import av
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.film_file import MUXER, X264, Packets, whole_file
from prefect_kling.studio.media.frames import (
    EXACT,
    buffer_step,
    filter_graph,
    filtered,
    open_film,
    shifted,
)
from prefect_kling.studio.media.probe import inspect
from prefect_kling.studio.media.timeline import Timeline, pictures_from, read_timeline

# Without B-frames, pictures are stored in the order they are shown, and every reader finds the same
# length.
_OPTIONS = X264 | {"crf": "14", "bf": "0"}
_COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")


@dataclass(frozen=True)
class _Tail:
    """The pictures to keep."""

    source: BinaryIO | Path
    timeline: Timeline
    stamps: tuple[int, ...]
    rate: Fraction
    colours: dict[str, int]

    def pictures(self) -> Iterator[VideoFrame]:
        """Decode them; the first one is at zero."""
        with open_film(self.source) as (film, video):
            video.thread_type = "AUTO"
            yield from shifted(
                pictures_from(film, video, self.timeline, self.stamps[0]), self.stamps[0]
            )

    def lengths(self) -> Iterator[int]:
        """Yield how long each picture is shown."""
        return (after - stamp for stamp, after in pairwise((*self.stamps, self.timeline.end)))


def keep_tail(source: BinaryIO | Path, target: Path, seconds: float = 10.0) -> bool:
    """Write the last `seconds` of a film to the MP4 `target`: H.264 of high quality, no sound.

    As many pictures as fit are kept, each shown as long as before. Returns False, and writes
    nothing, if neither the pictures nor the sound of the film are longer than that. The same film
    gives the same bytes. Memory stays bounded.

    Raises `NotAVideo` for a film that is cut or whose tail cannot be decoded, `ValueError` if not
    one picture fits, and `OSError` if the tail cannot be written; `target` is then as it was.
    Calling twice is safe.
    """
    tail = _find_tail(source, seconds)
    if tail is None:
        return False
    with whole_file(target) as path:
        with av.open(str(path), "w", format="mp4", container_options=MUXER) as film:
            _encode(film, tail)
        with path.open("rb") as file:
            frames = inspect(file)[0].frames
        if frames != len(tail.stamps):
            raise NotAVideo(
                f"the tail came out with {frames:,} pictures instead of {len(tail.stamps):,}"
            )
    return True


def _find_tail(source: BinaryIO | Path, seconds: float) -> _Tail | None:
    """Find the pictures that fit; None if all of the film does."""
    with open_film(source) as (film, video):
        timeline = read_timeline(film, video)
        shown = (timeline.end - timeline.begin) * timeline.time_base
        # The length of the file is what others see: sound may be longer than the pictures.
        if max(shown, Fraction(film.duration or 0, av.time_base)) <= seconds:
            return None
        stamps = timeline.since(timeline.end - Fraction(seconds) / timeline.time_base)
        if not stamps:
            raise ValueError(f"not one picture of this film is as short as {seconds} s")
        colours = {name: getattr(video.codec_context, name) for name in _COLOURS}
        return _Tail(
            source,
            timeline,
            stamps,
            video.guessed_rate or video.average_rate or Fraction(24),
            colours,
        )


def _encode(film: OutputContainer, tail: _Tail) -> None:
    lengths = tail.lengths()
    for packet in _packets(film, tail):
        # x264 does not say how long the last picture is shown.
        packet.duration = next(lengths, 0)
        film.mux(packet)


def _packets(film: OutputContainer, tail: _Tail) -> Packets:
    track: VideoStream | None = None
    for frame in filtered(tail.pictures(), lambda like: _fit(like, tail.timeline.time_base)):
        if track is None:
            track = _add_track(film, tail, frame)
        # Left alone, x264 would repeat the picture types of the source.
        frame.pict_type = PictureType.NONE
        yield from track.encode(frame)
    if track is not None:
        yield from track.encode(None)


def _add_track(film: OutputContainer, tail: _Tail, like: VideoFrame) -> VideoStream:
    track = film.add_stream("libx264", rate=tail.rate, options=_OPTIONS)
    context = track.codec_context
    context.thread_type = "FRAME"
    context.time_base = tail.timeline.time_base
    context.width = like.width
    context.height = like.height
    context.pix_fmt = "yuv420p"
    for name, value in tail.colours.items():
        setattr(context, name, value)
    return track


def _fit(like: VideoFrame, time_base: Fraction) -> Graph:
    """Build the filters for what the encoder does not take: odd sides, other pixel formats."""
    width = like.width - like.width % 2
    height = like.height - like.height % 2
    return filter_graph(
        buffer_step(like, time_base),
        ("crop", f"{width}:{height}:0:0:exact=1"),
        ("scale", EXACT),
        ("format", "yuv420p"),
        ("buffersink", ""),
    )
