"""Painting one clip: a gradient per shot, titles, given pictures and frame codes."""

import contextlib
import hashlib
import math
import textwrap
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import av
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFont, ImageOps

from prefect_kling.sandbox.clip_request import FPS, Body, Input, Shot, Size, clip_size, read_shots
from prefect_kling.sandbox.decoded_inputs import DecodedInputs, Video, decode_inputs
from prefect_kling.sandbox.encoder import tone, write_mp4
from prefect_kling.sandbox.frame_code import CELLS, shades_of, strip_height

Typeface = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FADE_FRAMES = FPS // 2
_MAX_CLIP_FRAMES = 15 * FPS
_PANEL = (14, 15, 20, 150)


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
    unit = min(size) / 100

    given = {}
    opening = inputs.first_frame
    if inputs.feature and not opening:
        opening = inputs.feature.last_frame()
    if opening:
        given[0] = ImageOps.fit(opening, size)
    if inputs.end_frame:
        given[frame_count - 1] = ImageOps.fit(inputs.end_frame, size)

    index = 0
    for place, shot in enumerate(shots):
        label = ""
        if len(shots) > 1:
            label = f"SHOT {place + 1}/{len(shots)}"
        titles = draw_titles(body, inputs, size, shot.prompt, label, job_id)
        if inputs.base:
            backgrounds = _edited_frames(inputs.base, shot.prompt, size)
        else:
            backgrounds = _gradient_frames(shots[0].prompt, place, shot.frames, size)

        for picture in backgrounds:
            picture.paste(titles, mask=titles)
            if not inputs.base:
                counter = _counter(index, frame_count, 2.8 * unit)
                _place(picture, counter, (size[0] - 4.5 * unit, 4.5 * unit), "ra")
            for moment, other in given.items():
                if abs(index - moment) < _FADE_FRAMES:
                    picture = Image.blend(picture, other, _fade(abs(index - moment)))
            # A given picture is shown as it is, with the frame code it may carry.
            if index not in given:
                _draw_frame_code(picture, number, index)
            yield picture
            index += 1


def background_colors(prompt: str, place: int) -> list[tuple[int, ...]]:
    """Return a light, a middle and a dark colour for the shot at a place of a clip."""
    # Six shots, the most a clip has, go once around the circle of hues.
    hue = hashlib.sha256(prompt.encode()).digest()[0] * 360 // 256 + place * 60
    shades = ((hue, 74), (hue + 15, 45), (hue + 30, 16))
    return [ImageColor.getrgb(f"hsl({angle % 360}, 50%, {shade}%)") for angle, shade in shades]


