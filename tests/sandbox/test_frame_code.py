"""The machine-readable bar code."""

import pytest
from PIL import Image, ImageDraw

from prefect_kling.sandbox import read_frame_code
from prefect_kling.sandbox.frame_code import cells_of, strip_height
from prefect_kling.sandbox.painter import background_colors


def coded(job_number: int, frame_index: int, size: tuple[int, int] = (320, 180)) -> Image.Image:
    """Draw a code without the sandbox's own drawing."""
    picture, tall = Image.new("RGB", size, (90, 120, 150)), strip_height(size)
    draw = ImageDraw.Draw(picture)
    for place, cell in enumerate(cells_of(job_number, frame_index)):
        left, right = size[0] * place / 36, size[0] * (place + 1) / 36
        draw.rectangle(
            (left, size[1] - tall, right, size[1]), fill=(230, 230, 230) if cell else (20, 20, 20)
        )
    return picture


@pytest.mark.parametrize("numbers", [(0, 0), (1, 71), (0xFFFF, 0xFFF), (0xA5A5, 0x5A5)])
def test_round_trip(numbers: tuple[int, int]) -> None:
    """What was written is read."""
    assert read_frame_code(coded(*numbers)) == numbers


def test_wraps() -> None:
    """Numbers beyond the code's width are read modulo 65536 and 4096."""
    assert read_frame_code(coded(0x1_0007, 0x1003)) == (7, 3)


@pytest.mark.parametrize("size", [(160, 90), (640, 360), (1920, 1080)])
def test_any_scale(size: tuple[int, int]) -> None:
    """A scaled picture still tells its code."""
    assert read_frame_code(coded(1234, 56, (1280, 720)).resize(size)) == (1234, 56)


@pytest.mark.parametrize(
    "color",
    ["black", "white", "grey", *background_colors("a fox", 0), *background_colors("rain", 0)],
)
def test_plain_picture(color: str | tuple[int, int, int]) -> None:
    """A picture without a code has none."""
    assert read_frame_code(Image.new("RGB", (320, 180), color)) is None


def test_damage_is_noticed() -> None:
    """A code with one wrong cell is not read as another code."""
    for place in range(36):
        picture = coded(4321, 99)
        left = 320 * place // 36
        box = (left, 160, 320 * (place + 1) // 36 + 1, 180)
        shade = 230 - picture.getpixel((left + 4, 178))[0] + 20
        picture.paste((shade, shade, shade), box)
        assert read_frame_code(picture) is None
