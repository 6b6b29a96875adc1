"""A small picture of a video, for pages."""

import io
from typing import BinaryIO

from PIL import Image

from prefect_kling.studio.media.frames import first_frame

_LONGER_SIDE = 200
_QUALITY = 70


def poster(video: BinaryIO) -> bytes:
    """Return the first picture of a video as a JPEG of some 5 kB, 200 pixels on its longer side.

    `video` is a seekable file, left open at any position. Raises `NotAVideo`. The same video gives
    the same bytes.
    """
    return small_picture(first_frame(video).data)


def small_picture(data: bytes) -> bytes:
    """Return a picture as a JPEG of some 5 kB, 200 pixels on its longer side.

    Raises `ValueError` or `OSError` for what is no picture.
    """
    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((_LONGER_SIDE, _LONGER_SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()
