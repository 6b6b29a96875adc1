"""The contact sheet: a thumbnail of every shot in its place, with its title and price."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.contact_sheet import (
    BACKGROUND,
    GUTTER_PIXELS,
    MARGIN_PIXELS,
    THUMB_PIXELS,
    Caption,
    Page,
    Size,
    contact_sheet,
    lay_out,
    shrink,
)
from prefect_kling.studio.media.frames import first_frame
from tests.studio.media.clips import Box, Recipe, decode_bars, paint, write_clip

SHOTS, CLIP = 6, 9
WIDE = (THUMB_PIXELS, THUMB_PIXELS * 9 // 16)
UPRIGHT = (WIDE[1], WIDE[0])
SQUARE = (THUMB_PIXELS, THUMB_PIXELS)
MIDDLES = [24 * number + 12 for number in range(SHOTS)]


def _film(width: int, height: int, folder: Path) -> tuple[Path, list[Caption]]:
    film = write_clip(
        folder, "film.mp4", Recipe(clip=CLIP, frames=24 * SHOTS, width=width, height=height)
    )
    return film, [
        Caption(float(number), 1.0, f"1.{number} shot", "1.0 s") for number in range(SHOTS)
    ]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Caption]]:
    """A film of six shots of one second each."""
    return _film(160, 90, tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Caption]]:
    """The same in portrait."""
    return _film(90, 160, tmp_path_factory.mktemp("upright"))


def opened(sheet: bytes) -> Image.Image:
    """Open a sheet, which must be a JPEG."""
    picture = Image.open(io.BytesIO(sheet))
    assert picture.format == "JPEG"
    return picture.convert("RGB")


def codes(sheet: Image.Image, page: Page) -> list[tuple[int, int]]:
    """Read the code of every thumbnail, row by row."""
    assert sheet.size == page.size
    luma, found = sheet.convert("L").tobytes(), []
    for number in range(page.count):
        box: Box = (*page.place(number), *page.thumb)
        found.append(decode_bars(luma, sheet.width, box))
    return found


def near(found: Sequence[tuple[int, int]], expected: Sequence[int]) -> bool:
    """Whether the right pictures are shown, each at most two B-frames too early."""
    pairs = list(zip(found, expected, strict=True))
    return all(clip == CLIP and want - 2 <= number <= want for (clip, number), want in pairs)


def caption_of(sheet: Image.Image, page: Page, number: int) -> Image.Image:
    """Cut out what is written below a thumbnail."""
    left, top = page.place(number)
    under = top + page.thumb[1]
    return sheet.crop((left, under + 2, left + page.thumb[0], under + round(2.9 * page.title)))


def differ(one: Image.Image, other: Image.Image, by: int = 100) -> bool:
    """Whether two pictures differ in some place by more than an encoder makes them."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema()) > by


def brightness(picture: Image.Image) -> int:
    """The brightest level of a picture."""
    return picture.convert("L").getextrema()[1]


def test_each_shot_is_shown_at_its_middle(film: tuple[Path, list[Caption]]) -> None:
    """Six shots stand in two rows, each with a picture from the middle of its own second."""
    sheet = opened(contact_sheet(*film))
    assert near(codes(sheet, lay_out(film[1], WIDE)), MIDDLES)


def test_an_upright_film_has_upright_thumbnails(upright: tuple[Path, list[Caption]]) -> None:
    """The longer side decides, and more stand in a row: no endless sheet of portraits."""
    sheet, page = opened(contact_sheet(*upright)), lay_out(upright[1], UPRIGHT)
    assert page.columns > lay_out(upright[1], WIDE).columns
    assert near(codes(sheet, page), MIDDLES)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12, 59, 60])
def test_any_number_of_shots_fits(film: tuple[Path, list[Caption]], count: int) -> None:
    """One to sixty shots have a place each, none missing, each at its time."""
    length = SHOTS / count
    shots = [Caption(number * length, length) for number in range(count)]
    found = codes(opened(contact_sheet(film[0], shots)), lay_out(shots, WIDE))
    assert near(found, [int((number + 0.5) * length * 24 + 1e-6) for number in range(count)])


