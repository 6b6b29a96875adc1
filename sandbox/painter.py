"""Painting one clip: a calm gradient per shot, titles, given pictures and frame codes."""

import colorsys
import functools
import hashlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

from prefect_kling.sandbox.clip_request import FPS, Body, Input, Shot, Size, clip_size, read_shots
from prefect_kling.sandbox.decoded_inputs import DecodedInputs, Video, decode_inputs
from prefect_kling.sandbox.encoder import tone, write_mp4
from prefect_kling.sandbox.frame_code import CELLS, cells_of, strip_height

Rgb = tuple[int, int, int]
Overlay = tuple[Image.Image, tuple[int, int]]
"""An RGBA picture and where its upper left corner lies."""

_FADE_FRAMES = FPS // 2
_MAX_CLIP_FRAMES = 15 * FPS
_WHITE = (255, 255, 255)
_GREY = (205, 208, 216)
_PANEL = (14, 15, 20, 150)
_DARK_CELL = (9, 9, 9)
_LIGHT_CELL = (230, 230, 230)
_GOLDEN_SECTION = 0.618
# Tried in this order for prompts that Pillow's own Latin typeface cannot show.
_OTHER_TYPEFACES = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "msyh.ttc")


class Interrupted(Exception):
    """The painter was told to stop before the clip was done."""


