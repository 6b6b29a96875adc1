"""Takes side by side: a column each, with its number, and what is suspicious about it."""

from pathlib import Path

import pytest

from prefect_kling.studio.media.comparison_sheet import comparison_sheet
from prefect_kling.studio.media.contact_sheet import (
    GUTTER_PIXELS,
    MARKED,
    THUMB_PIXELS,
    Caption,
    Page,
)
from tests.studio.media.clips import Box, Recipe, decode_bars, write_clip
from tests.studio.media.test_contact_sheet import opened

HEIGHT = THUMB_PIXELS * 9 // 16


def test_each_take_is_a_column_of_its_first_middle_and_last_picture(tmp_path: Path) -> None:
    """The columns keep the order of the takes; a suspect take is framed."""
    takes = [
        write_clip(tmp_path, f"{clip}.mp4", Recipe(clip=clip, frames=48, width=160, height=90))
        for clip in (3, 5)
    ]
    captions = [Caption(0, 2.0, "take 1", "2.0 s"), Caption(0, 2.0, "take 2", mark="black")]
    sheet = opened(comparison_sheet(takes, captions, "1.1 The knock"))
    page = Page(2, 2, (THUMB_PIXELS, 3 * HEIGHT + 2 * GUTTER_PIXELS), footed=False)
    assert sheet.size == page.size
    luma = sheet.convert("L").tobytes()
    found = []
    for take in range(2):
        left, top = page.place(take)
        for row in range(3):
            box: Box = (left, top + row * (HEIGHT + GUTTER_PIXELS), THUMB_PIXELS, HEIGHT)
            found.append(decode_bars(luma, sheet.width, box))
    assert [clip for clip, _ in found] == [3, 3, 3, 5, 5, 5]
    for (_, number), expected in zip(found, (0, 24, 47) * 2, strict=True):
        assert expected - 2 <= number <= expected

    left, top = page.place(1)
    framed = sheet.getpixel((left + 50, top - 2))
    assert isinstance(framed, tuple)
    assert all(abs(seen - meant) < 60 for seen, meant in zip(framed, MARKED, strict=True))


def test_a_take_that_cannot_be_decoded_stays_empty(tmp_path: Path) -> None:
    """The others are shown; the same takes give the same bytes."""
    whole = write_clip(tmp_path, "1.mp4", Recipe(clip=1, frames=24, width=160, height=90))
    broken = tmp_path / "2.mp4"
    broken.write_bytes(b"no video")
    captions = [Caption(0, 1.0, "take 1"), Caption(0, 1.0, "take 2")]
    sheet = comparison_sheet([whole, broken], captions)
    assert sheet == comparison_sheet([whole, broken], captions)
    width, height = opened(sheet).size
    assert (width > 2 * THUMB_PIXELS, height > 3 * HEIGHT) == (True, True)
    with pytest.raises(ValueError, match="nothing to compare"):
        comparison_sheet([], [])
