"""Decoding the pictures and videos a request refers to."""

import collections
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps

from prefect_kling.sandbox.clip_request import FPS, Input, Size, UnusableInput

_MIN_SECONDS = 3
_MAX_SECONDS = 10
_TOLERANCE_SECONDS = 0.25  # a clip may differ from its nominal length by a frame or two
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
            self.seconds = float((stream.duration or 0) * (stream.time_base or 0))
        shortest = _MIN_SECONDS - _TOLERANCE_SECONDS
        longest = _MAX_SECONDS + _TOLERANCE_SECONDS
        if not shortest <= self.seconds <= longest:
            raise UnusableInput(
                f"the video lasts {self.seconds:.1f} s, only 3 to 10 s are accepted"
            )

    @property
    def frame_count(self) -> int:
        """Length in frames at 24 frames per second."""
        return round(self.seconds * FPS)

    def frames(self, size: Size) -> Iterator[Image.Image]:
        """Yield exactly `frame_count` pictures of a size, one per 24th of a second."""
        with self._open() as container:
            decoded = container.decode(video=0)
            current = next(decoded)
            start = current.time or 0.0
            following = next(decoded, None)
            for index in range(self.frame_count):
                # Half a frame of tolerance, because timestamps are rounded.
                second = start + (index + 0.5) / FPS
                while following is not None and (following.time or 0.0) <= second:
                    current = following
                    following = next(decoded, None)
                yield _to_image(current, size)

    def last_frame(self) -> Image.Image:
        """Return the very last picture."""
        with self._open() as container:
            (last,) = collections.deque(container.decode(video=0), maxlen=1)
            return _to_image(last, self.size)

    def sound(self, seconds: float) -> Iterator[av.AudioFrame]:
        """Yield the first seconds of the sound track."""
        with self._open() as container:
            for piece in container.decode(audio=0):
                if piece.time is not None and piece.time >= seconds:
                    return
                yield piece

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


def _decode_picture(data: bytes) -> Image.Image:
    """Decode a JPEG or PNG, upright, as RGB. Raises UnusableInput."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            # By way of RGBA, because Pillow warns of a palette with transparency.
            return ImageOps.exif_transpose(picture).convert("RGBA").convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableInput(f"not a readable JPEG or PNG ({error})") from error


def _to_image(frame: av.VideoFrame, size: Size) -> Image.Image:
    """Convert a decoded frame to RGB at a size."""
    image: Image.Image = frame.to_image(  # type: ignore[no-untyped-call]
        width=size[0], height=size[1], interpolation=_EXACT, threads=1
    )
    return image