def paint_clip(
    body: Body,
    contents: list[tuple[Input, bytes]],
    path: Path,
    *,
    number: int,
    job_id: str = "",
    short_side: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Paint the clip of a valid body into the file `path`.

    `contents` holds the files the body refers to, `number` goes into the frame code, and `job_id`
    is written into the picture. Equal arguments give equal bytes. The file appears whole or not at
    all. Raises UnusableInput for an input that cannot be used, and Interrupted if `stopped` returns
    true between two frames.
    """
    inputs = decode_inputs(contents)
    size = clip_size(body, short_side, inputs.size)

    def pictures() -> Iterator[Image.Image]:
        for picture in paint_frames(body, inputs, size, number, job_id):
            if stopped():
                raise Interrupted
            yield picture

    draft = path.with_suffix(".part")
    try:
        write_mp4(draft, size, pictures(), _sound(body, inputs))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def paint_frames(
    body: Body, inputs: DecodedInputs, size: Size, number: int, job_id: str
) -> Iterator[Image.Image]:
    """Yield the finished pictures of a clip in order."""
    shots = read_shots(body)
    if inputs.base:
        # An edit keeps the length and the cuts of its input.
        shots = [Shot(body.get("prompt", ""), inputs.base.frame_count)]
    frame_count = sum(shot.frames for shot in shots)
    last = frame_count - 1

    opening = inputs.first_frame
    closing = inputs.end_frame
    if inputs.feature and not opening:
        opening = inputs.feature.last_frame()
    if opening:
        opening = ImageOps.fit(opening, size, Image.Resampling.LANCZOS)
    if closing:
        closing = ImageOps.fit(closing, size, Image.Resampling.LANCZOS)

    index = 0
    for place, shot in enumerate(shots):
        label = ""
        if len(shots) > 1:
            label = f"shot {place + 1}/{len(shots)}"
        titles = draw_titles(body, inputs, size, shot.prompt, label, job_id)
        if inputs.base:
            backgrounds = _edited_frames(inputs.base, shot.prompt, size)
        else:
            backgrounds = _gradient_frames(shots[0].prompt, place, shot.frames, size)

        for picture in backgrounds:
            for overlay, position in titles:
                picture.paste(overlay, position, overlay)
            if not inputs.base:
                _paste_counter(picture, index, frame_count)

            frame = picture
            if opening and index < _FADE_FRAMES:
                frame = Image.blend(frame, opening, _fade(index))
            if closing and last - index < _FADE_FRAMES:
                frame = Image.blend(frame, closing, _fade(last - index))
            # A given picture is shown as it is, with the frame code it may carry.
            is_given = (opening and index == 0) or (closing and index == last)
            if not is_given:
                _paste_frame_code(frame, number, index)
            yield frame
            index += 1


def background_colors(prompt: str, place: int) -> tuple[Rgb, Rgb, Rgb, Rgb]:
    """Return the colours of the four corners, row by row, for the shot at a place of a clip."""
    digest = hashlib.sha256(prompt.encode()).digest()
    hue = int.from_bytes(digest[:2]) / 65536 + place * _GOLDEN_SECTION
    turn = (digest[3] / 255 - 0.5) * 0.4
    bright = _rgb(hue, 0.74, 0.62)
    middle = _rgb(hue + turn / 2, 0.48, 0.46)
    other_middle = _rgb(hue - turn / 2, 0.42, 0.46)
    dark = _rgb(hue + turn, 0.16, 0.5)
    arrangements = (
        (bright, middle, other_middle, dark),
        (middle, bright, dark, other_middle),
        (other_middle, dark, bright, middle),
        (dark, other_middle, middle, bright),
    )
    return arrangements[(digest[2] + place) % 4]


def draw_titles(
    body: Body, inputs: DecodedInputs, size: Size, prompt: str, label: str, job_id: str
) -> list[Overlay]:
    """Draw everything that stays the same during a shot."""
    width, height = size
    unit = min(size) / 100
    margin = round(4 * unit)
    lines = wrap(prompt, typeface(prompt, 5 * unit), width * 3 // 4, 4 if width >= height else 7)
    written = [(line, 5.0, _WHITE) for line in lines]
    written.append((job_id, 2.3, _GREY))

    if inputs.base:
        # The edited video may have titles of its own, which are not in the middle.
        panel = _panel([("EDIT", 2.6, _GREY), *written], unit)
        overlays = [(panel, (margin, height * 36 // 100))]
    else:
        panel = _panel([(label.upper(), 2.6, _GREY), *written], unit)
        top = height - strip_height(size) - margin - panel.height
        facts = f"{body['model']}  ·  {body.get('mode', 'std')}  ·  {width} x {height}"
        head = _panel([("KLING SANDBOX", 2.8, _WHITE), (facts, 2.3, _GREY)], unit)
        overlays = [(panel, (margin, top)), (head, (margin, margin))]
    if body.get("watermark_info", {}).get("enabled"):
        overlays.append((_panel([("WATERMARK", 4.4, _WHITE)], unit), (margin, round(17 * unit))))

    # References hang below the counter, four in a row from the right, and elements below them.
    side = round(15 * unit)
    step = side + round(2 * unit)
    left = width - margin - side
    top = round(15 * unit)
    for number, picture in enumerate(inputs.references):
        row, column = divmod(number, 4)
        card = ImageOps.fit(picture, (side, side)).convert("RGBA")
        overlays.append((card, (left - column * step, top + row * step)))
    top += -(-len(inputs.references) // 4) * step
    elements = [f"element {element['element_id']}" for element in body.get("element_list", [])]
    if elements:
        panel = _panel([(element, 2.4, _WHITE) for element in elements], unit)
        overlays.append((panel, (width - margin - panel.width, top)))
    return overlays


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of about `width` pixels; a text that is too long ends in "…"."""
    if not text.strip():
        return []
    columns = width * len(text) / max(1.0, face.getlength(text.replace("\n", " ")))
    return textwrap.wrap(text, max(2, int(columns)), max_lines=max_lines, placeholder="…")


def typeface(text: str, pixels: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own typeface, or an installed one for other scripts if there is one."""
    size = max(8, round(pixels))
    if not all(ord(letter) < 0x250 or 0x2000 <= ord(letter) < 0x2040 for letter in text):
        for name in _OTHER_TYPEFACES:
            try:
                return _load_typeface(name, size)
            except OSError:
                continue
    return _load_typeface("", size)


@functools.lru_cache(maxsize=64)
def _load_typeface(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name:
        return ImageFont.truetype(name, size)
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RuntimeError("the sandbox needs a Pillow built with FreeType")
    return face


def _panel(lines: list[tuple[str, float, Rgb]], unit: float) -> Image.Image:
    """Draw lines of text, each with its size and colour, on a dark and half transparent panel."""
    padding = round(1.8 * unit)
    width = 0.0
    height = 0.0
    for text, points, _ in lines:
        if text:
            face = typeface(text, points * unit)
            width = max(width, face.getlength(text))
            height += face.size * 1.35

    panel = Image.new("RGBA", (round(width) + 2 * padding, round(height) + 2 * padding))
    draw = ImageDraw.Draw(panel)
    box = (0, 0, panel.width - 1, panel.height - 1)
    draw.rounded_rectangle(box, radius=padding * 0.8, fill=_PANEL)
    top = float(padding)
    for text, points, color in lines:
        if text:
            face = typeface(text, points * unit)
            draw.text((padding, top), text, font=face, fill=color)
            top += face.size * 1.35
    return panel


def _gradient_frames(prompt: str, place: int, frames: int, size: Size) -> Iterator[Image.Image]:
    """Yield a gradient between four corners with a soft light, both drifting slowly."""
    width, height = size
    spare = width // 5
    whole = (width + spare, height + spare)
    corners = Image.new("RGB", (2, 2))
    corners.putdata(background_colors(prompt, place))
    # The box leaves out the outer halves of the four pixels, which would stay flat.
    gradient = corners.resize(whole, Image.Resampling.BILINEAR, box=(0.5, 0.5, 1.5, 1.5))

    digest = hashlib.sha256(f"{prompt}/{place}".encode()).digest()
    diameter = round(min(size) * 1.1)
    light = ImageOps.invert(Image.radial_gradient("L")).resize((diameter, diameter))
    light = light.point(lambda shade: max(0, shade - 75) * 0.55)
    left = round(whole[0] * (0.15 + 0.7 * digest[0] / 255)) - diameter // 2
    top = round(whole[1] * (0.15 + 0.5 * digest[1] / 255)) - diameter // 2
    gradient.paste(_WHITE, (left, top), light)

    for index in range(frames):
        offset = spare * index // _MAX_CLIP_FRAMES
        yield gradient.crop((offset, offset, offset + width, offset + height))


def _edited_frames(video: Video, prompt: str, size: Size) -> Iterator[Image.Image]:
    """Yield the frames of a video in other colours and about the same brightness."""
    color = background_colors(prompt, 0)[0]
    grey = 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
    table = []
    for channel in color:
        shift = round((channel - grey) * 0.6)
        table += [min(255, max(0, shade + shift)) for shade in range(256)]
    for frame in video.frames(size):
        yield frame.point(table)


def _paste_counter(picture: Image.Image, index: int, frame_count: int) -> None:
    unit = min(picture.size) / 100
    margin = round(4 * unit)
    counter = _counter(index, frame_count, unit)
    picture.paste(counter, (picture.width - margin - counter.width, margin), counter)


@functools.lru_cache(maxsize=512)
def _counter(index: int, frame_count: int, unit: float) -> Image.Image:
    """Draw the number of a frame. Kept, because most clips count through the same numbers."""
    return _panel([(f"{index // FPS} s  ·  frame {index} / {frame_count}", 2.8, _WHITE)], unit)


def _paste_frame_code(picture: Image.Image, number: int, index: int) -> None:
    row = Image.new("RGB", (CELLS, 1))
    row.putdata([_LIGHT_CELL if cell else _DARK_CELL for cell in cells_of(number, index)])
    height = strip_height(picture.size)
    strip = row.resize((picture.width, height), Image.Resampling.NEAREST)
    picture.paste(strip, (0, picture.height - height))


def _fade(distance: int) -> float:
    """Return how much of a given picture is seen so many frames from it: 1 there, then less."""
    share = 1 - distance / _FADE_FRAMES
    return share * share * (3 - 2 * share)


def _sound(body: Body, inputs: DecodedInputs) -> Iterator[av.AudioFrame] | None:
    video = inputs.base or inputs.feature
    if video and video.has_sound and body["video_list"][0].get("keep_original_sound") == "yes":
        return video.sound()
    if body.get("sound") == "on":
        return tone(body.get("prompt", ""), int(body.get("duration", "5")) * FPS)
    return None


def _rgb(hue: float, lightness: float, saturation: float) -> Rgb:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)
