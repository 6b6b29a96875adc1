"""Pictures of a video made small, upright and with the colours a player shows."""

from collections.abc import Iterator
from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame
from PIL import Image

from prefect_kling.studio.media.frames import (
    EXACT,
    buffer_step,
    filter_graph,
    filtered,
    matrix_of,
    tone_steps,
    upright_steps,
)


def thumbnails(
    frames: Iterator[VideoFrame], shape: Fraction | None, longer_side: int
) -> Iterator[Image.Image]:
    """Yield each frame of one video as a picture whose longer side has so many pixels.

    `shape` is the width of the video's pixels divided by their height.
    """
    yield from map(_image, filtered(frames, lambda like: _shrink(like, shape, longer_side)))


def _shrink(like: VideoFrame, shape: Fraction | None, longer_side: int) -> Graph:
    fit = f"{longer_side}:{longer_side}:force_original_aspect_ratio=decrease:force_divisible_by=2"
    return filter_graph(
        buffer_step(like, Fraction(1, 25)),
        *tone_steps(like),
        *upright_steps(like, shape),
        ("scale", f"{fit}:in_color_matrix={matrix_of(like)}:{EXACT}"),
        ("format", "rgb24"),
        ("buffersink", ""),
    )


def _image(frame: VideoFrame) -> Image.Image:
    plane = frame.planes[0]
    return Image.frombytes(
        "RGB", (frame.width, frame.height), bytes(plane), "raw", "RGB", plane.line_size
    )
