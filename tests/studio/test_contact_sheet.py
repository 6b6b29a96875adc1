"""The contact sheet: a thumbnail of every shot, in its place."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from prefect_kling.studio.assembly import join
from prefect_kling.studio.contact_sheet import COLUMNS, GUTTER_PIXELS, THUMB_PIXELS, Caption, contact_sheet
from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.frames import first_frame
from tests.studio.clips import Box, Recipe, decode_bars, make_clip, write_clip

SHOTS = 6
WIDTH, HEIGHT = THUMB_PIXELS, THUMB_PIXELS * 9 // 16


@functools.cache
def _film(width: int, height: int, folder: Path) -> tuple[Path, list[Caption]]:
    clips = [Recipe(clip=number, width=width, height=height) for number in range(SHOTS)]
    report = join([io.BytesIO(make_clip(recipe)) for recipe in clips], folder / "film.mp4")
    return folder / "film.mp4", [Caption(start, 1.0, f"shot {number}") for number, start in enumerate(report.starts)]


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
    return picture


def codes(sheet: Image.Image, count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[tuple[int, int]]:
    """Read the code of every thumbnail, row by row."""
    luma, found = sheet.convert("L").tobytes(), []
    for place in range(count):
        row, column = divmod(place, COLUMNS)
        box: Box = (
            GUTTER_PIXELS + column * (size[0] + GUTTER_PIXELS),
            GUTTER_PIXELS + row * (size[1] + GUTTER_PIXELS),
            *size,
        )
        found.append(decode_bars(luma, sheet.width, box))
    return found


def near(found: Sequence[tuple[int, int]], expected: Sequence[tuple[int, int]]) -> bool:
    """Whether the right clips are shown, each at most two B-frames before the picture wanted."""
    pairs = list(zip(found, expected, strict=True))
    return all(got[0] == want[0] and want[1] - 2 <= got[1] <= want[1] for got, want in pairs)


def test_each_shot_is_shown_at_its_middle(film: tuple[Path, list[Caption]]) -> None:
    """Six shots stand in two rows, each with a picture from the middle of its own second."""
    sheet = opened(contact_sheet(*film))
    assert near(codes(sheet, SHOTS), [(number, 12) for number in range(SHOTS)])


def test_an_upright_film_has_upright_thumbnails(upright: tuple[Path, list[Caption]]) -> None:
    """The longer side decides, so that a portrait film makes no endless sheet."""
    sheet = opened(contact_sheet(*upright))
    assert sheet.height == 2 * THUMB_PIXELS + 3 * GUTTER_PIXELS
    assert near(codes(sheet, SHOTS, (HEIGHT, WIDTH)), [(number, 12) for number in range(SHOTS)])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12, 59, 60])
def test_any_number_of_shots_fits(film: tuple[Path, list[Caption]], count: int) -> None:
    """One to sixty shots stand four in a row, none missing, each at its time."""
    length = SHOTS / count
    sheet = opened(contact_sheet(film[0], [Caption(number * length, length) for number in range(count)]))
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    assert sheet.size == (
        columns * (WIDTH + GUTTER_PIXELS) + GUTTER_PIXELS,
        rows * (HEIGHT + GUTTER_PIXELS) + GUTTER_PIXELS,
    )
    wanted = [int((number + 0.5) * length * 24 + 1e-6) for number in range(count)]
    shown = [clip * 24 + number for clip, number in codes(sheet, count)]
    assert all(want - 2 <= got <= want for got, want in zip(shown, wanted, strict=True))


def test_gutters_and_empty_places_are_black(film: tuple[Path, list[Caption]]) -> None:
    """Around the thumbnails, and where the last row has none, the sheet is black."""
    sheet = opened(contact_sheet(*film)).convert("L")
    places = [(2, 2), (GUTTER_PIXELS + WIDTH + 4, 50), (sheet.width - 50, sheet.height - 50)]
    assert all(sheet.getpixel(place) <= 8 for place in places)


def test_shots_stand_in_the_order_of_the_film(film: tuple[Path, list[Caption]]) -> None:
    """However the shots are given, the sheet shows them by their starts."""
    assert contact_sheet(film[0], film[1][::-1]) == contact_sheet(*film)


def test_a_shot_beyond_the_end_shows_the_last_picture(film: tuple[Path, list[Caption]]) -> None:
    """A film that came out shorter than planned still has a thumbnail in every place."""
    sheet = opened(contact_sheet(film[0], [Caption(0, 2), Caption(60, 5), Caption(90, 5)]))
    assert near(codes(sheet, 3), [(1, 0), (5, 23), (5, 23)])


def test_time_counts_from_the_first_picture(tmp_path: Path) -> None:
    """A film that starts at ten seconds is pictured like one that starts at zero."""
    late = write_clip(tmp_path, "late.mp4", Recipe(clip=9, start=240))
    assert near(codes(opened(contact_sheet(late, [Caption(0.5, 0.01)])), 1), [(9, 12)])


def test_colours_are_those_of_the_film(tmp_path: Path) -> None:
    """A JPEG counts colours differently than a film; on the sheet they look as they do in a still."""
    path = write_clip(tmp_path, "red.mp4", Recipe(clip=0, frames=1, chroma=(110, 170)))
    sheet = opened(contact_sheet(path, [Caption(0, 1)]))
    still = Image.open(io.BytesIO(first_frame(path).data))
    for x in (10, 124):
        shown, wanted = sheet.getpixel((GUTTER_PIXELS + 2 * x, GUTTER_PIXELS + 40)), still.getpixel((x, 20))
        assert all(abs(got - want) <= 5 for got, want in zip(shown, wanted, strict=True)), (shown, wanted)


def test_the_sheet_is_the_same_every_time(film: tuple[Path, list[Caption]]) -> None:
    """Two calls give the same bytes."""
    assert contact_sheet(*film) == contact_sheet(*film)


def test_bad_films_and_empty_sheets_are_refused(film: tuple[Path, list[Caption]], tmp_path: Path) -> None:
    """A cut film is no video; a sheet without shots is the caller's mistake."""
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film[0].read_bytes()[:-1])
    with pytest.raises(NotAVideo):
        contact_sheet(cut, film[1])
    with pytest.raises(ValueError, match="at least one shot"):
        contact_sheet(film[0], [])
