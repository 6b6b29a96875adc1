"""One picture of a whole film: a thumbnail per shot in rows, with titles and prices."""

import io
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageDraw
from PIL.JpegImagePlugin import JpegImageFile

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import (
    EXACT,
    buffer_step,
    filter_graph,
    filtered,
    matrix_of,
    open_film,
)
from prefect_kling.studio.media.lettering import Line, set_line

THUMB_PIXELS = 320
"""The longer side of a thumbnail."""
GUTTER_PIXELS = 8
MARGIN_PIXELS = 24
BACKGROUND, BRIGHT, DIM = (15, 16, 19), (238, 237, 232), (156, 158, 165)

# Letters grow with their sheet, so that a large one can still be read when it is shrunk: pixels at least, and the width
# of sheet that each pixel stands for. Titles stop where a thumbnail holds too little of one.
_HEADING, _TITLE = (28, 36), (18, 100)
_TITLES_PER_THUMB = 12
_FOOTING, _NOTE = 0.6, 0.89  # of a heading, of a title
_LINE, _BAND = 1.45, 1.6  # of the letters in it
_CAPTION_END = 14
_LANDSCAPE, _SENSIBLE = 1.6, (0.8, 3.0)  # width by height
_QUALITY = 90
_SMALLER_QUALITIES = (85, 75, 65, 55, 45)
_SMALLEST = 16

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

    @property
    def middle(self) -> float:
        """The second its thumbnail is taken at."""
        return self.start + self.seconds / 2


