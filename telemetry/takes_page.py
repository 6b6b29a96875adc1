"""The takes of shots in the Prefect UI: side by side, with links to watch, and how to pick."""

import base64
from collections.abc import Mapping, Sequence

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.media.contact_sheet import shrink
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.markdown import Markdown, code, page, table

PICTURE_BYTES = 600_000
"""Of all pictures on a page together."""
_LARGEST_PICTURE = 120_000
_SMALLEST_PICTURE = 15_000
_HOW = Markdown(
    "Picking is free. The film shows the takes that are picked: here by a form if the run asks, by "
    "`pick: 2` in the storyboard, or by `prefect-kling pick STORYBOARD 1.1=2`."
)


async def takes_page(
    shots: Sequence[PlannedClip], clips: Mapping[str, Clip], slug: str, archive: KlingArchive
) -> Markdown:
    """Return a page with the takes of some shots of a film; `clips` are given by key.

    Free but for the traffic of the store. The pictures must have been made. Where there are many,
    they are small; beyond forty shots some stand in the archive only. The links are signed: whoever
    has the page can watch.
    """
    most_bytes = min(_LARGEST_PICTURE, PICTURE_BYTES // max(1, len(shots)))
    most_bytes = max(_SMALLEST_PICTURE, most_bytes)
    lines = [_HOW, Markdown()]
    room = PICTURE_BYTES
    for shot in shots:
        sheet = layout.takes_sheet(slug, shot.first_take_key, shot.takes)
        picture = b""
        if room >= most_bytes:
            picture = await in_thread(_picture, sheet, most_bytes, archive)
        room -= len(picture)
        lines += [_heading(shot), Markdown(), _shown(picture, sheet, archive), Markdown()]
        lines += [*await _takes(shot, clips, archive), Markdown()]
    return page(lines)


def _heading(shot: PlannedClip) -> Markdown:
    if shot.is_open:
        return Markdown("**{}**: no take is picked, take 1 counts until one is").format(
            shot.shot_name
        )
    return Markdown("**{}**: take {} is picked").format(shot.shot_name, shot.order.take)


def _picture(path: str, most_bytes: int, archive: KlingArchive) -> bytes:
    stored = archive.get_archive().bucket.read(path)
    if stored is None:
        return b""
    return shrink(stored.body, at_most_bytes=most_bytes)


def _shown(picture: bytes, path: str, archive: KlingArchive) -> Markdown:
    """Return a picture inside of the page, or where it is in the archive."""
    if not picture:
        return code(archive.get_archive().bucket.uri(path))
    return Markdown(f"![Takes](data:image/jpeg;base64,{base64.b64encode(picture).decode()})")


async def _takes(
    shot: PlannedClip, clips: Mapping[str, Clip], archive: KlingArchive
) -> list[Markdown]:
    """Return the lines of a table of the takes of a shot."""
    headings = ["take", "watch", "lasts", "price"]
    is_any_suspect = any(clips[take.clip_key].suspect for take in shot.every_take)
    if is_any_suspect:
        headings.append("looks")
    rows = []
    for take in shot.every_take:
        clip = clips[take.clip_key]
        link = await in_thread(archive.watch_link, clip.uri)
        watch = code(clip.uri)
        if link is not None:
            # Our own: a signed link of the archive.
            watch = Markdown(f"[Watch]({link})")
        row = [f"take {take.order.take}", watch, f"{clip.media.seconds:.2f} s", f"${clip.usd}"]
        if is_any_suspect:
            row.append(clip.suspect)
        rows.append(row)
    return table(headings, rows)