@pytest.mark.parametrize(
    ("thumb", "columns"),
    [
        (WIDE, [1, 2, 3, 2, 3, 3, 4, 4, 3, 5, 4, 4, 5]),
        (UPRIGHT, [1, 2, 3, 4, 5, 6, 7, 8, 5, 5, 6, 6, 7]),
        (SQUARE, [1, 2, 3, 4, 3, 3, 4, 4, 5, 5, 6, 6, 7]),
    ],
)
def test_rows_are_as_full_as_a_pleasing_page_allows(thumb: Size, columns: list[int]) -> None:
    """Five wide shots are three and two, ten are five and five."""
    for count, wanted in enumerate(columns, 1):
        shots = [Caption(0, 1, "title", "note")] * count
        page = lay_out(shots, thumb, "heading", "footing")
        others = [Page(count, other, thumb) for other in range(1, count + 1)]
        assert (count, page.columns) == (count, wanted)
        assert page.holes <= 2
        assert all(
            other.holes >= page.holes or not 0.8 < other.size[0] / other.size[1] < 3
            for other in others
        )


def test_long_films_have_few_holes() -> None:
    """Up to three hundred shots there are never more than five empty places."""
    assert all(
        lay_out([Caption(0, 1, "title")] * count, WIDE).holes <= 5 for count in range(1, 301)
    )


def test_gutters_and_empty_places_are_background(film: tuple[Path, list[Caption]]) -> None:
    """Around the thumbnails, and in the last row's holes, there is only background."""
    shots = film[1][:5]
    sheet, page = opened(contact_sheet(film[0], shots)), lay_out(shots, WIDE)
    left, top = page.place(5)
    assert page.holes == 1
    hole = sheet.crop((left + GUTTER_PIXELS, top, sheet.width, sheet.height))
    margin = sheet.crop((0, 0, MARGIN_PIXELS - 16, sheet.height))
    gutter = sheet.crop(
        (MARGIN_PIXELS + WIDE[0] + 3, top + 20, MARGIN_PIXELS + WIDE[0] + 5, top + 60)
    )
    for empty, tolerance in ((hole, 12), (margin, 4), (gutter, 40)):
        assert not differ(empty, Image.new("RGB", empty.size, BACKGROUND), by=tolerance)


@pytest.mark.parametrize("changed", ["title", "note"])
def test_titles_and_notes_are_written_below_their_own_shot(
    film: tuple[Path, list[Caption]], changed: str
) -> None:
    """Another text changes what stands under its thumbnail, and nothing under the others."""
    shots = [Caption(shot.start, shot.seconds, "The boats", "4.0 s") for shot in film[1]]
    other = list(shots)
    other[4] = Caption(4.0, 1.0, **({"title": "The boats", "note": "4.0 s"} | {changed: "WWWWWW"}))
    page, sheets = (
        lay_out(shots, WIDE),
        [opened(contact_sheet(film[0], each)) for each in (shots, other)],
    )
    changes = [
        differ(*(caption_of(sheet, page, number) for sheet in sheets)) for number in range(SHOTS)
    ]
    assert changes == [False, False, False, False, True, False]


def test_titles_are_brighter_than_notes(film: tuple[Path, list[Caption]]) -> None:
    """A glance finds the titles first."""
    levels = [
        brightness(caption_of(opened(contact_sheet(film[0], shots)), lay_out(shots, WIDE), 0))
        for shots in ([Caption(0, 1, title="WWW")], [Caption(0, 1, note="WWW")])
    ]
    assert levels[0] > levels[1] + 40 > brightness(Image.new("RGB", (1, 1), BACKGROUND)) + 120


