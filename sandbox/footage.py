"""Reading the pictures and videos a request refers to."""

import collections
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from PIL import Image, ImageOps

from prefect_kling.sandbox.recipe import FPS, UnusableInput

SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
_SHORTEST, _LONGEST = 3, 10
# A clip may miss its nominal length by a frame or two at either end.
_LENGTH_SLACK = 0.25


def open_picture(data: bytes) -> Image.Image:
    """Decode a JPEG or PNG, upright, as RGB. Raises UnusableInput."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            upright = ImageOps.exif_transpose(picture)
            # Straight to RGB, Pillow warns about palettes with transparency.
            return (upright.convert("RGBA") if upright.mode == "P" else upright).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableInput(f"not a readable JPEG or PNG ({error})") from error


def clip_seconds(path: Path) -> float:
    """Return how long a painted clip lasts."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return (
            float(stream.duration * stream.time_base)
            if stream.duration and stream.time_base
            else 0.0
        )


class Video:
    """An input video, held in memory. The constructor raises UnusableInput for what the API would not take."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        with self._opened() as container:
            stream = container.streams.video[0]
            self.shape = (stream.width, stream.height)
            self.has_sound = bool(container.streams.audio)
            ticks, base = stream.duration, stream.time_base
        if not ticks or not base:
            raise UnusableInput("the video does not say how long it is")
        self.seconds = float(ticks * base)
        if not _SHORTEST - _LENGTH_SLACK <= self.seconds <= _LONGEST + _LENGTH_SLACK:
            raise UnusableInput(
                f"the video lasts {self.seconds:.1f} s, only 3 to 10 s are accepted"
            )

    @property
    def frame_count(self) -> int:
        """Length in frames once shown at 24 per second."""
        return max(1, round(self.seconds * FPS))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield exactly `frame_count` pictures, one per 24th of a second."""
        with self._opened() as container:
            latest, given, start = None, 0, None
            for frame in container.decode(video=0):
                start = frame.time if start is None else start
                # Half a frame of slack, because time stamps are rounded.
                while (
                    latest is not None
                    and given < self.frame_count
                    and (given + 0.5) / FPS < frame.time - start
                ):
                    yield latest
                    given += 1
                latest = frame
        if latest is None:
            raise UnusableInput("the video holds no picture")
        for _ in range(self.frame_count - given):
            yield latest

    def last_frame(self) -> av.VideoFrame:
        """Return the very last picture, in the colours of the file."""
        with self._opened() as container:
            tail = collections.deque(container.decode(video=0), maxlen=1)
        if not tail:
            raise UnusableInput("the video holds no picture")
        return tail[0]

    def sound(self) -> Iterator[av.AudioFrame]:
        """Yield the sound track as stereo at 48 kHz, one piece per picture; nothing if there is none."""
        if not self.has_sound:
            return
        shaper = av.AudioResampler("fltp", "stereo", SAMPLE_RATE, frame_size=SAMPLES_PER_FRAME)
        with self._opened() as container:
            for frame in container.decode(audio=0):
                frame.pts = None
                yield from shaper.resample(frame)
            yield from shaper.resample(None)

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        try:
            with av.open(io.BytesIO(self._data), "r") as container:
                if not container.streams.video:
                    raise UnusableInput("the file holds no video")
                yield container
        except (av.FFmpegError, ValueError) as error:
            raise UnusableInput(f"not a readable video ({error})") from error