def draw_titles(
    body: Body, inputs: DecodedInputs, size: Size, prompt: str, label: str, job_id: str
) -> Image.Image:
    """Draw everything that stays the same during a shot on a transparent picture."""
    titles = Image.new("RGBA", size)
    width, height = size
    unit = min(size) / 100
    left = 4.5 * unit

    bottom = height - 9.5 * unit
    if inputs.base:
        # An edited video may have titles of its own, which are not in the middle.
        bottom = height * 0.715
    facts = f"{body['model']}  ·  {body.get('mode', 'std')}  ·  {job_id}"
    _place(titles, _panel(facts, 2.3 * unit), (left, bottom), "ld")
    lines = wrap(prompt, typeface(prompt, 5 * unit), width * 3 // 4, 5)
    if lines:
        _place(titles, _panel("\n".join(lines), 5 * unit), (left, bottom - 6.5 * unit), "ld")

    if not inputs.base:
        panel = _panel(f"KLING SANDBOX\n{label}".strip(), 2.8 * unit)
        _place(titles, panel, (left, left), "la")
    if body.get("watermark_info", {}).get("enabled"):
        _place(titles, _panel("WATERMARK", 4.4 * unit), (left, 17.5 * unit), "la")

    # References, seven at most, hang below the counter, from the right.
    side = round(12 * unit)
    right = width - round(4 * unit)
    for picture in inputs.references:
        titles.paste(ImageOps.fit(picture, (side, side)), (right - side, round(15 * unit)))
        right -= round(13 * unit)
    return titles


def wrap(text: str, face: Typeface, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of about `width` pixels; a text that is too long ends in "…"."""
    columns = width * len(text) / max(1.0, face.getlength(text.replace("\n", " ")))
    return textwrap.wrap(text, max(2, int(columns)), max_lines=max_lines, placeholder="…")


def typeface(text: str, pixels: float) -> Typeface:
    """Return Pillow's own typeface, or an installed one for Chinese if there is one."""
    size = max(8, round(pixels))
    if max(text, default="") >= "\u2e80":
        with contextlib.suppress(OSError):
            return ImageFont.truetype("NotoSansCJK-Regular.ttc", size)
    return _own_typeface(size)


@cache
def _own_typeface(size: int) -> Typeface:
    # Pillow unpacks it each time.
    return ImageFont.load_default(size)


@lru_cache(maxsize=_MAX_CLIP_FRAMES)
def _counter(index: int, frame_count: int, pixels: float) -> Image.Image:
    """Return the counter of a frame, which all clips of one length and size share."""
    return _panel(f"{index // FPS} s  ·  frame {index} / {frame_count}", pixels)


def _panel(text: str, pixels: float) -> Image.Image:
    """Return a text of this size on a dark, half transparent panel."""
    face = typeface(text, pixels)
    sizes = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = sizes.textbbox((0, 0), text, font=face)
    margin = pixels * 0.6
    size = (round(right - left + 2 * margin), round(bottom - top + 2 * margin))
    panel = Image.new("RGBA", size, _PANEL)
    corner = (margin - left, margin - top)
    ImageDraw.Draw(panel).text(corner, text, font=face, fill="white")
    return panel


def _place(
    picture: Image.Image, panel: Image.Image, position: tuple[float, float], anchor: str
) -> None:
    """Put a panel on a picture, so that its corner lies at the position.

    `anchor` names the corner as Pillow does: `l` or `r` for left and right, `a` or `d` for the top
    and the bottom.
    """
    x, y = position
    if "r" in anchor:
        x -= panel.width
    if "d" in anchor:
        y -= panel.height
    mask: Image.Image | None = panel
    if picture.mode == "RGBA":
        # What is transparent takes the panel as it is.
        mask = None
    picture.paste(panel, (round(x), round(y)), mask)


def _draw_frame_code(picture: Image.Image, job_number: int, frame_index: int) -> None:
    """Draw the code of a job and a frame into the bottom of a picture."""
    code = Image.frombytes("L", (CELLS, 1), shades_of(job_number, frame_index))
    width, height = picture.size
    rows = strip_height(picture.size)
    code = code.resize((width, rows), Image.Resampling.NEAREST)
    picture.paste(code, (0, height - rows))


def _gradient_frames(prompt: str, place: int, frames: int, size: Size) -> Iterator[Image.Image]:
    """Yield a light that fades into the dark, drifting slowly."""
    width, height = size
    spare = width // 5
    light, middle, dark = background_colors(prompt, place)
    gradient = ImageOps.colorize(Image.radial_gradient("L"), light, dark, middle)
    # The light, in the middle of 256 pixels, comes to lie elsewhere for each shot.
    across, down = hashlib.sha256(f"{prompt}/{place}".encode()).digest()[:2]
    left = across // 4
    top = down // 4
    box = (left, top, left + 192, top + 192)
    gradient = gradient.resize((width + spare, height + spare), box=box)
    for index in range(frames):
        offset = spare * index // _MAX_CLIP_FRAMES
        yield gradient.crop((offset, offset, offset + width, offset + height))


def _edited_frames(video: Video, prompt: str, size: Size) -> Iterator[Image.Image]:
    """Yield the frames of a video in other colours of the same brightness."""
    angle = hashlib.sha256(prompt.encode()).digest()[0] / 256 * math.tau
    tint = (128, round(128 + 30 * math.cos(angle)), round(128 + 30 * math.sin(angle)))
    colors = Image.new("YCbCr", size, tint).convert("RGB")
    for frame in video.frames(size):
        yield ImageChops.add(frame, colors, offset=-128)


def _fade(distance: int) -> float:
    """Return how much of a given picture is seen so many frames from it: 1 there, then less."""
    share = 1 - distance / _FADE_FRAMES
    return share * share * (3 - 2 * share)


def _sound(body: Body, inputs: DecodedInputs) -> Iterator[av.AudioFrame] | None:
    seconds = int(body.get("duration", "5"))
    video = inputs.base or inputs.feature
    if video and video.has_sound and body["video_list"][0].get("keep_original_sound") == "yes":
        if inputs.base:
            return video.sound(video.seconds)
        return video.sound(seconds)
    if body.get("sound") == "on":
        return tone(body.get("prompt", ""), seconds)
    return None
