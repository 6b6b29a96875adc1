"""Writing an MP4 with the same settings for every clip, so that clips of one size can be joined."""

import array
import hashlib
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from prefect_kling.sandbox.clip_request import FPS, Size

SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
_BT709 = 1
_LIMITED_RANGE = 1
_X264 = {
    "preset": "ultrafast",
    "crf": "20",
    "g": "48",
    "bf": "2",
    "refs": "1",
    # x264 writes other bytes for every other number of threads.
    "threads": "1",
    "x264-params": "rc-lookahead=5:b-adapt=0:weightp=0:open-gop=0:cabac=1",
}


def write_mp4(
    path: Path, size: Size, pictures: Iterable[Image.Image], sound: Iterator[av.AudioFrame] | None
) -> None:
    """Write pictures, 24 per second, and one piece of sound beside each picture.

    An MP4 that was not finished, because `pictures` raised an error, stays at `path`.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", FPS, options=_X264)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, FPS)
        video.colorspace = _BT709
        video.color_primaries = _BT709
        video.color_trc = _BT709
        video.color_range = _LIMITED_RANGE
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", SAMPLE_RATE, layout="stereo")

        reformatter = VideoReformatter()
        for index, picture in enumerate(pictures):
            frame = reformatter.reformat(
                av.VideoFrame.from_image(picture),  # type: ignore[no-untyped-call]
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
            frame.pts = index
            frame.time_base = Fraction(1, FPS)
            container.mux(video.encode(frame))
            piece = next(sound, None) if sound else None
            if audio and piece:
                piece.pts = index * SAMPLES_PER_FRAME
                piece.time_base = Fraction(1, SAMPLE_RATE)
                piece.sample_rate = SAMPLE_RATE
                container.mux(audio.encode(piece))

        container.mux(video.encode())
        if audio:
            container.mux(audio.encode())


def tone(prompt: str, frames: int) -> Iterator[av.AudioFrame]:
    """Yield a soft chord whose pitch follows from the prompt, one piece per picture."""
    # Whole, even hertz: one second holds whole waves and can be repeated without a click.
    pitch = 110 + hashlib.sha256(prompt.encode()).digest()[0] // 2 * 2
    second = array.array("f")
    for sample in range(SAMPLE_RATE):
        angle = math.tau * pitch * sample / SAMPLE_RATE
        second.append(0.10 * math.sin(angle) + 0.05 * math.sin(angle * 1.5))

    for index in range(frames):
        start = index % FPS * SAMPLES_PER_FRAME
        piece = av.AudioFrame("fltp", "stereo", SAMPLES_PER_FRAME)
        for plane in piece.planes:
            plane.update(second[start : start + SAMPLES_PER_FRAME].tobytes())
        yield piece
