"""Clips on pages: a small picture, and a link to watch."""

import asyncio
import base64
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.errors import NotAVideo, StudioError
from prefect_kling.studio.media.poster import poster
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown

MOST_POSTER_CHARACTERS = 250_000
"""Of pictures on one page, which is some forty; clips beyond them have a link only."""
_FETCHES_AT_ONCE = 4


class WatchCells:
    """The clips of one page, each with a picture and a link. A clip is fetched once for them.

    Free but for the traffic of the store. The links are signed: whoever has the page can watch.
    """

    def __init__(self, archive: KlingArchive) -> None:
        self._archive = archive
        self._pictures: dict[str, str] = {}
        self._characters = 0
        self._fetching = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def of(self, uris: Sequence[str]) -> list[Markdown]:
        """Return what to show of each clip, in order; all have a link, the first ones a picture.

        Where a clip is given several times, the first of them has its picture.
        """
        await asyncio.gather(*(self._fetch(uri) for uri in dict.fromkeys(uris)))
        cells = []
        shown: set[str] = set()
        for uri in uris:
            picture = ""
            if uri not in shown:
                picture = self._pictures.get(uri, "")
            shown.add(uri)
            cells.append(await self._cell(uri, picture))
        return cells

    async def _fetch(self, uri: str) -> None:
        """Fetch the picture of a clip; one that has none counts as fetched."""
        async with self._fetching:
            if uri in self._pictures or self._characters >= MOST_POSTER_CHARACTERS:
                return
            self._pictures[uri] = await in_thread(_picture, uri, self._archive)
            self._characters += len(self._pictures[uri])

    async def _cell(self, uri: str, picture: str) -> Markdown:
        # Both are our own: the bytes of a picture, and a signed link of the archive.
        parts = []
        if picture:
            parts.append(f"![clip](data:image/jpeg;base64,{picture})")
        link = await in_thread(self._archive.watch_link, uri)
        if link is not None:
            # Beside the picture: Prefect's first UI shows a picture inside a link as its source.
            parts.append(f"[Watch]({link})")
        return Markdown(" ".join(parts))


def _picture(uri: str, archive: KlingArchive) -> str:
    """Return the picture of a clip in base64; an empty text where there is none to be had."""
    bucket = archive.get_archive().bucket
    with TemporaryFile("w+b") as file:
        video = cast("BinaryIO", file)
        try:
            bucket.fetch(bucket.path_of(uri), video)
            picture = poster(video)
        except NotAVideo:
            return ""
        except StudioError as error:
            run_logger().warning("%s has no picture on the page: %s", uri, error)
            return ""
    return base64.b64encode(picture).decode()
