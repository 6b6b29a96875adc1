"""One picture that compares takes: each a column of its first, its middle and its last picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.contact_sheet import (
    BACKGROUND,
    GUTTER_PIXELS,
    THUMB_PIXELS,
    Caption,
    Page,
    draw_sheet,
)
from prefect_kling.studio.media.frames import open_film
from prefect_kling.studio.media.moments import pictures_at
from prefect_kling.studio.media.thumbnail import thumbnails

_PICTURES = 3
_UNDECODED = "cannot be decoded"


def comparison_sheet(
    takes: Sequence[Path], captions: Sequence[Caption], heading: str = "", footing: str = ""
) -> bytes:
    """Return a JPEG with a column for each video, in the given order, and its caption below.

    A column shows the first, the middle and the last picture; that of a video which cannot be
    decoded stays empty and says so. The same videos and texts give the same bytes. Raises
    `ValueError` without videos.
    """
    if not takes:
        raise ValueError("there is nothing to compare")
    columns: list[Image.Image | None] = []
    told = []
    for path, caption in zip(takes, captions, strict=True):
        try:
            columns.append(_column(path, caption.seconds))
            told.append(caption)
        except NotAVideo:
            columns.append(None)
            told.append(Caption(0, caption.seconds, caption.title, caption.note, _UNDECODED))

    size = (THUMB_PIXELS, THUMB_PIXELS)
    sizes = [column.size for column in columns if column is not None]
    if sizes:
        size = (max(width for width, _ in sizes), max(height for _, height in sizes))
    page = Page(len(columns), len(columns), size, headed=bool(heading), footed=bool(footing))
    empty = Image.new("RGB", size, BACKGROUND)
    return draw_sheet(page, [column or empty for column in columns], told, heading, footing)


def _column(path: Path, seconds: float) -> Image.Image:
    """Return pictures of a video one below the other."""
    moments = [seconds * number / (_PICTURES - 1) for number in range(_PICTURES)]
    with open_film(path) as (film, video):
        frames = pictures_at(film, video, moments)
        pictures = list(thumbnails(frames, video.sample_aspect_ratio, THUMB_PIXELS))
    if not pictures:
        raise NotAVideo("the file holds no picture that can be decoded")
    width, height = pictures[0].size
    column = Image.new("RGB", (width, _PICTURES * (height + GUTTER_PIXELS) - GUTTER_PIXELS))
    column.paste(BACKGROUND, (0, 0, *column.size))
    for number, picture in enumerate(pictures):
        column.paste(picture, (0, number * (height + GUTTER_PIXELS)))
    return column
