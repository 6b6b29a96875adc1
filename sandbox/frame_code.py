"""The bar code at the foot of every painted frame: which job, which frame.

36 cells in one row: white and black as a start, 16 bits of job number, 12 bits of frame index, 4 bits of check sum,
black and white as an end; most significant bit first, white is 1.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

CELLS = 36
_START, _END = (1, 0), (0, 1)
_DARK, _LIGHT = 96, 160  # what lies between was never a cell of ours
_BOX_FILTER = (
    4  # PIL.Image.Resampling.BOX, spelled out so that reading a code does not need the import
)


def strip_height(size: tuple[int, int]) -> int:
    """Return how many rows at the bottom of a picture the code covers: a twentieth of the short side, even."""
    return min(size) // 40 * 2


def cells_of(job_number: int, frame_index: int) -> tuple[int, ...]:
    """Return the 36 cells, 1 for white, that name a job (modulo 65536) and a frame (modulo 4096)."""
    value = (job_number & 0xFFFF) << 12 | frame_index & 0xFFF
    value = value << 4 | _check_sum(value)
    return (*_START, *(value >> bit & 1 for bit in range(31, -1, -1)), *_END)


def read_frame_code(image: "Image.Image") -> tuple[int, int] | None:
    """Read (job number & 0xFFFF, frame index & 0xFFF) from a picture of a painted clip, at any scale.

    Returns None for a picture without a code, or with one that is damaged. Without burnt-in job ids the first
    number names the clip's digest instead of the job.
    """
    width, height = image.size
    box = (0, height - strip_height(image.size), width, height)
    # Three samples per cell and three rows: the middle one of each keeps clear of blurred borders.
    row = image.convert("L").resize((CELLS * 3, 3), resample=_BOX_FILTER, box=box)
    shades = row.tobytes()[CELLS * 3 : CELLS * 6][1::3]
    if any(_DARK < shade < _LIGHT for shade in shades):
        return None
    cells = [int(shade >= _LIGHT) for shade in shades]
    value = int("".join(map(str, cells[2:-2])), 2)
    if (*cells[:2], *cells[-2:]) != _START + _END or value & 0xF != _check_sum(value >> 4):
        return None
    return value >> 16, value >> 4 & 0xFFF


def _check_sum(value: int) -> int:
    """Return the CRC-4 (x^4 + x + 1) of 28 bits; never 0 for an all-black strip."""
    rest = 0xA
    for bit in range(27, -1, -1):
        rest = rest << 1 | value >> bit & 1
        rest ^= 0x13 if rest & 0x10 else 0
    return rest
