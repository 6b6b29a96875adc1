"""Lines of text: every script a title may have, and no line longer than its place."""

from collections.abc import Iterator

import pytest
from PIL import ImageFont

from prefect_kling.studio.media import lettering
from prefect_kling.studio.media.lettering import set_line

LONG = "2.1 The door opens and an old man with a lamp steps out into the rain"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without typefaces, as a small container is."""
    monkeypatch.setattr(lettering, "_INSTALLED", ())
    lettering._best_face.cache_clear()
    yield
    lettering._best_face.cache_clear()


def test_ascii_is_set_in_the_built_in_typeface() -> None:
    """What every machine can show is the same on every machine."""
    ascii_line = "".join(map(chr, range(32, 127))).strip()
    line = set_line(ascii_line, 18, 5000)
    assert line.text == ascii_line
    assert line.face.getname() == ImageFont.load_default(18).getname()


def test_a_line_that_is_too_long_ends_in_an_ellipsis() -> None:
    """As much of it is kept as fits, and no more."""
    for width in (60, 180, 320):
        line = set_line(LONG, 18, width)
        kept = line.text.removesuffix("…")
        assert line.text.endswith("…")
        assert LONG.startswith(kept)
        assert line.width <= width < line.face.getlength(LONG[: len(kept) + 2] + "…")


def test_a_line_that_fits_is_whole() -> None:
    """The ellipsis begins one pixel below the length of the line."""
    width = int(set_line(LONG, 18, 5000).width)
    assert set_line(LONG, 18, width).text == LONG
    assert set_line(LONG, 18, width - 1).text != LONG


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one\nline\r\n\tonly",
        "W" * 5000,
        "1.1 码头上的狗在奔跑" * 40,
        "Рынок просыпается " * 40,
        "مرحبا بالعالم " * 40,
        "नमस्ते दुनिया " * 40,
        "🎬🦊👩\u200d🚀 " * 40,
        "\ud800 \x00 \x1b[31m \u202e \U0010ffff",
        "e\u0301" * 400,
    ],
)
@pytest.mark.parametrize("width", [0, 3, 60, 320])
def test_any_text_becomes_one_line_that_fits(text: str, width: int) -> None:
    """Whatever somebody calls a shot, it is one line and not longer than its place."""
    line = set_line(text, 18, width)
    assert "\n" not in line.text
    assert line.width <= width
    line.face.getmask(line.text)


@pytest.mark.usefixtures("bare")
def test_without_typefaces_accents_are_dropped_and_other_letters_are_boxes() -> None:
    """A Latin title stays readable; what cannot be shown is seen to be missing."""
    assert set_line("3.2 Café — Müller", 18, 500).text == "3.2 Cafe - Muller"
    line = set_line("4.1 码头", 18, 500)
    assert line.text == "4.1 码头"
    assert line.face.getmask("码").getbbox() is not None


def test_letters_the_built_in_typeface_lacks_are_looked_for() -> None:
    """Cyrillic is set in an installed typeface that has it, with a picture for each letter."""
    try:
        ImageFont.truetype("DejaVuSans.ttf", 18)
    except OSError:
        pytest.skip("DejaVu Sans is not installed")
    line = set_line("Рынок", 18, 500)
    drawn = [bytes(line.face.getmask(letter)) for letter in "Рынок\U0010ffff"]
    assert len(set(drawn)) == 6
