"""The takes of a shot side by side: a picture in the archive, made once."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.media.comparison_sheet import comparison_sheet
from prefect_kling.studio.media.contact_sheet import Caption
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.storage import layout


def keep_comparison(
    planned: PlannedClip, clips: Mapping[str, Clip], slug: str, archive: Archive
) -> bytes:
    """Keep a picture of all takes of a planned clip in the archive, and return it as a JPEG.

    `clips` are given by clip key, all takes among them. Free but for the store's traffic, blocking,
    safe to repeat: what is there is returned. Raises storage errors.
    """
    path = layout.takes_sheet(slug, planned.first_take_key, planned.takes)
    stored = archive.bucket.read(path)
    if stored is not None:
        return stored.body

    takes = []
    captions = []
    with TemporaryDirectory(prefix="takes-") as disk:
        for each in planned.every_take:
            clip = clips[each.clip_key]
            take = Path(disk) / f"{each.order.take}.mp4"
            with take.open("w+b") as file:
                archive.copy_out(clip, file)
            seconds = clip.media.seconds
            note = f"{seconds:.1f} s · ${clip.usd:.2f}"
            captions.append(Caption(0, seconds, f"take {each.order.take}", note, clip.suspect))
            takes.append(take)
        sheet = comparison_sheet(takes, captions, planned.shot_name)
    archive.bucket.put(path, sheet, "image/jpeg")
    return sheet