def test_a_long_title_stays_in_its_cell(
    film: tuple[Path, list[Caption]], upright: tuple[Path, list[Caption]]
) -> None:
    """The gutter beside it is free, and so is its neighbour's place."""
    for (path, shots), thumb in ((film, WIDE), (upright, UPRIGHT)):
        long = [
            Caption(shot.start, 1.0, "W" * 300 * (number == 0), "note")
            for number, shot in enumerate(shots)
        ]
        sheet, page = opened(contact_sheet(path, long)), lay_out(long, thumb)
        left, top = page.place(1)
        under = top + thumb[1] + 4
        line = sheet.crop(
            (left - thumb[0] - GUTTER_PIXELS, under, left - GUTTER_PIXELS, under + page.title)
        )
        beside = sheet.crop((left - GUTTER_PIXELS + 2, under, left + thumb[0], under + page.title))
        assert brightness(line) > 200
        assert brightness(beside) < 60


@pytest.mark.parametrize("line", ["heading", "footing"])
def test_heading_and_footing_stand_above_and_below(
    film: tuple[Path, list[Caption]], line: str
) -> None:
    """Each has a band of its own, is written in it, and takes no room when there is none."""
    plain, lined = contact_sheet(*film), contact_sheet(*film, **{line: "First light"})
    page = lay_out(film[1], WIDE, **{line: "First light"})
    sheet = opened(lined)
    assert sheet.height > opened(plain).height
    upper = (0, 0, sheet.width, page.place(0)[1] - 8)
    lower = (0, page.place(5)[1] + WIDE[1] + 3 * page.title, sheet.width, sheet.height)
    written = [brightness(sheet.crop(band)) > 100 for band in (upper, lower)]
    assert written == [line == "heading", line == "footing"]
    assert near(codes(sheet, page), MIDDLES)


def test_a_large_sheet_has_larger_letters() -> None:
    """Shrunk to the width of a page, sixty titles still have seven pixels each."""
    page = lay_out([Caption(0, 1, "title")] * 60, WIDE)
    assert page.title * 1000 / page.size[0] > 7


def test_shots_stand_in_the_order_of_the_film(film: tuple[Path, list[Caption]]) -> None:
    """However the shots are given, the sheet shows them by their starts."""
    assert contact_sheet(film[0], film[1][::-1]) == contact_sheet(*film)


def test_a_shot_beyond_the_end_shows_the_last_picture(film: tuple[Path, list[Caption]]) -> None:
    """A film that came out shorter than planned still has a thumbnail in every place."""
    shots = [Caption(0, 2), Caption(60, 5), Caption(90, 5)]
    assert near(codes(opened(contact_sheet(film[0], shots)), lay_out(shots, WIDE)), [24, 143, 143])


def test_a_film_of_one_picture_shows_it_for_every_shot(tmp_path: Path) -> None:
    """More moments than pictures is no mistake."""
    single, shots = (
        write_clip(tmp_path, "one.mp4", Recipe(clip=7, frames=1)),
        [Caption(n, 1) for n in range(5)],
    )
    assert codes(opened(contact_sheet(single, shots)), lay_out(shots, WIDE)) == [(7, 0)] * 5


def test_time_counts_from_the_first_picture(tmp_path: Path) -> None:
    """A film that starts at ten seconds is pictured like one that starts at zero."""
    late = write_clip(tmp_path, "late.mp4", Recipe(clip=CLIP, start=240))
    shots = [Caption(0.5, 0.01)]
    assert near(codes(opened(contact_sheet(late, shots)), lay_out(shots, WIDE)), [12])


