"""Single pictures of a long film, at given moments, without decoding what lies between them."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_START = -(1 << 48)


def pictures_at(
    film: InputContainer, video: VideoStream, moments: Sequence[float]
) -> Iterator[VideoFrame]:
    """Yield the picture shown at each moment, in seconds from the first picture on; they rise.

    Moments beyond the end give the last picture; a film without pictures gives none. Of H.264, a
    picture that no other depends on is skipped for the one before. Where decoding cannot begin at a
    key frame, as with a rolling refresh, everything before is decoded.
    """
    context = video.codec_context
    context.thread_type = "AUTO"
    context.skip_frame = "DEFAULT"
    if context.name == "h264":
        context.skip_frame = "NONREF"
    reading = _Reading(film, video)
    for moment in moments:
        picture = reading.picture_at(moment)
        if picture is None:
            return
        yield picture


class _Reading:
    """A film that is read forwards, from key frame to key frame where that is shorter."""

    def __init__(self, film: InputContainer, video: VideoStream) -> None:
        self._film = film
        self._video = video
        self._frames = film.decode(video)
        self._shown = next(self._frames, None)
        self._next = next(self._frames, None)
        self._begin = 0.0
        self._keys: list[int] = []
        if self._shown is not None:
            self._begin = self._shown.time
            decoded = [each.timestamp for each in video.index_entries if each.is_keyframe]
            # The index says when they are decoded. All are shown as much later as the first one is,
            # or later still.
            lead = (self._shown.pts or 0) - min(decoded, default=0)
            self._keys = [stamp + lead for stamp in decoded]

    def picture_at(self, moment: float) -> VideoFrame | None:
        """Return the picture shown at a moment; None where there are no pictures."""
        if self._shown is None:
            return None
        at = self._begin + moment
        key = self._key_before(at)
        if key is not None and not self._jump(key, at):
            self._read_from(_START)
        while self._next is not None and self._next.time <= at:
            self._advance()
        return self._shown

    def _key_before(self, at: float) -> int | None:
        """Return the last key frame before a moment, if it is ahead of what has been read."""
        tick = self._video.time_base or 1
        place = bisect_right(self._keys, at / tick)
        latest = self._next or self._shown
        if place == 0 or latest is None or self._keys[place - 1] <= (latest.pts or 0):
            return None
        return self._keys[place - 1]

    def _jump(self, key: int, at: float) -> bool:
        """Go on at a key frame, and return whether what follows can be decoded from there."""
        try:
            self._read_from(key)
            # What is decoded before the key frame itself depends on pictures before it.
            while self._shown is not None and not self._shown.key_frame:
                self._advance()
        except av.FFmpegError:
            return False
        first = self._shown
        return first is not None and not first.is_corrupt and first.time <= at

    def _read_from(self, stamp: int) -> None:
        self._film.seek(stamp, stream=self._video)
        self._frames = self._film.decode(self._video)
        self._shown = next(self._frames, None)
        self._next = next(self._frames, None)

    def _advance(self) -> None:
        self._shown = self._next
        self._next = next(self._frames, None)
