"""A small picture of a video, or of a picture, for pages."""

import io
from itertools import islice
from typing import BinaryIO

from PIL import Image

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import open_film
from prefect_kling.studio.media.thumbnail import thumbnails

_LONGER_SIDE = 200
_QUALITY = 70


def poster(video: BinaryIO) -> bytes:
    """Return the first picture of a video as a JPEG of some 5 kB, 200 pixels on its longer side.

    `video` is a seekable file, left open at any position. Raises `NotAVideo`. The same video gives
    the same bytes.
    """
    with open_film(video) as (film, track):
        frames = islice(film.decode(track), 1)
        small = next(thumbnails(frames, track.sample_aspect_ratio, _LONGER_SIDE), None)
        if small is None:
            raise NotAVideo("the file holds no picture that can be decoded")
    return _jpeg(small)


def small_picture(data: bytes) -> bytes:
    """Return a picture as a JPEG of some 5 kB, 200 pixels on its longer side.

    Raises `ValueError` or `OSError` for what is no picture.
    """
    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((_LONGER_SIDE, _LONGER_SIDE), Image.Resampling.LANCZOS)
        return _jpeg(small)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