def test_colours_are_those_of_the_film(tmp_path: Path) -> None:
    """On the sheet a picture looks as it does in a still."""
    path = write_clip(tmp_path, "red.mp4", Recipe(clip=0, frames=1, chroma=(110, 170)))
    sheet, page = opened(contact_sheet(path, [Caption(0, 1)])), lay_out([Caption(0, 1)], WIDE)
    still, (left, top) = Image.open(io.BytesIO(first_frame(path).data)), page.place(0)
    for x in (10, 124):
        shown, wanted = sheet.getpixel((left + 2 * x, top + 40)), still.getpixel((x, 20))
        assert all(abs(got - want) <= 5 for got, want in zip(shown, wanted, strict=True)), (
            shown,
            wanted,
        )


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114)])
def test_the_matrix_of_the_film_is_obeyed(
    tmp_path: Path, matrix: int, kr: float, kb: float
) -> None:
    """A painted picture's mean colour is what its own matrix, bt709 or bt601, makes of it."""
    chroma = (146, 150)
    path = write_clip(
        tmp_path, "tagged.mp4", Recipe(frames=1, chroma=chroma, colour={"colorspace": matrix})
    )
    plane = paint(0, 0, (160, 90), chroma).planes[0]
    lower = [bytes(plane)[y * plane.line_size :][:160] for y in range(50, 85)]
    luma = (sum(map(sum, lower)) / (35 * 160) - 16) / 219
    blue, red = ((level - 128) / 224 for level in chroma)
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    wanted = [255 * level for level in (r, (luma - kr * r - kb * b) / (1 - kr - kb), b)]
    left, top = lay_out([Caption(0, 1)], WIDE).place(0)
    shown = opened(contact_sheet(path, [Caption(0, 1)])).crop(
        (left, top + 100, left + WIDE[0], top + 170)
    )
    mean = shown.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert all(abs(got - want) <= 3 for got, want in zip(mean, wanted, strict=True)), (mean, wanted)


def test_the_sheet_is_the_same_every_time(film: tuple[Path, list[Caption]]) -> None:
    """Two calls give the same bytes."""
    assert contact_sheet(*film, "heading", "footing") == contact_sheet(*film, "heading", "footing")


def test_bad_films_and_empty_sheets_are_refused(
    film: tuple[Path, list[Caption]], tmp_path: Path
) -> None:
    """A cut film is no video; a sheet without shots is the caller's mistake."""
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film[0].read_bytes()[:-1])
    with pytest.raises(NotAVideo):
        contact_sheet(cut, film[1])
    with pytest.raises(ValueError, match="at least one shot"):
        contact_sheet(film[0], [])


@pytest.fixture(scope="module")
def large(film: tuple[Path, list[Caption]]) -> bytes:
    """The sheet of many shots."""
    shots = [Caption(number / 6, 1 / 6, f"{number} title") for number in range(36)]
    return contact_sheet(film[0], shots, "heading", "footing")


@pytest.mark.parametrize("limit", [150_000, 60_000, 20_000, 2_000])
def test_a_shrunk_sheet_keeps_within_its_limits(large: bytes, limit: int) -> None:
    """It is never longer or heavier than asked for, and keeps its shape while it can."""
    small = shrink(large, 900, limit)
    picture, whole = opened(small), opened(large)
    assert len(small) <= limit < len(large)
    assert max(picture.size) <= 900
    assert picture.width / picture.height == pytest.approx(whole.width / whole.height, rel=0.05)


def test_quality_goes_before_size(large: bytes) -> None:
    """A byte less than the best quality takes costs quality, and much less costs size."""
    best = shrink(large, 900, 10_000_000)
    poorer, smaller = shrink(large, 900, len(best) - 1), shrink(large, 900, len(best) // 10)
    assert opened(poorer).size == opened(best).size
    assert len(poorer) < len(best)
    assert max(opened(smaller).size) < 900


def test_shrinking_never_enlarges(film: tuple[Path, list[Caption]]) -> None:
    """A sheet that is small already keeps its size."""
    sheet = contact_sheet(film[0], film[1][:1])
    assert opened(shrink(sheet, 5000)).size == opened(sheet).size


def test_shrinking_is_the_same_every_time(large: bytes) -> None:
    """Two calls give the same bytes."""
    assert shrink(large) == shrink(large)


def test_what_cannot_be_shrunk_is_refused(large: bytes) -> None:
    """Neither something else than a JPEG, nor half of one, nor a limit below any picture."""
    for broken in (b"", b"GIF89a", large[: len(large) // 2]):
        with pytest.raises(ValueError, match="no JPEG"):
            shrink(broken)
    with pytest.raises(ValueError, match="no picture fits into 100 bytes"):
        shrink(large, 900, 100)
