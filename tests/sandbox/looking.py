"""Looking at clips: how much two pictures differ, and videos in which every picture is unlike."""

import io
import itertools
import statistics
from collections.abc import Iterable
from typing import Any

import av
from PIL import Image, ImageChops, ImageDraw, ImageStat

from prefect_kling.sandbox import read_frame_code

Box = tuple[int, int, int, int]
PICTURE: Box = (0, 0, 320, 170)
"""All of a picture of 320 x 180 but the frame code, which jumps from frame to frame."""


def codes(clip: Any) -> list[tuple[int, int] | None]:
    """Read the frame code of every picture."""
    return [read_frame_code(frame) for frame in clip.frames]


def difference(one: Image.Image, other: Image.Image, box: Box | None = None) -> float:
    """Mean difference of two pictures, in shades of grey."""
    apart = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return sum(ImageStat.Stat(apart.crop(box)).mean) / 3


def steps(frames: list[Image.Image], box: Box | None = None) -> list[float]:
    """How much each picture differs from the one before it."""
    return [difference(a, b, box) for a, b in itertools.pairwise(frames)]


def brightness(picture: Image.Image) -> float:
    """Mean brightness of a picture."""
    return float(ImageStat.Stat(picture.convert("L")).mean[0])


def correlation(one: Image.Image, other: Image.Image, box: Box) -> float:
    """How alike two pictures are in one place, whatever their colours: 1 for the same drawing."""
    return statistics.correlation(
        *(picture.convert("L").crop(box).tobytes() for picture in (one, other))
    )


def marching(pictures: int) -> list[Image.Image]:
    """Draw pictures in which a white block on a ramp of greys is in another place each time.

    Greys only: a file that does not name its colour space shows them alike to everybody.
    """
    drawn = []
    for index in range(pictures):
        picture = Image.linear_gradient("L").resize((320, 180)).convert("RGB")
        left = index * 7 % 300
        ImageDraw.Draw(picture).rectangle((left, 8, left + 20, 40), fill="white")
        drawn.append(picture)
    return drawn


def film(pictures: Iterable[Image.Image], rate: int = 24) -> bytes:
    """Encode pictures as an MP4."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return file.getvalue()
