"""Painting one clip: a gradient per shot, titles, given pictures and frame codes."""

import contextlib
import functools
import hashlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import av
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from prefect_kling.sandbox.clip_request import FPS, Body, Input, Shot, Size, clip_size, read_shots
from prefect_kling.sandbox.decoded_inputs import DecodedInputs, Video, decode_inputs
from prefect_kling.sandbox.encoder import tone, write_mp4
from prefect_kling.sandbox.frame_code import draw_frame_code

Rgb = tuple[int, ...]
Overlay = tuple[Image.Image, tuple[int, int]]
"""An RGBA picture and where its upper left corner lies."""

_FADE_FRAMES = FPS // 2
_MAX_CLIP_FRAMES = 15 * FPS
_WHITE = (255, 255, 255)
_PANEL = (14, 15, 20, 150)
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

    unit = min(size) / 100
    margin = round(4 * unit)
    given = {}
    opening = inputs.opening
    if opening:
        given[0] = ImageOps.fit(opening, size, Image.Resampling.LANCZOS)
    if inputs.end_frame:
        given[frame_count - 1] = ImageOps.fit(inputs.end_frame, size, Image.Resampling.LANCZOS)

    index = 0
    for place, shot in enumerate(shots):
        label = f"shot {place + 1}/{len(shots)}" if len(shots) > 1 else ""
        titles = draw_titles(body, inputs, size, shot.prompt, label, job_id)
        if inputs.base:
            backgrounds = _edited_frames(inputs.base, shot.prompt, size)
        else:
            backgrounds = _gradient_frames(shots[0].prompt, place, shot.frames, size)

        for picture in backgrounds:
            for overlay, position in titles:
                picture.paste(overlay, position, overlay)
            if not inputs.base:
                counter = _panel(f"{index // FPS} s  ·  frame {index} / {frame_count}", 2.8 * unit)
                picture.paste(counter, (size[0] - margin - counter.width, margin), counter)
            frame = picture
            for moment, other in given.items():
                if abs(index - moment) < _FADE_FRAMES:
                    frame = Image.blend(frame, other, _fade(abs(index - moment)))
            # A given picture is shown as it is, with the frame code it may carry.
            if index not in given:
                draw_frame_code(frame, number, index)
            yield frame
            index += 1


def background_colors(prompt: str, place: int) -> list[Rgb]:
    """Return the colours of the four corners, row by row, for the shot at a place of a clip."""
    digest = hashlib.sha256(prompt.encode()).digest()
    # Steps of the golden section keep the hues of a clip's shots well apart.
    hue = digest[0] * 360 / 256 + place * 222.5
    turn = (digest[1] - 128) / 4
    shades = ((hue, 74), (hue + turn / 2, 48), (hue - turn / 2, 42), (hue + turn, 16))
    colors: list[Rgb] = [
        ImageColor.getrgb(f"hsl({angle % 360:.1f}, 50%, {lightness}%)")
        for angle, lightness in shades
    ]
    # Bright and dark lie in opposite corners, in one of two ways.
    return colors if (digest[2] + place) % 2 else colors[::-1]


def draw_titles(
    body: Body, inputs: DecodedInputs, size: Size, prompt: str, label: str, job_id: str
) -> list[Overlay]:
    """Draw everything that stays the same during a shot."""
    width, height = size
    unit = min(size) / 100
    margin = round(4 * unit)

    # An edited video may have titles of its own, which are not in the middle.
    bottom = height * 7 // 10 if inputs.base else height * 19 // 20 - margin
    facts = _panel(f"{body['model']}  ·  {body.get('mode', 'std')}  ·  {job_id}", 2.3 * unit)
    max_lines = 4 if width >= height else 7
    lines = wrap(prompt, typeface(prompt, 5 * unit), width * 3 // 4, max_lines)
    slate = _panel("\n".join(lines), 5 * unit)
    bottom -= facts.height
    overlays = [(facts, (margin, bottom)), (slate, (margin, bottom - slate.height))]

    if not inputs.base:
        elements = [f"element {element['element_id']}" for element in body.get("element_list", [])]
        heads = ["KLING SANDBOX", label.upper(), *elements]
        head = _panel("\n".join(filter(None, heads)), 2.8 * unit)
        overlays.append((head, (margin, margin)))
    if body.get("watermark_info", {}).get("enabled"):
        overlays.append((_panel("WATERMARK", 4.4 * unit), (margin, round(17 * unit))))

    # References hang below the counter, four in a row from the right.
    side = round(15 * unit)
    step = side + round(2 * unit)
    for number, picture in enumerate(inputs.references):
        row, column = divmod(number, 4)
        card = ImageOps.fit(picture, (side, side)).convert("RGBA")
        overlays.append((card, (width - margin - side - column * step, side + row * step)))
    return overlays


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of about `width` pixels; a text that is too long ends in "…"."""
    columns = width * len(text) / max(1.0, face.getlength(text.replace("\n", " ")))
    return textwrap.wrap(text, max(2, int(columns)), max_lines=max_lines, placeholder="…")


@functools.lru_cache(maxsize=64)
def typeface(text: str, pixels: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own typeface, or an installed one for other scripts if there is one."""
    size = max(8, round(pixels))
    if any(ord(letter) >= 0x250 and not 0x2000 <= ord(letter) < 0x2040 for letter in text):
        for name in _OTHER_TYPEFACES:
            with contextlib.suppress(OSError):
                return ImageFont.truetype(name, size)
    face = ImageFont.load_default(size)
    if not isinstance(face, ImageFont.FreeTypeFont):
        raise RuntimeError("the sandbox needs a Pillow built with FreeType")
    return face


@functools.lru_cache(maxsize=512)
def _panel(text: str, points: float) -> Image.Image:
    """Draw white lines on a dark, half transparent panel. Most clips count through the same."""
    face = typeface(text, points)
    padding = round(points * 0.6)
    _, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
        (padding, padding), text, font=face
    )
    panel = Image.new("RGBA", (round(right) + padding, round(bottom) + padding), _PANEL)
    ImageDraw.Draw(panel).multiline_text((padding, padding), text, font=face, fill=_WHITE)
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

    light = ImageOps.invert(Image.radial_gradient("L")).resize((height, height))
    light = light.point(lambda shade: max(0, shade - 75) * 0.55)
    across, down = hashlib.sha256(f"{prompt}/{place}".encode()).digest()[:2]
    gradient.paste(_WHITE, (across * width // 256 - height // 4, down * height // 512), light)

    for index in range(frames):
        offset = spare * index // _MAX_CLIP_FRAMES
        yield gradient.crop((offset, offset, offset + width, offset + height))


def _edited_frames(video: Video, prompt: str, size: Size) -> Iterator[Image.Image]:
    """Yield the frames of a video in other colours and about the same brightness."""
    color = background_colors(prompt, 0)[0]
    grey = sum(color) / 3
    table = []
    for channel in color:
        shift = round((channel - grey) * 0.6)
        table += [min(255, max(0, shade + shift)) for shade in range(256)]
    for frame in video.frames(size):
        yield frame.point(table)


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
