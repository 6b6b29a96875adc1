"""Writing an MP4 the way every painted clip is written, so that clips of one size join without re-encoding."""

import array
import hashlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from prefect_kling.sandbox.canvas import Size
from prefect_kling.sandbox.footage import SAMPLE_RATE, SAMPLES_PER_FRAME
from prefect_kling.sandbox.recipe import FPS

_BT709, _LIMITED = 1, 1
# One thread, because x264 writes other bytes for every other number of them; the pool paints clips side by side.
_X264 = {"preset": "superfast", "crf": "20", "g": "48", "bf": "2", "refs": "1", "threads": "1"}
_X264_PARAMS = {"x264-params": "rc-lookahead=5:b-adapt=0:weightp=0:open-gop=0"}


class Reel:
    """An MP4 being written: pictures go in one by one, sound follows by itself.

    Use it as a context manager; the file is complete when the block ends without an error.
    """

    def __init__(
        self, path: Path, size: Size, sound: Iterator[av.AudioFrame] | None = None
    ) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._video = self._container.add_stream("libx264", FPS, options=_X264 | _X264_PARAMS)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        self._video.time_base = Fraction(1, FPS)
        self._video.colorspace = self._video.color_primaries = self._video.color_trc = _BT709
        self._video.color_range = _LIMITED
        self._sound, self._audio = sound, None
        if sound is not None:
            self._audio = self._container.add_stream("aac", SAMPLE_RATE, layout="stereo")
        self._pictures = self._samples = 0

    def add(self, picture: av.VideoFrame) -> None:
        """Append one picture, and the sound that belongs to it."""
        picture.pts, picture.time_base = self._pictures, Fraction(1, FPS)
        self._pictures += 1
        self._container.mux(self._video.encode(picture))
        piece = next(self._sound, None) if self._sound else None
        if self._audio and piece:
            piece.pts, piece.time_base, piece.sample_rate = (
                self._samples,
                Fraction(1, SAMPLE_RATE),
                SAMPLE_RATE,
            )
            self._samples += piece.samples
            self._container.mux(self._audio.encode(piece))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._container.mux(self._video.encode())
            if self._audio:
                self._container.mux(self._audio.encode())
        self._container.close()


def hum(prompt: str, pictures: int) -> Iterator[av.AudioFrame]:
    """Yield a soft fifth whose pitch follows from the prompt, one piece per picture."""
    pitch = 110 + hashlib.sha256(prompt.encode()).digest()[0] // 2 * 2
    # Whole hertz: one second holds whole waves, so it can be repeated without a click.
    wave = [math.tau * pitch * sample / SAMPLE_RATE for sample in range(SAMPLE_RATE)]
    second = array.array(
        "f", (0.10 * math.sin(turn) + 0.05 * math.sin(turn * 1.5) for turn in wave)
    )
    for picture in range(pictures):
        start = picture % FPS * SAMPLES_PER_FRAME
        piece = av.AudioFrame("fltp", "stereo", SAMPLES_PER_FRAME)
        for plane in piece.planes:
            plane.update(second[start : start + SAMPLES_PER_FRAME].tobytes())
        yield piece
