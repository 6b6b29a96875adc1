"""When the pictures of a film are shown, read from its packets, and the decoding of a part of them."""

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
    """All of them in the order they are stored and decoded, those hidden by an edit list included."""
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
        """Whether the packets mean the same elsewhere: none hidden, and none that builds on what is before the first.

        Hidden pictures would show again without their edit list, leading ones would build on the clip before.
        """
        return (
            len(self.packets) == len(self.shown)
            and self.packets[0] == self.begin
            and self.begin in self.keys
        )

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Pictures whose packet, with all packets stored before it, is all that is shown up to them, rising.

        Behind such a picture a film can be cut without encoding: what is left decodes to the same pictures.
        """
        newest = accumulate(self.packets, max)
        return tuple(
            stamp
            for stamp, place in zip(sorted(self.packets), newest, strict=True)
            if stamp == place
        )

    def count(self, stamp: int) -> int:
        """Return how many pictures are shown up to and including this one."""
        return bisect_right(self.shown, stamp)

    def end_of(self, pictures: int) -> int:
        """Return when the last of the first so many pictures ends."""
        return self.shown[pictures] if pictures < len(self.shown) else self.end

    def since(self, stamp: Fraction | int) -> tuple[int, ...]:
        """Return the pictures that begin at this time or later."""
        return self.shown[bisect_left(self.shown, stamp) :]


def read_timeline(film: InputContainer, video: VideoStream) -> Timeline:
    """Read the time stamps of a film just opened; nothing is decoded. Raises `NotAVideo` if it shows no pictures."""
    packets: list[int] = []
    shown: list[tuple[int, int]] = []
    keys: list[int] = []
    for packet in film.demux(video):
        if packet.pts is None:
            continue
        packets.append(packet.pts)
        if not packet.is_discard:
            shown.append((packet.pts, packet.duration or 0))
            keys += [packet.pts] if packet.is_keyframe else []
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
    """Yield every picture shown from the one with this stamp on; nothing before the last key frame is decoded.

    Raises `NotAVideo` if one of them does not come out, or only patched up.
    """
    wanted = timeline.since(first)
    key = timeline.keys[: bisect_right(timeline.keys, first)][-1:] or (_START,)
    frames = _decode(film, video, key[0], wanted)
    try:
        head = next(frames, None)
    except av.FFmpegError:
        head = None
    # Where pictures are refreshed bit by bit, a key frame alone does not give the first one: then all is decoded.
    if head is None or head.pts != first or head.is_corrupt:
        frames = _decode(film, video, _START, wanted)
        head = next(frames, None)
    heads = [head] if head is not None else []
    for frame, stamp in zip_longest(chain(heads, frames), wanted):
        if frame is None or frame.pts != stamp or frame.is_corrupt:
            raise NotAVideo("the last pictures cannot be decoded")
        yield frame


def _decode(
    film: InputContainer, video: VideoStream, begin: int, wanted: tuple[int, ...]
) -> Iterator[VideoFrame]:
    """Decode from the key frame at `begin`, and of what is not wanted only what H.264 says that others build on."""
    film.seek(begin, stream=video)
    context, kept = video.codec_context, set(wanted)
    for packet in film.demux(video):
        spare = packet.pts is not None and packet.pts < wanted[0] and context.name == "h264"
        context.skip_frame = "NONREF" if spare else "DEFAULT"
        yield from (frame for frame in packet.decode() if frame.pts in kept)