@dataclass(frozen=True)
class Page:
    """Where everything stands on a sheet, in pixels; a shot's number counts from zero."""

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
        return max(_HEADING[0], self._width // _HEADING[1])

    @property
    def footing(self) -> int:
        """The height of the letters below the thumbnails."""
        return round(_FOOTING * self.heading)

    @property
    def title(self) -> int:
        """The height of a title's letters."""
        return max(_TITLE[0], min(self._width // _TITLE[1], self.thumb[0] // _TITLES_PER_THUMB))

    @property
    def note(self) -> int:
        """The height of a note's letters."""
        return round(_NOTE * self.title)

    @property
    def size(self) -> Size:
        """The whole sheet."""
        foot = round(self.footing * _BAND) if self.footed else 0
        rows = self.rows * (self._row + GUTTER_PIXELS) - GUTTER_PIXELS
        return self._width, MARGIN_PIXELS + self._head + rows + foot + MARGIN_PIXELS

    def place(self, number: int) -> tuple[int, int]:
        """Return the upper left corner of a thumbnail."""
        row, column = divmod(number, self.columns)
        left = MARGIN_PIXELS + column * (self.thumb[0] + GUTTER_PIXELS)
        return left, MARGIN_PIXELS + self._head + row * (self._row + GUTTER_PIXELS)

    @property
    def _width(self) -> int:
        grid = self.columns * (self.thumb[0] + GUTTER_PIXELS) - GUTTER_PIXELS
        return 2 * MARGIN_PIXELS + max(grid, THUMB_PIXELS)

    @property
    def _head(self) -> int:
        return round(self.heading * _BAND) if self.headed else 0

    @property
    def _row(self) -> int:
        lines = self.title * self.titled + self.note * self.noted
        return self.thumb[1] + (round(_LINE * lines) + _CAPTION_END if lines else 0)


def lay_out(shots: Sequence[Caption], thumb: Size, heading: str = "", footing: str = "") -> Page:
    """Return the page with the fewest empty places whose shape is sensible, and of those the one nearest to landscape.

    Texts that are empty everywhere take no room.
    """
    titled, noted = any(shot.title for shot in shots), any(shot.note for shot in shots)
    count = len(shots)
    pages = [
        Page(count, columns, thumb, titled, noted, bool(heading), bool(footing))
        for columns in range(1, count + 1)
    ]
    return min(pages, key=_flaws)


def _flaws(page: Page) -> tuple[bool, int, float]:
    shape = page.size[0] / page.size[1]
    return not _SENSIBLE[0] <= shape <= _SENSIBLE[1], page.holes, abs(math.log(shape / _LANDSCAPE))


def contact_sheet(
    film: Path, shots: Sequence[Caption], heading: str = "", footing: str = ""
) -> bytes:
    """Return a JPEG with a thumbnail, title and note per shot, taken at its middle, in the order of the film.

    The film is decoded once, whatever the number of shots; a shot beyond its end shows the last picture. Of H.264,
    pictures that no other builds on are passed over for the one before. Texts too long for their place end in an
    ellipsis; beyond ASCII they need a typeface on this machine (see `lettering`). Raises `NotAVideo`, or `ValueError`
    without shots. The same film and texts give the same bytes.
    """
    if not shots:
        raise ValueError("a contact sheet needs at least one shot")
    ordered = sorted(shots, key=lambda shot: shot.middle)
    with open_film(film) as (container, video):
        pictures = _pick(container, video, [shot.middle for shot in ordered])
        thumbs = map(_image, filtered(pictures, _thumbnails))
        first = next(thumbs, None)
        if first is None:
            raise NotAVideo("the file holds no picture that can be decoded")
        page = lay_out(ordered, first.size, heading, footing)
        sheet = Image.new("RGB", page.size, BACKGROUND)
        for number, thumb in enumerate(chain([first], thumbs)):
            sheet.paste(thumb, page.place(number))
    pen = ImageDraw.Draw(sheet)
    for number, shot in enumerate(ordered):
        _write_caption(pen, page, number, shot)
    _write_frame(pen, page, heading, footing)
    return _jpeg(sheet, _QUALITY)


def _write_caption(pen: ImageDraw.ImageDraw, page: Page, number: int, shot: Caption) -> None:
    left, baseline = page.place(number)
    width, height = page.thumb
    baseline += height
    if page.titled:
        baseline += round(_LINE * page.title)
        _write(pen, set_line(shot.title, page.title, width), (left, baseline), BRIGHT)
    if page.noted:
        baseline += round(_LINE * page.note)
        _write(pen, set_line(shot.note, page.note, width), (left, baseline), DIM)


def _write_frame(pen: ImageDraw.ImageDraw, page: Page, heading: str, footing: str) -> None:
    left = top = MARGIN_PIXELS
    width, height = page.size
    room = width - 2 * left
    _write(pen, set_line(heading, page.heading, room), (left, top + page.heading * 3 // 4), BRIGHT)
    _write(pen, set_line(footing, page.footing, room), (left, height - MARGIN_PIXELS), DIM)


def _write(pen: ImageDraw.ImageDraw, line: Line, baseline: tuple[int, int], colour: Rgb) -> None:
    pen.text(baseline, line.text, font=line.face, fill=colour, anchor="ls")


def _pick(
    film: InputContainer, video: VideoStream, moments: Sequence[float]
) -> Iterator[VideoFrame]:
    """Yield the picture that is shown at each of the moments, which rise; nothing behind the last is decoded."""
    context = video.codec_context
    context.thread_type = "AUTO"
    context.skip_frame = "NONREF" if context.name == "h264" else "DEFAULT"
    waiting = deque(moments)
    for frame, until in _spans(film.decode(video)):
        while waiting and waiting[0] < until:
            waiting.popleft()
            yield frame
        if not waiting:
            return


def _spans(frames: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, float]]:
    """Yield each picture with the second at which the next one takes its place, counted from the first picture."""
    shown, begin = None, 0.0
    for frame in frames:
        if shown is None:
            begin = frame.time
        else:
            yield shown, frame.time - begin
        shown = frame
    if shown is not None:
        yield shown, math.inf


def _thumbnails(like: VideoFrame) -> Graph:
    fit = f"{THUMB_PIXELS}:{THUMB_PIXELS}:force_original_aspect_ratio=decrease:force_divisible_by=2"
    return filter_graph(
        buffer_step(like, Fraction(1, 25)),
        ("scale", f"{fit}:in_color_matrix={matrix_of(like)}:{EXACT}"),
        ("format", "rgb24"),
        ("buffersink", ""),
    )


def _image(frame: VideoFrame) -> Image.Image:
    plane = frame.planes[0]
    return Image.frombytes(
        "RGB", (frame.width, frame.height), bytes(plane), "raw", "RGB", plane.line_size
    )


def shrink(sheet: bytes, longer_side: int = 1000, at_most_bytes: int = 150_000) -> bytes:
    """Return a sheet as a small JPEG to embed in a page: never longer than `longer_side`, never more bytes than that.

    A lower quality is tried before a smaller picture; nothing is enlarged. The same sheet gives the same bytes. Raises
    `ValueError` for anything but a JPEG, and if not even a tiny picture is small enough.
    """
    try:
        # Opened by its class, because Image.open refuses the sheet of a very long film as a decompression bomb.
        picture: Image.Image = JpegImageFile(io.BytesIO(sheet))
        picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the sheet is no JPEG ({error})") from error
    side = max(picture.size)
    while side >= _SMALLEST:
        smaller = picture.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _SMALLER_QUALITIES:
            if len(jpeg := _jpeg(smaller, quality, optimize=True)) <= at_most_bytes:
                return jpeg
        side = side * 4 // 5
    raise ValueError(f"no picture fits into {at_most_bytes:,} bytes")


def _jpeg(picture: Image.Image, quality: int, *, optimize: bool = False) -> bytes:
    """Encode a picture; optimized it is smaller, and held in memory a second time."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=optimize)
    return file.getvalue()
