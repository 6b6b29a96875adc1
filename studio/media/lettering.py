"""One line of text in a picture: a typeface that has its letters, an ellipsis if it is too long.

Pillow has one typeface, with ASCII, quotation marks and little else. A line with other letters is
set in an installed typeface from a short list, if one has more of them. Letters that this typeface
lacks are written without their accents or shown as a box. No typeface is shipped or downloaded.
"""

import functools
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

from PIL import ImageFont

_BUILT_IN = ""
# Typefaces of Linux, Windows and macOS with many letters, which Pillow finds by name.
_INSTALLED = (
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "malgun.ttf",
    "wqy-zenhei.ttc",
)
# Replaced in every title, so that a dash alone does not change the typeface of its line.
_PLAIN = str.maketrans(
    {"\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "x"}
)
_NOWHERE = "\U0010ffff"  # no character, so every typeface draws its box for it
_PROBE_PIXELS = 24


@dataclass(frozen=True)
class Line:
    """A text as it can be drawn: on one line, in a typeface."""

    text: str
    face: ImageFont.FreeTypeFont

    @property
    def width(self) -> float:
        """Its length in pixels."""
        return self.face.getlength(self.text)


def set_line(text: str, pixels: int, width: int) -> Line:
    """Set a text in letters `pixels` high; a text wider than `width` pixels ends in an ellipsis.

    ASCII looks the same on every machine; other scripts depend on the installed typefaces. Line
    breaks count as spaces. Raises nothing, whatever the text.
    """
    line = " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())
    name = _best_face(line)
    face = _face(name, pixels) or _built_in(pixels)
    spelled = ""
    for letter in line:
        if _has(name, letter):
            spelled += letter
        else:
            spelled += _without_accents(letter, name)
    if face.getlength(spelled) <= width:
        return Line(spelled, face)

    def width_of(kept: int) -> int:
        return ceil(face.getlength(_cut(spelled, kept)))

    fitting = bisect_right(range(len(spelled)), width, key=width_of)
    if not fitting:
        return Line("", face)
    return Line(_cut(spelled, fitting - 1), face)


def _cut(text: str, kept: int) -> str:
    return f"{text[:kept].rstrip()}…"


def _without_accents(letter: str, name: str) -> str:
    """Return a letter the typeface lacks without its accents, or as it is, to be drawn as a box."""
    parts = unicodedata.normalize("NFKD", letter)
    plain = [part for part in parts if unicodedata.category(part) not in ("Mn", "Cf")]
    if all(_has(name, part) for part in plain):
        return "".join(plain)
    return letter


@functools.lru_cache(maxsize=1024)
def _best_face(text: str) -> str:
    """Name the typeface that lacks the fewest letters of a text; the built-in one comes first."""
    letters = set(text)
    best = _BUILT_IN
    fewest = len(text) + 1
    for name in (_BUILT_IN, *_INSTALLED):
        lacking = sum(not _has(name, letter) for letter in letters)
        if lacking < fewest:
            best = name
            fewest = lacking
        if not fewest:
            break
    return best


@functools.lru_cache(maxsize=65_536)
def _has(name: str, letter: str) -> bool:
    """Whether a typeface draws this letter, and not its box for letters that it lacks."""
    face = _face(name, _PROBE_PIXELS)
    if face is None:
        return False
    if letter.isspace():
        return True
    return _drawn(face, letter) != _drawn(face, _NOWHERE)


def _drawn(face: ImageFont.FreeTypeFont, letter: str) -> tuple[bytes, tuple[int, int]]:
    mask = face.getmask(letter)
    return bytes(mask), mask.size


@functools.lru_cache(maxsize=64)
def _face(name: str, pixels: int) -> ImageFont.FreeTypeFont | None:
    """Open a typeface; None if it is not installed."""
    if name == _BUILT_IN:
        return _built_in(pixels)
    try:
        return ImageFont.truetype(name, pixels)
    except OSError:
        return None


def _built_in(pixels: int) -> ImageFont.FreeTypeFont:
    face = ImageFont.load_default(pixels)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RuntimeError("contact sheets need a Pillow built with FreeType")
    return face
