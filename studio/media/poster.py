"""A small picture of a video, for pages."""

import io
from itertools import islice
from typing import BinaryIO

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
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
