"""What must be known of a clip before a film is written, and how its pictures are read."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import display_matrix, open_film, shifted, shown_size
from prefect_kling.studio.media.timeline import read_timeline

_START = -(1 << 48)


@dataclass(frozen=True)
class Footage:
    """The pictures of one clip that a film shows."""

    source: BinaryIO | Path
    number: int
    """Its place in the film, counted from 1."""
    make: tuple[object, ...]
    """Equal for clips whose pictures can be in one file without being encoded again."""
    size: tuple[int, int]
    """In square pixels, as it is shown."""
    pixel_shape: Fraction
    rate: Fraction
    time_base: Fraction
    stamps: tuple[int, ...]
    """When each picture is shown, in ticks; rising."""
    stored: tuple[int, ...]
    """The same in the order of the packets. Means nothing unless `copyable`."""
    ticks: int
    """How long they are shown."""
    copyable: bool
    sounding: bool

    @property
    def seconds(self) -> Fraction:
        """How long its pictures are shown."""
        return self.ticks * self.time_base

    @contextmanager
    def opened(self, *, for_packets: bool = False) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Open the clip as `open_film` does; what `NotAVideo` says inside the block names it."""
        source = self.source
        if not isinstance(source, Path):
            source = cast("BinaryIO", _Reader(source))
        with named(self.number), open_film(source, for_packets=for_packets) as opened:
            yield opened

    def pictures(self) -> Iterator[VideoFrame]:
        """Decode the pictures shown, the first at zero, each with the time it is shown."""
        ends = (*self.stamps[1:], self.stamps[0] + self.ticks)
        lengths = {}
        for stamp, end in zip(self.stamps, ends, strict=True):
            lengths[stamp] = end - stamp
        with self.opened() as (film, video):
            video.thread_type = "AUTO"
            yield from shifted(_timed(film.decode(video), lengths), self.stamps[0])


def survey(source: BinaryIO | Path, number: int, pictures: int | None) -> Footage:
    """Read a clip's packets and describe its first `pictures` pictures, or all for None."""
    with named(number), open_film(source, for_packets=True) as (film, video):
        timeline = read_timeline(film, video)
        # What only pictures say is known to the context once one of them is decoded.
        turn, colours, size = _look(film, video)
        context = video.codec_context
        shape = _pixel_shape(video)
        rate = video.average_rate or Fraction(24)
        make = (
            context.name,
            context.codec_tag,
            context.extradata,
            context.pix_fmt,
            context.width,
            context.height,
        )
        count = len(timeline.shown)
        if pictures is not None:
            count = min(pictures, count)
        return Footage(
            source=source,
            number=number,
            make=(*make, shape, turn, colours, video.time_base, round(float(rate), 1)),
            size=size,
            pixel_shape=shape,
            rate=video.guessed_rate or rate,
            time_base=timeline.time_base,
            stamps=timeline.shown[:count],
            stored=timeline.packets[:count],
            ticks=timeline.end_of(count) - timeline.begin,
            copyable=timeline.copyable
            and turn is None
            and timeline.shown[count - 1] in timeline.cuts
            and bool(context.extradata),
            sounding=bool(film.streams.audio),
        )


def _look(
    film: InputContainer, video: VideoStream
) -> tuple[tuple[int, int, int, int] | None, tuple[int, ...], tuple[int, int]]:
    """Return how the pictures of a clip are turned, their colours, and their size as shown."""
    picture = _any_picture(film, video)
    if picture is None:
        return None, (), (video.codec_context.width, video.codec_context.height)
    turn = display_matrix(picture)
    colours = (
        picture.color_range,
        picture.color_trc,
        picture.color_primaries,
        picture.colorspace,
    )
    size = shown_size(picture, _pixel_shape(video))
    del picture
    # A picture whose side data was read is in a cycle with them. Left to itself, the collector
    # comes after hundreds of clips, each of which leaves some megabytes.
    gc.collect(1)
    return turn, colours, size


def _pixel_shape(video: VideoStream) -> Fraction:
    """Return how wide a pixel is for its height, once a picture is decoded; 1 if nothing says."""
    return video.codec_context.sample_aspect_ratio or Fraction(1)


def _any_picture(film: InputContainer, video: VideoStream) -> VideoFrame | None:
    """Decode one picture, which says how all are shown; None if none can be decoded.

    Decoding up to the one that is shown first would take three more of most clips.
    """
    film.seek(_START, stream=video)
    for packet in islice(film.demux(video), 1):
        for frame in (*packet.decode(), *video.decode(None)):
            return frame
    film.seek(_START, stream=video)
    return next(film.decode(video), None)


class _Reader:
    """A place of its own in a file: in a fade its pictures and its sound are read in turns."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        self._file.seek(self._at)
        piece = self._file.read(size)
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET:
            self._at = offset
        elif whence == os.SEEK_CUR:
            self._at += offset
        else:
            self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at


@contextmanager
def named(number: int) -> Iterator[None]:
    """Say in a `NotAVideo` which clip it is about."""
    try:
        yield
    except NotAVideo as error:
        raise NotAVideo(f"clip {number}: {error.message}", detail=error.detail) from error


def _timed(frames: Iterator[VideoFrame], lengths: dict[int, int]) -> Iterator[VideoFrame]:
    """Yield the frames that are shown, with the right durations; decode nothing behind the last.

    The durations in a file belong to its packets, which are in the order of decoding.
    """
    last = max(lengths)
    for frame in frames:
        stamp = frame.pts
        if stamp is None:
            continue
        if stamp in lengths:
            frame.duration = lengths[stamp]
            yield frame
        if stamp >= last:
            return
