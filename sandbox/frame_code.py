"""The bar code at the bottom of every painted frame: which job, which frame.

36 cells in one row: white and black as a start, 16 bits of job number, 12 bits of frame index, 4
bits of checksum, black and white as an end. The most significant bit comes first, and white is 1.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

CELLS = 36
_DARK = 9
_LIGHT = 230
# Shades between these two belong to no cell.
_DARKEST_GREY = 96
_LIGHTEST_GREY = 160


def strip_height(size: tuple[int, int]) -> int:
    """Return how many rows at the bottom of a picture the code covers: a 20th of the short side."""
    return min(size) // 40 * 2


def cells_of(job_number: int, frame_index: int) -> list[int]:
    """Return the 36 cells, 1 for white, for a job (modulo 65536) and a frame (modulo 4096)."""
    value = (job_number & 0xFFFF) << 12 | frame_index & 0xFFF
    return [int(bit) for bit in f"10{value:028b}{_checksum(value):04b}01"]


def shades_of(job_number: int, frame_index: int) -> bytes:
    """Return the shade of grey of each of the 36 cells."""
    return bytes(_LIGHT if cell else _DARK for cell in cells_of(job_number, frame_index))


def read_frame_code(image: "Image.Image") -> tuple[int, int] | None:
    """Read (job number & 0xFFFF, frame index & 0xFFF) from a picture of a painted clip.

    The picture may have been scaled. Returns None for a picture without a code, or with a damaged
    one. With `stamp_job_id=False` the first number identifies the clip's file instead of the job.
    """
    width, height = image.size
    strip = image.crop((0, height - strip_height(image.size), width, height)).convert("L")
    # The middle third of each cell is not blurred by a border.
    samples = strip.resize((CELLS * 3, 3)).crop((0, 1, CELLS * 3, 2)).tobytes()[1::3]
    if any(_DARKEST_GREY < shade < _LIGHTEST_GREY for shade in samples):
        return None

    cells = [int(shade >= _LIGHTEST_GREY) for shade in samples]
    value = int("".join(map(str, cells[2:30])), 2)
    job_number = value >> 12
    frame_index = value & 0xFFF
    # The start, the end and the checksum must be right too.
    if cells != cells_of(job_number, frame_index):
        return None
    return job_number, frame_index


def _checksum(value: int) -> int:
    """Return the CRC-4 (x^4 + x + 1) of 28 bits; never 0 for an all-black strip."""
    remainder = 0xA
    for bit in range(27, -1, -1):
        remainder = remainder << 1 | value >> bit & 1
        if remainder & 0x10:
            remainder ^= 0x13
    return remainder
