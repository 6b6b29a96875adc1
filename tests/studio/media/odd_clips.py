"""Clips that programs show wrongly which ignore what stands beside the pictures."""

import struct
from fractions import Fraction

from tests.studio.media.clips import Recipe, make_clip

ONE = 1 << 16
UPRIGHT = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)


def turned(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """Return a clip whose track header carries a matrix; 1 stands for a whole."""
    at = data.index(UPRIGHT, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    return data[:at] + matrix + data[at + len(matrix) :]


def odd_clips(recipe: Recipe) -> dict[str, bytes]:
    """Return a clip of each kind, by a word of what is said of it."""
    plain = make_clip(recipe)

    def coloured(**colour: object) -> bytes:
        return make_clip(Recipe(**(vars(recipe) | {"colour": colour})))

    bt2020 = {"color_primaries": 9, "colorspace": 9, "color_range": 1}
    return {
        "on its side": turned(plain, 0, 1, -1, 0),
        "upside down": turned(plain, -1, 0, 0, -1),
        "mirrored": turned(plain, -1, 0, 0, 1),
        "pixels of the shape 1:2": coloured(sample_aspect_ratio=Fraction(1, 2)),
        "full range": coloured(color_range=2),
        "HDR (PQ)": coloured(color_trc=16, **bt2020),
        "HDR (HLG)": coloured(color_trc=18, **bt2020),
    }
