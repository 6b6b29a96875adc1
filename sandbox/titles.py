"""What is written over the landscape: slate, shot number, prompt, time code, references and watermark."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from prefect_kling.sandbox.canvas import Canvas, Cel, Rgb, Size, make_cel
from prefect_kling.sandbox.frame_code import CELLS, cells_of, strip_height
from prefect_kling.sandbox.recipe import FPS

_WHITE, _SOFT, _INK = (255, 255, 255), (214, 216, 224), (12, 13, 18)
_DARK_CELL, _LIGHT_CELL = 24, 214  # limited range, a little softer than black and white
# Tried in this order for prompts that the built-in Latin typeface cannot show.
_WIDE_TYPEFACES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
)


@dataclass(frozen=True)
class Wording:
    """The texts of one shot."""

    prompt: str
    slate: str
    shot: str = ""
    job_id: str = ""
    elements: tuple[str, ...] = ()
    watermark: bool = False
    edit: bool = False
    """Written over a video that has titles of its own: only a slate, where they are not."""


class Titles:
    """The titles of one shot: one fixed layer, and a time code that counts."""

    def __init__(
        self, wording: Wording, size: Size, accent: Rgb, references: Sequence[Image.Image] = ()
    ) -> None:
        self._size, self._unit = size, min(size) / 100
        self._sheet = Image.new("RGBA", size, (*_INK, 0))
        self._counts = not wording.edit
        if not wording.edit:
            self._write_head(wording)
        self._write_slate(wording, accent)
        self._pin_references(wording, references)
        if wording.watermark:
            self._write_watermark()
        self._bands = _cut_bands(self._sheet)

    def draw(self, canvas: Canvas, frame_index: int, frame_count: int) -> None:
        """Draw the titles as they are on one frame of the clip."""
        for top, band in self._bands:
            canvas.lay(band, 0, top)
        if not self._counts:
            return
        clock = _clock_cel(
            f"{frame_index // FPS // 60:02}:{frame_index // FPS % 60:02}:{frame_index % FPS:02}",
            self._px(3.4),
        )
        tally = _clock_cel(f"frame {frame_index:03} / {frame_count}", self._px(2.4))
        edge = self._size[0] - self._px(5)
        canvas.lay(clock, edge - clock.size[0], self._px(5))
        canvas.lay(tally, edge - tally.size[0], self._px(5) + clock.size[1])

    def _px(self, units: float) -> int:
        """Turn hundredths of the short side into pixels."""
        return max(1, round(units * self._unit))

    def _write(self, text: str, at: tuple[int, int], points: float, color: Rgb) -> None:
        ImageDraw.Draw(self._sheet).text(
            at, text, font=typeface(text, self._px(points)), fill=color
        )

    def _panel(self, box: tuple[int, int, int, int], strength: int) -> None:
        """Darken a rounded box so that type on it can be read over any picture."""
        shade = Image.new("RGBA", self._size, (*_INK, 0))
        ImageDraw.Draw(shade).rounded_rectangle(box, radius=self._px(1.6), fill=(*_INK, strength))
        self._sheet.alpha_composite(shade)

    def _write_head(self, wording: Wording) -> None:
        margin, top = self._px(5), self._px(6)
        face = typeface("", self._px(3))
        wide = int(
            max(
                face.getlength("KLING SANDBOX"),
                typeface("", self._px(2.4)).getlength(wording.slate),
            )
        )
        right = margin + wide + self._px(2)
        self._panel((margin - self._px(2), top - self._px(1.4), right, top + self._px(8)), 130)
        self._draw_clapper((margin - self._px(2), top - self._px(4), right, top - self._px(1.8)))
        self._write("KLING SANDBOX", (margin, top - self._px(0.4)), 3, _WHITE)
        self._write(wording.slate, (margin, top + self._px(3.8)), 2.4, _SOFT)

    def _draw_clapper(self, box: tuple[int, int, int, int]) -> None:
        """Draw the striped stick of a clapper board."""
        left, top, right, bottom = box
        tall = bottom - top
        stick = Image.new("RGBA", (right - left, tall), (*_INK, 230))
        draw = ImageDraw.Draw(stick)
        for x in range(-tall, right - left, tall * 3):
            draw.polygon(
                [(x, tall), (x + tall, 0), (x + tall * 5 // 2, 0), (x + tall * 3 // 2, tall)],
                fill=(*_SOFT, 230),
            )
        self._sheet.alpha_composite(stick, (left, top))

    def _write_slate(self, wording: Wording, accent: Rgb) -> None:
        width, height = self._size
        margin, line = self._px(5), self._px(5.6)
        face = typeface(wording.prompt, self._px(4.2))
        lines = wrap(wording.prompt, face, int(width * 0.80), 4 if width >= height else 6)
        foot = height // 2 if wording.edit else height - strip_height(self._size) - margin
        top = (
            foot
            - line * len(lines)
            - self._px(3.4) * (bool(wording.shot) + bool(wording.job_id))
            - self._px(1)
        )
        wide = max([face.getlength(text) for text in lines], default=0.0)
        wide = max(wide, typeface("", self._px(2.2)).getlength(wording.job_id), self._px(24))
        self._panel(
            (
                margin - self._px(2),
                top - self._px(1),
                margin + int(wide) + self._px(3),
                foot + self._px(1),
            ),
            240 if wording.edit else 150,
        )
        y = top
        if wording.shot:
            self._write(wording.shot.upper(), (margin, y), 2.6, accent)
            y += self._px(3.9)
        for text in lines:
            self._write(text, (margin, y), 4.2, _WHITE)
            y += line
        self._write(wording.job_id, (margin, y + self._px(0.4)), 2.2, _SOFT)

    def _pin_references(self, wording: Wording, references: Sequence[Image.Image]) -> None:
        """Pin the reference pictures and element names below the time code, right aligned."""
        side, edge, y, frame = (
            self._px(15),
            self._size[0] - self._px(5),
            self._px(16),
            self._px(0.5),
        )
        for i, picture in enumerate(references):
            x = edge - (side + self._px(2)) * (i % 4) - side - 2 * frame
            card = ImageOps.expand(
                ImageOps.fit(picture.convert("RGB"), (side, side)), frame, _WHITE
            )
            self._sheet.paste(card, (x, y + (side + self._px(2)) * (i // 4)))
        y += (side + self._px(2.5)) * -(-len(references) // 4)
        for i, name in enumerate(wording.elements):
            label = f"element {name}"
            wide = int(typeface(label, self._px(2.4)).getlength(label))
            self._write(label, (edge - wide, y + self._px(3.4) * i), 2.4, _WHITE)

    def _write_watermark(self) -> None:
        face = typeface("WATERMARK", self._px(4.6))
        mark = Image.new("RGBA", self._size, (*_INK, 0))
        ImageDraw.Draw(mark).text(
            (self._px(5), self._px(18)), "WATERMARK", font=face, fill=(*_WHITE, 200)
        )
        self._sheet.alpha_composite(mark)


def _cut_bands(sheet: Image.Image) -> list[tuple[int, Cel]]:
    """Cut a layer into its written upper and lower parts, so that the empty middle costs nothing per frame."""
    width, height = sheet.size
    bands = []
    for start, end in ((0, height // 2), (height // 2, height)):
        written = sheet.getchannel("A").crop((0, start, width, end)).getbbox()
        if written:
            top, bottom = (start + written[1]) & ~1, min(height, (start + written[3] + 1) & ~1)
            bands.append((top, make_cel(sheet.crop((0, top, width, bottom)))))
    return bands


def make_code_cel(job_number: int, frame_index: int, size: Size) -> Cel:
    """Draw the frame code strip for a picture of this size; it belongs at the very bottom."""
    shades = bytes(
        _LIGHT_CELL if cell else _DARK_CELL for cell in cells_of(job_number, frame_index)
    )
    row = Image.frombytes("L", (CELLS, 1), shades)
    strip = row.resize((size[0], strip_height(size)), Image.Resampling.NEAREST)
    grey = Image.new("L", (size[0] // 2, strip_height(size) // 2), 128)
    return Cel((strip, grey, grey))


@functools.lru_cache(maxsize=64)
def _face(name: str, pixels: int) -> ImageFont.FreeTypeFont:
    if name:
        return ImageFont.truetype(name, pixels)
    built_in = ImageFont.load_default(pixels)
    if not isinstance(built_in, ImageFont.FreeTypeFont):
        raise RuntimeError("the sandbox needs a Pillow built with FreeType")
    return built_in


def typeface(text: str, pixels: int) -> ImageFont.FreeTypeFont:
    """Return the built-in typeface, or an installed wider one if the text is not Latin and there is one."""
    if all(ord(letter) < 0x250 or 0x2000 <= ord(letter) < 0x2040 for letter in text):
        return _face("", max(8, pixels))
    for name in _WIDE_TYPEFACES:
        try:
            return _face(name, max(8, pixels))
        except OSError:
            continue
    return _face("", max(8, pixels))


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Break a text into at most `most` lines of at most `width` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    words = _breakable(text, face, width)
    while words and len(lines) < most:
        line = words.pop(0)
        while words and face.getlength(f"{line} {words[0]}") <= width:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    if words:
        last = lines[-1]
        while last and face.getlength(f"{last}…") > width:
            last = last[:-1]
        lines[-1] = f"{last}…"
    return lines


def _breakable(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Split a text into words, and words wider than a line (or without spaces at all) into pieces that fit."""
    pieces: list[str] = []
    for word in text.split():
        piece = ""
        for letter in word:
            if piece and face.getlength(piece + letter) > width:
                pieces.append(piece)
                piece = ""
            piece += letter
        pieces.append(piece)
    return pieces


@functools.lru_cache(maxsize=1024)
def _clock_cel(text: str, pixels: int) -> Cel:
    """Draw one reading of a counter, white with a thin dark outline; counters recur in every clip."""
    face = typeface(text, pixels)
    outline = max(1, pixels // 12)
    box = face.getbbox(text, stroke_width=outline)
    side = (int(box[2]) // 2 * 2 + 4, pixels // 2 * 2 + 8)
    sheet = Image.new("RGBA", side, (*_INK, 0))
    ImageDraw.Draw(sheet).text(
        (1, 0), text, font=face, fill=_WHITE, stroke_width=outline, stroke_fill=(*_INK, 170)
    )
    return make_cel(sheet)
