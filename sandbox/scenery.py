"""The landscape behind the titles: a drifting sky, a sun and rolling hills, all decided by the prompt."""

import hashlib
import math
from dataclasses import dataclass

from PIL import Image, ImageDraw

from prefect_kling.sandbox.canvas import Canvas, Cel, Rgb, Size, flat_cel, make_cel


@dataclass(frozen=True)
class Palette:
    """Colours of one mood: the sky from top to horizon, the sun, and the hills from far to near."""

    sky: tuple[Rgb, Rgb, Rgb]
    sun: Rgb
    hills: tuple[Rgb, Rgb, Rgb]


PALETTES = (
    Palette(
        ((36, 32, 74), (138, 74, 118), (244, 160, 110)),
        (255, 224, 164),
        ((112, 62, 104), (70, 42, 82), (34, 24, 52)),
    ),
    Palette(
        ((14, 52, 86), (46, 124, 150), (184, 220, 208)),
        (255, 246, 214),
        ((58, 128, 140), (28, 86, 106), (12, 46, 66)),
    ),
    Palette(
        ((28, 60, 56), (92, 138, 104), (226, 220, 164)),
        (255, 240, 190),
        ((96, 136, 98), (50, 94, 74), (20, 48, 44)),
    ),
    Palette(
        ((70, 26, 42), (176, 68, 66), (250, 178, 112)),
        (255, 230, 170),
        ((146, 58, 66), (94, 36, 54), (44, 18, 34)),
    ),
    Palette(
        ((22, 26, 58), (58, 70, 128), (158, 160, 206)),
        (238, 236, 255),
        ((72, 80, 140), (42, 48, 98), (18, 22, 52)),
    ),
    Palette(
        ((64, 50, 40), (172, 128, 84), (246, 218, 166)),
        (255, 246, 220),
        ((156, 112, 76), (104, 72, 52), (48, 34, 28)),
    ),
    Palette(
        ((20, 44, 70), (104, 104, 150), (240, 176, 178)),
        (255, 226, 210),
        ((104, 92, 138), (58, 60, 104), (22, 32, 60)),
    ),
    Palette(
        ((10, 36, 44), (24, 92, 96), (112, 190, 166)),
        (226, 255, 232),
        ((36, 104, 104), (18, 70, 76), (8, 34, 42)),
    ),
)


def pick_palette(prompt: str, step: int = 0) -> Palette:
    """Choose the colours of a clip's prompt; its shots are the steps, and neighbours get different ones."""
    return PALETTES[(_numbers(prompt)[0] + step * 3) % len(PALETTES)]


def tint_of(prompt: str, size: Size) -> Cel:
    """Make the one-colour layer that tints an edited video in the prompt's mood."""
    return make_cel(Image.new("RGB", size, pick_palette(prompt).sky[1]))


class Scenery:
    """One landscape in motion. Drawing the same second twice draws the same picture."""

    def __init__(self, prompt: str, size: Size, palette: Palette) -> None:
        dice = _numbers(prompt)
        width, height = size
        self._size, self._dice = size, dice
        self._sky = make_cel(_sky(palette, (width, _even(height * 1.15))))
        radius = _even(min(size) * (0.22 + 0.10 * dice[1] / 255))
        self._sun = flat_cel(palette.sun, _sun(radius))
        self._hills = [
            flat_cel(
                color,
                _hill((_even(width * 1.5), _even(height * tall)), dice[3 + 4 * i : 7 + 4 * i]),
            )
            for i, (color, tall) in enumerate(zip(palette.hills, (0.52, 0.42, 0.30), strict=True))
        ]

    def draw(self, canvas: Canvas, second: float) -> None:
        """Draw the landscape as it looks `second` seconds into its shot."""
        width, height = self._size
        drift = height * 0.15 * (0.5 - 0.5 * math.cos(second * 0.35 + self._dice[2] / 40))
        canvas.lay(self._sky, 0, -int(drift))
        turn = second / 15
        x = width * (0.18 + 0.5 * self._dice[0] / 255 + 0.25 * turn)
        y = height * (0.44 - 0.22 * math.sin(math.pi * (0.15 + 0.7 * turn)))
        canvas.lay(self._sun, int(x) - self._sun.size[0] // 2, int(y) - self._sun.size[1] // 2)
        for hill, speed in zip(self._hills, (0.006, 0.014, 0.030), strict=True):
            canvas.lay(hill, -int(width * speed * second), height - hill.size[1])


def _numbers(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _even(value: float) -> int:
    return int(value) // 2 * 2


def _sky(palette: Palette, size: Size) -> Image.Image:
    """Draw a vertical gradient through three colours."""
    column = Image.new("RGB", (1, 3))
    column.putdata(palette.sky)
    height = size[1]
    # Only the middle of a stretched column is a gradient; its outer sixths are flat.
    tall = column.resize((1, height * 3 // 2), Image.Resampling.BICUBIC)
    return tall.crop((0, height // 4, 1, height // 4 + height)).resize(size)


def _sun(radius: int) -> Image.Image:
    """Draw a disc with a soft halo of twice its radius, as a mask."""
    side = radius * 4
    halo = (
        Image.radial_gradient("L").resize((side, side)).point(lambda far: max(0, 120 - far) * 0.55)
    )
    disc = Image.new("L", (radius * 2, radius * 2))
    ImageDraw.Draw(disc).ellipse((0, 0, radius * 2 - 1, radius * 2 - 1), fill=235)
    disc = disc.resize((radius, radius), Image.Resampling.BOX)
    halo.paste(disc, ((side - radius) // 2,) * 2, disc)
    return halo


def _hill(size: Size, dice: bytes) -> Image.Image:
    """Draw a skyline of three waves, filled to the ground, as a mask."""
    width, height = size
    waves = [
        ((1.3, 2.9, 5.3)[i] + dice[i] / 200, dice[3] / 40 + i, (0.5, 0.22, 0.08)[i])
        for i in range(3)
    ]

    def top(x: int) -> float:
        turn = math.tau * x / width
        return (
            2
            * height
            * (
                0.42
                + 0.5 * sum(share * math.sin(pace * turn + start) for pace, start, share in waves)
            )
        )

    step = max(2, width // 400)
    line = [(x, max(0.0, top(x))) for x in range(0, width + step, step)]
    mask = Image.new("L", (width, height * 2))
    ImageDraw.Draw(mask).polygon([*line, (width + step, height * 2), (0, height * 2)], fill=255)
    return mask.resize(size, Image.Resampling.BOX)
