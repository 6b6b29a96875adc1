"""One line of text in a picture: a typeface that has its letters, and an ellipsis where it would be too long.

Pillow brings one typeface, which has ASCII, quotation marks and little else. A line it cannot write is set in an
installed typeface from a short list, if one has more of its letters; what even that lacks is written without its
accents, or shows as an empty or crossed-out box. No typeface is shipped or fetched.
"""

import functools
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

from PIL import ImageFont

_BUILT_IN = ""
# Wide typefaces of Linux, Windows and macOS, which Pillow finds by name; what is in them is looked up, not assumed.
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
# Written the same way in every title, so that one dash does not set its line in another typeface than its neighbours.
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
    """Set a text in a typeface of that height; what is wider than `width` pixels ends in an ellipsis.

    ASCII looks the same on every machine; other scripts depend on the typefaces that are installed. Line breaks count
    as spaces. Whatever the text, nothing is raised.
    """
    line = " ".join(unicodedata.normalize("NFC", text).translate(_PLAIN).split())
    name = _best_face(line)
    face = _face(name, pixels) or _built_in(pixels)
    spelled = "".join(
        letter if _has(name, letter) else _without_accents(letter, name) for letter in line
    )
    if face.getlength(spelled) <= width:
        return Line(spelled, face)
    fitting = bisect_right(
        range(len(spelled)), width, key=lambda kept: ceil(face.getlength(_cut(spelled, kept)))
    )
    return Line(_cut(spelled, fitting - 1) if fitting else "", face)


def _cut(text: str, kept: int) -> str:
    return f"{text[:kept].rstrip()}…"


def _without_accents(letter: str, name: str) -> str:
    """Return what is left of a letter the typeface lacks, or the letter itself, to be drawn as a box."""
    parts = unicodedata.normalize("NFKD", letter)
    plain = "".join(part for part in parts if unicodedata.category(part) not in ("Mn", "Cf"))
    return plain if all(_has(name, part) for part in plain) else letter


@functools.lru_cache(maxsize=1024)
def _best_face(text: str) -> str:
    """Name the typeface that lacks the fewest letters of a text, the built-in one if it is as good as any."""
    letters, best, fewest = set(text), _BUILT_IN, len(text) + 1
    for name in (_BUILT_IN, *_INSTALLED):
        lacking = sum(not _has(name, letter) for letter in letters)
        if lacking < fewest:
            best, fewest = name, lacking
        if not fewest:
            break
    return best


@functools.lru_cache(maxsize=65_536)
def _has(name: str, letter: str) -> bool:
    """Whether a typeface draws something else for this letter than its box for letters that it lacks."""
    face = _face(name, _PROBE_PIXELS)
    return face is not None and (letter.isspace() or _drawn(face, letter) != _drawn(face, _NOWHERE))


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
