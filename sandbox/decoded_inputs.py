"""Decoding the pictures and videos a request refers to."""

import collections
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.reformatter import Colorspace, Interpolation
from PIL import Image, ImageOps

from prefect_kling.sandbox.clip_request import FPS, Input, Size, UnusableInput
from prefect_kling.sandbox.encoder import SAMPLE_RATE, SAMPLES_PER_FRAME

_MIN_SECONDS = 3
_MAX_SECONDS = 10
_TOLERANCE_SECONDS = 0.25  # a clip may differ from its nominal length by a frame or two
_UNSPECIFIED = 2
_FAST = Interpolation.BICUBIC
# The fast conversion rounds down: a picture handed on from clip to clip would get darker each time.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class Video:
    """An input video in memory. Raises UnusableInput for what the API would not take."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        with self._open() as container:
            stream = container.streams.video[0]
            self.size: Size = (stream.width, stream.height)
            self.has_sound = bool(container.streams.audio)
            self.seconds = _seconds(container)
        if not self.seconds:
            raise UnusableInput("the video does not say how long it is")
        shortest = _MIN_SECONDS - _TOLERANCE_SECONDS
        longest = _MAX_SECONDS + _TOLERANCE_SECONDS
        if not shortest <= self.seconds <= longest:
            raise UnusableInput(
                f"the video lasts {self.seconds:.1f} s, only 3 to 10 s are accepted"
            )

    @property
    def frame_count(self) -> int:
        """Length in frames at 24 frames per second."""
        return max(1, round(self.seconds * FPS))

    def frames(self, size: Size) -> Iterator[Image.Image]:
        """Yield exactly `frame_count` pictures of a size, one per 24th of a second."""
        with self._open() as container:
            decoded = container.decode(video=0)
            current = next(decoded, None)
            if current is None:
                raise UnusableInput("the video holds no picture")
            start = current.time or 0.0
            following = next(decoded, None)
            for index in range(self.frame_count):
                # Half a frame of tolerance, because timestamps are rounded.
                second = start + (index + 0.5) / FPS
                while following is not None and (following.time or 0.0) <= second:
                    current = following
                    following = next(decoded, None)
                yield _to_image(current, size, _FAST)

    def last_frame(self) -> Image.Image:
        """Return the very last picture."""
        with self._open() as container:
            tail = collections.deque(container.decode(video=0), maxlen=1)
            if not tail:
                raise UnusableInput("the video holds no picture")
            return _to_image(tail[0], self.size, _EXACT)

    def sound(self) -> Iterator[av.AudioFrame]:
        """Yield the sound track as stereo at 48 kHz, one piece per picture."""
        resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE, frame_size=SAMPLES_PER_FRAME)
        with self._open() as container:
            for frame in container.decode(audio=0):
                frame.pts = None
                yield from resampler.resample(frame)
            yield from resampler.resample(None)

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        try:
            with av.open(io.BytesIO(self._data), "r") as container:
                if not container.streams.video:
                    raise UnusableInput("the file holds no video")
                yield container
        except (av.FFmpegError, ValueError) as error:
            raise UnusableInput(f"not a readable video ({error})") from error


@dataclass
class DecodedInputs:
    """The decoded inputs of one request."""

    first_frame: Image.Image | None = None
    end_frame: Image.Image | None = None
    references: tuple[Image.Image, ...] = ()
    base: Video | None = None
    feature: Video | None = None

    @property
    def opening(self) -> Image.Image | None:
        """The picture a clip begins with, if one was given."""
        if self.feature and not self.first_frame:
            return self.feature.last_frame()
        return self.first_frame

    @property
    def size(self) -> Size | None:
        """The size of the input whose ratio a clip takes when it has none of its own."""
        source = self.first_frame or self.base or self.feature
        return source.size if source else None


def decode_inputs(contents: list[tuple[Input, bytes]]) -> DecodedInputs:
    """Decode every input of a request. Raises UnusableInput."""
    inputs = DecodedInputs()
    for item, data in contents:
        if item.role in ("base", "feature"):
            setattr(inputs, item.role, Video(data))
        elif item.role in ("first_frame", "end_frame"):
            setattr(inputs, item.role, _decode_picture(data))
        else:
            inputs.references += (_decode_picture(data),)
    return inputs


def clip_seconds(path: Path) -> float:
    """Return how long a painted clip lasts."""
    with av.open(str(path)) as container:
        return _seconds(container)


def _seconds(container: InputContainer) -> float:
    """Return the length of a video, 0 if the file does not say."""
    stream = container.streams.video[0]
    if not stream.duration or not stream.time_base:
        return 0.0
    return float(stream.duration * stream.time_base)


def _decode_picture(data: bytes) -> Image.Image:
    """Decode a JPEG or PNG, upright, as RGB. Raises UnusableInput."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode == "P":
                # Converted straight to RGB, a palette with transparency makes Pillow warn.
                upright = upright.convert("RGBA")
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableInput(f"not a readable JPEG or PNG ({error})") from error


def _to_image(frame: av.VideoFrame, size: Size, interpolation: Interpolation) -> Image.Image:
    """Convert a decoded frame to RGB at a size."""
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
        # Players take an HD video for BT.709; PyAV would take it for BT.601.
        frame.colorspace = Colorspace.ITU709
    image: Image.Image = frame.to_image(  # type: ignore[no-untyped-call]
        width=size[0], height=size[1], interpolation=interpolation, threads=1
    )
    return image
