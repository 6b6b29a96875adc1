"""When the pictures of a film are shown, and the decoding of a part of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain, zip_longest

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prefect_kling.studio.errors import NotAVideo

_START = -(1 << 48)


@dataclass(frozen=True)
class Timeline:
    """The time stamps of a film's pictures, in ticks of its time base."""

    packets: tuple[int, ...]
    """All of them in the order of storage and decoding, also those that an edit list hides."""
    shown: tuple[int, ...]
    """Those that are shown, in the order they are shown; at least one."""
    keys: tuple[int, ...]
    """Those that are shown and need no picture before them, rising."""
    end: int
    """When the last picture ends."""
    time_base: Fraction

    @property
    def begin(self) -> int:
        """When the first picture is shown."""
        return self.shown[0]

    @property
    def copyable(self) -> bool:
        """Whether the packets can be copied into another film.

        A picture that an edit list hides would show again without it, and one stored before the
        first key frame would depend on the clip before.
        """
        return (
            len(self.packets) == len(self.shown)
            and self.packets[0] == self.begin
            and self.begin in self.keys
        )

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Pictures behind which a film can be cut without encoding, rising.

        The packets up to such a picture are exactly the pictures shown up to it.
        """
        newest = accumulate(self.packets, max)
        pairs = zip(sorted(self.packets), newest, strict=True)
        return tuple(stamp for stamp, latest in pairs if stamp == latest)

    def count(self, stamp: int) -> int:
        """Return how many pictures are shown up to and including this one."""
        return bisect_right(self.shown, stamp)

    def end_of(self, pictures: int) -> int:
        """Return when the last of the first so many pictures ends."""
        if pictures >= len(self.shown):
            return self.end
        return self.shown[pictures]

    def since(self, stamp: Fraction | int) -> tuple[int, ...]:
        """Return the pictures that begin at this time or later."""
        return self.shown[bisect_left(self.shown, stamp) :]


def read_timeline(film: InputContainer, video: VideoStream) -> Timeline:
    """Read the time stamps of a film just opened; nothing is decoded.

    Raises `NotAVideo` if it shows no pictures.
    """
    packets: list[int] = []
    shown: list[tuple[int, int]] = []
    keys: list[int] = []
    for packet in film.demux(video):
        if packet.pts is None:
            continue
        packets.append(packet.pts)
        if not packet.is_discard:
            shown.append((packet.pts, packet.duration or 0))
            if packet.is_keyframe:
                keys.append(packet.pts)
    if not shown:
        raise NotAVideo("the file shows no pictures")
    last, length = max(shown)
    return Timeline(
        packets=tuple(packets),
        shown=tuple(sorted({stamp for stamp, _ in shown})),
        keys=tuple(sorted(keys)),
        end=last + max(length, 1),
        time_base=video.time_base or Fraction(1, 1000),
    )


def pictures_from(
    film: InputContainer, video: VideoStream, timeline: Timeline, first: int
) -> Iterator[VideoFrame]:
    """Yield every picture shown from the one with this stamp on.

    Nothing before the last key frame is decoded. Raises `NotAVideo` if a picture is missing or
    damaged.
    """
    wanted = timeline.since(first)
    begin = _START
    earlier_keys = bisect_right(timeline.keys, first)
    if earlier_keys:
        begin = timeline.keys[earlier_keys - 1]
    frames = _decode(film, video, begin, wanted)
    try:
        head = next(frames, None)
    except av.FFmpegError:
        head = None
    # With a rolling refresh, decoding from a key frame does not give the first picture: decode all.
    if head is None or head.pts != first or head.is_corrupt:
        frames = _decode(film, video, _START, wanted)
        head = next(frames, None)
    if head is not None:
        frames = chain([head], frames)
    for frame, stamp in zip_longest(frames, wanted):
        if frame is None or frame.pts != stamp or frame.is_corrupt:
            raise NotAVideo("the last pictures cannot be decoded")
        yield frame


def _decode(
    film: InputContainer, video: VideoStream, begin: int, wanted: tuple[int, ...]
) -> Iterator[VideoFrame]:
    """Decode from the key frame at `begin`; skip pictures before `wanted` that no other needs."""
    film.seek(begin, stream=video)
    context = video.codec_context
    kept = set(wanted)
    for packet in film.demux(video):
        context.skip_frame = "DEFAULT"
        # Only H.264 says which pictures no other depends on.
        if context.name == "h264" and packet.pts is not None and packet.pts < wanted[0]:
            context.skip_frame = "NONREF"
        for frame in packet.decode():
            if frame.pts in kept:
                yield frame
