"""One picture of a whole film: a thumbnail per shot in rows, with titles and prices."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.JpegImagePlugin import JpegImageFile

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import open_film
from prefect_kling.studio.media.lettering import Line, set_line
from prefect_kling.studio.media.moments import pictures_at
from prefect_kling.studio.media.thumbnail import thumbnails

THUMB_PIXELS = 320
"""The longer side of a thumbnail."""
GUTTER_PIXELS = 8
MARGIN_PIXELS = 24
BACKGROUND = (15, 16, 19)
BRIGHT = (238, 237, 232)
DIM = (156, 158, 165)
MARKED = (242, 170, 60)

# Letters grow with the sheet, so that a large sheet can be read when it is shrunk. Titles stop
# growing when a thumbnail has room for too little of one.
_HEADING_PIXELS = 28
_SHEET_PER_HEADING = 36
_TITLE_PIXELS = 18
_SHEET_PER_TITLE = 100
_THUMB_PER_TITLE = 12
_FOOTING_PER_HEADING = 0.6
_NOTE_PER_TITLE = 0.89
_LINE_PER_LETTER = 1.45
_BAND_PER_LETTER = 1.6
_CAPTION_END_PIXELS = 14

# Width by height.
_BEST_SHAPE = 1.6
_NARROWEST_SHAPE = 0.8
_WIDEST_SHAPE = 3.0

_QUALITY = 90
_SMALLER_QUALITIES = (85, 75, 65, 55, 45)
_SMALLEST_SIDE = 16

Size = tuple[int, int]
"""Width and height in pixels."""
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Caption:
    """A shot of a film, as a contact sheet shows it."""

    start: float
    """Where it begins, in seconds."""
    seconds: float
    title: str = ""
    """What to call it, such as `2.1 The door opens`."""
    note: str = ""
    """A dimmer line below, such as `4.0 s · $0.25`."""
    mark: str = ""
    """What is suspicious about it, such as `black`: it is framed, and its note begins with this."""

    @property
    def middle(self) -> float:
        """The second its thumbnail is taken at."""
        return self.start + self.seconds / 2


@dataclass(frozen=True)
class Page:
    """Where everything is on a sheet, in pixels; the number of a shot counts from zero."""

    count: int
    columns: int
    thumb: Size
    titled: bool = True
    noted: bool = True
    headed: bool = True
    footed: bool = True

    @property
    def rows(self) -> int:
        """How many rows there are, the last one perhaps not full."""
        return -(-self.count // self.columns)

    @property
    def holes(self) -> int:
        """How many places of the last row stay empty."""
        return self.rows * self.columns - self.count

    @property
    def heading(self) -> int:
        """The height of the heading's letters."""
        return max(_HEADING_PIXELS, self._width // _SHEET_PER_HEADING)

    @property
    def footing(self) -> int:
        """The height of the letters below the thumbnails."""
        return round(_FOOTING_PER_HEADING * self.heading)

    @property
    def title(self) -> int:
        """The height of a title's letters."""
        by_sheet = self._width // _SHEET_PER_TITLE
        by_thumb = self.thumb[0] // _THUMB_PER_TITLE
        return max(_TITLE_PIXELS, min(by_sheet, by_thumb))

    @property
    def note(self) -> int:
        """The height of a note's letters."""
        return round(_NOTE_PER_TITLE * self.title)

    @property
    def size(self) -> Size:
        """The whole sheet."""
        rows = self.rows * (self._row + GUTTER_PIXELS) - GUTTER_PIXELS
        height = MARGIN_PIXELS + self._head + rows + MARGIN_PIXELS
        if self.footed:
            height += round(self.footing * _BAND_PER_LETTER)
        return self._width, height

    def place(self, number: int) -> tuple[int, int]:
        """Return the upper left corner of a thumbnail."""
        row, column = divmod(number, self.columns)
        left = MARGIN_PIXELS + column * (self.thumb[0] + GUTTER_PIXELS)
        top = MARGIN_PIXELS + self._head + row * (self._row + GUTTER_PIXELS)
        return left, top

    @property
    def _width(self) -> int:
        grid = self.columns * (self.thumb[0] + GUTTER_PIXELS) - GUTTER_PIXELS
        return 2 * MARGIN_PIXELS + max(grid, THUMB_PIXELS)

    @property
    def _head(self) -> int:
        if not self.headed:
            return 0
        return round(self.heading * _BAND_PER_LETTER)

    @property
    def _row(self) -> int:
        letters = 0
        if self.titled:
            letters += self.title
        if self.noted:
            letters += self.note
        if not letters:
            return self.thumb[1]
        return self.thumb[1] + round(_LINE_PER_LETTER * letters) + _CAPTION_END_PIXELS


def lay_out(shots: Sequence[Caption], thumb: Size, heading: str = "", footing: str = "") -> Page:
    """Return the page with the fewest empty places that is neither a strip nor a tower.

    Of several, the one nearest to landscape. Texts that are empty everywhere take no room.
    """
    pages = []
    for columns in range(1, len(shots) + 1):
        page = Page(
            count=len(shots),
            columns=columns,
            thumb=thumb,
            titled=any(shot.title for shot in shots),
            noted=any(shot.note or shot.mark for shot in shots),
            headed=bool(heading),
            footed=bool(footing),
        )
        pages.append(page)
    return min(pages, key=_flaws)


def _flaws(page: Page) -> tuple[bool, int, float]:
    width, height = page.size
    shape = width / height
    is_extreme = not _NARROWEST_SHAPE <= shape <= _WIDEST_SHAPE
    return is_extreme, page.holes, abs(math.log(shape / _BEST_SHAPE))


def contact_sheet(
    film: Path, shots: Sequence[Caption], heading: str = "", footing: str = ""
) -> bytes:
    """Return a JPEG with a thumbnail, title and note per shot, in the order of the film.

    A thumbnail is taken at the middle of its shot; one beyond the end shows the last picture. Of
    the film, only what leads from a key frame to such a picture is decoded. Of H.264, a picture
    that no other depends on is skipped for the one before. Texts too long for their place end in an
    ellipsis; beyond ASCII they need a typeface on this machine (see `lettering`). The same film and
    texts give the same bytes. Raises `NotAVideo`, or `ValueError` without shots.
    """
    if not shots:
        raise ValueError("a contact sheet needs at least one shot")
    ordered = sorted(shots, key=lambda shot: shot.middle)
    with open_film(film) as (container, video):
        pictures = pictures_at(container, video, [shot.middle for shot in ordered])
        thumbs = thumbnails(pictures, video.sample_aspect_ratio, THUMB_PIXELS)
        first = next(thumbs, None)
        if first is None:
            raise NotAVideo("the file holds no picture that can be decoded")
        page = lay_out(ordered, first.size, heading, footing)
        return draw_sheet(page, chain([first], thumbs), ordered, heading, footing)


def draw_sheet(
    page: Page, thumbs: Iterable[Image.Image], shots: Sequence[Caption], heading: str, footing: str
) -> bytes:
    """Return a sheet as a JPEG: the thumbnails of shots in their places, with their captions."""
    sheet = Image.new("RGB", page.size, BACKGROUND)
    for number, thumb in enumerate(thumbs):
        sheet.paste(thumb, page.place(number))
    pen = ImageDraw.Draw(sheet)
    for number, shot in enumerate(shots):
        _write_caption(pen, page, number, shot)
        if shot.mark:
            _frame(pen, page, number)
    _write_frame(pen, page, heading, footing)
    return _jpeg(sheet, _QUALITY)


def _write_caption(pen: ImageDraw.ImageDraw, page: Page, number: int, shot: Caption) -> None:
    left, top = page.place(number)
    width, height = page.thumb
    baseline = top + height
    if page.titled:
        baseline += round(_LINE_PER_LETTER * page.title)
        _write(pen, set_line(shot.title, page.title, width), (left, baseline), BRIGHT)
    if page.noted:
        baseline += round(_LINE_PER_LETTER * page.note)
        text = shot.note
        colour = DIM
        if shot.mark:
            text = " · ".join(part for part in (shot.mark, shot.note) if part)
            colour = MARKED
        _write(pen, set_line(text, page.note, width), (left, baseline), colour)


def _frame(pen: ImageDraw.ImageDraw, page: Page, number: int) -> None:
    """Draw a frame around a thumbnail, in the gutter."""
    left, top = page.place(number)
    width, height = page.thumb
    edge = GUTTER_PIXELS // 2
    box = (left - edge, top - edge, left + width + edge - 1, top + height + edge - 1)
    pen.rectangle(box, outline=MARKED, width=edge)


def _write_frame(pen: ImageDraw.ImageDraw, page: Page, heading: str, footing: str) -> None:
    width, height = page.size
    room = width - 2 * MARGIN_PIXELS

    line = set_line(heading, page.heading, room)
    _write(pen, line, (MARGIN_PIXELS, MARGIN_PIXELS + page.heading * 3 // 4), BRIGHT)

    line = set_line(footing, page.footing, room)
    _write(pen, line, (MARGIN_PIXELS, height - MARGIN_PIXELS), DIM)


def _write(pen: ImageDraw.ImageDraw, line: Line, baseline: tuple[int, int], colour: Rgb) -> None:
    pen.text(baseline, line.text, font=line.face, fill=colour, anchor="ls")


def shrink(sheet: bytes, longer_side: int = 1000, at_most_bytes: int = 150_000) -> bytes:
    """Return a sheet as a small JPEG to embed in a page.

    Its longer side has at most `longer_side` pixels, the file at most `at_most_bytes`. A lower
    quality is tried before a smaller picture; nothing is enlarged. The same sheet gives the same
    bytes. Raises `ValueError` for anything but a JPEG, and if even a tiny picture is too large.
    """
    try:
        # Image.open would refuse the sheet of a very long film as a decompression bomb.
        picture: Image.Image = JpegImageFile(io.BytesIO(sheet))
        picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the sheet is no JPEG ({error})") from error
    side = max(picture.size)
    while side >= _SMALLEST_SIDE:
        smaller = picture.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _SMALLER_QUALITIES:
            jpeg = _jpeg(smaller, quality, optimize=True)
            if len(jpeg) <= at_most_bytes:
                return jpeg
        side = side * 4 // 5
    raise ValueError(f"no picture fits into {at_most_bytes:,} bytes")


def _jpeg(picture: Image.Image, quality: int, *, optimize: bool = False) -> bytes:
    """Encode a picture; optimized it is smaller, and held in memory a second time."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=optimize)
    return file.getvalue()
