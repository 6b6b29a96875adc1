"""The pictures that clips begin with or refer to, small, for whoever is to approve them."""

import base64
from collections.abc import Sequence
from urllib.parse import quote

from PIL import Image

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.media.poster import small_picture
from prefect_kling.studio.money.inputs import archive_path
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.markdown import Markdown

MOST_PICTURES = 24
"""Pictures on one page; there are links for the rest."""
_ROLES = {"first_frame": "first frame", "end_frame": "last frame", None: "reference"}
_MOST_BYTES = 20 * 2**20


async def input_cells(requests: Sequence[VideoRequest], archive: KlingArchive) -> list[Markdown]:
    """Return a cell for each request with its pictures, or links to those that lie elsewhere.

    Free but for the traffic of the store. Nothing is fetched from elsewhere. A picture that another
    clip is to hand over is not there yet, and is named.
    """
    cells = []
    shown: dict[str, Markdown] = {}
    for request in requests:
        parts = []
        for image in request.image_list:
            url = image.image_url
            if url not in shown:
                room = len(shown) < MOST_PICTURES
                shown[url] = await in_thread(_picture, url, archive, with_bytes=room)
            parts.append(Markdown("{} {}").format(shown[url], _ROLES[image.type]))
        links = [_link(video.video_url) for video in request.video_list]
        parts += [Markdown("{} video").format(link) for link in links]
        cells.append(Markdown(" ".join(parts)))
    return cells


def _picture(url: str, archive: KlingArchive, *, with_bytes: bool) -> Markdown:
    path = archive_path(url)
    if path is None:
        return _link(url)
    if not with_bytes:
        return Markdown()
    bucket = archive.get_archive().bucket
    try:
        stored = bucket.read(path)
        if stored is None:
            return Markdown("(from the shot before)")
        small = small_picture(stored.body)
    except (StudioError, OSError, ValueError, Image.DecompressionBombError):
        # The page shows what it can; whether the picture will do is checked elsewhere.
        return Markdown("(cannot be shown)")
    return Markdown(f"![input](data:image/jpeg;base64,{base64.b64encode(small).decode()})")


def _link(url: str) -> Markdown:
    """Return a link to what a user's own address names; nothing for the archive's."""
    if archive_path(url) is not None:
        return Markdown()
    # Nothing in the address can end the link.
    return Markdown(f"[look]({quote(url, safe='%/:=&?~#+!$,;@-._')})")
