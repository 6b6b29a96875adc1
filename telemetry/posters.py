"""Clips on pages: a small picture, and a link to watch."""

import base64
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.poster import poster
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.markdown import Markdown

MOST_POSTERS = 24
"""Pictures on one page. Each clip is fetched from the store for its picture."""


async def watch_cells(uris: Sequence[str], archive: KlingArchive) -> list[Markdown]:
    """Return a picture and a link for each clip; only a link for those beyond `MOST_POSTERS`.

    Free but for the traffic of the store. The links are signed: whoever has the page can watch.
    """
    cells = []
    for number, uri in enumerate(uris):
        link = await in_thread(archive.watch_link, uri)
        picture = None
        if number < MOST_POSTERS:
            picture = await in_thread(_picture, uri, archive)
        cells.append(_cell(link, picture))
    return cells


def _cell(link: str | None, picture: bytes | None) -> Markdown:
    # Both are our own: a signed link of the archive, and the bytes of a picture inside the page.
    parts = []
    if picture is not None:
        parts.append(f"![clip](data:image/jpeg;base64,{base64.b64encode(picture).decode()})")
    if link is not None:
        # Beside the picture: Prefect's first UI shows a picture inside a link as its source.
        parts.append(f"[Watch]({link})")
    return Markdown(" ".join(parts))


def _picture(uri: str, archive: KlingArchive) -> bytes | None:
    """Return the picture of a clip; None for one that cannot be decoded."""
    bucket = archive.get_archive().bucket
    with TemporaryFile("w+b") as file:
        video = cast("BinaryIO", file)
        bucket.fetch(bucket.path_of(uri), video)
        try:
            return poster(video)
        except NotAVideo:
            return None
