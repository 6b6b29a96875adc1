"""Clips are joined as players show them: upright, in the right shape, HDR and full range as SDR."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from prefect_kling.studio.media.frames import last_frame
from prefect_kling.studio.media.join import Chapter, Part, join
from prefect_kling.studio.media.probe import read_facts
from tests.studio.media.clips import Recipe, write_clip

ONE = 1 << 16
UPRIGHT = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
TURNS = {
    "90": (0, ONE, -ONE, 0),
    "180": (-ONE, 0, 0, -ONE),
    "270": (0, -ONE, ONE, 0),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
}


def _turned(folder: Path, turn: str) -> Path:
    """Write a clip whose track header carries a matrix."""
    path = write_clip(folder, "turned.mp4", Recipe(clip=1))
    a, b, c, d = TURNS[turn]
    data = path.read_bytes()
    at = data.index(UPRIGHT, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + matrix + data[at + len(matrix) :])
    return path


def _grey(path: Path, seconds: float) -> tuple[int, int, bytes]:
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            if frame.time >= seconds:
                grey = frame.to_image().convert("L")
                return (*grey.size, grey.tobytes())
    raise AssertionError(f"nothing is shown at {seconds} s")


def _expected(turn: str, x: int, y: int) -> tuple[int, int]:
    """Return the place in the stored 160x90 picture that is shown at x, y."""
    a, b, c, d = (value // ONE for value in TURNS[turn])
    left = min(0, a * 159) + min(0, c * 89)
    top = min(0, b * 159) + min(0, d * 89)
    x, y = x + left, y + top
    return a * x + b * y, c * x + d * y


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_clip_stands_as_players_show_it(tmp_path: Path, turn: str) -> None:
    """The picture handed over and the facts are those of the clip turned, pixel by pixel."""
    from PIL import Image

    path = _turned(tmp_path, turn)
    still = Image.open(io.BytesIO(last_frame(path).data)).convert("L")
    stored_width, _, stored = _grey(path, 23 / 24)
    with path.open("rb") as file:
        facts = read_facts(file)
    assert (facts.width, facts.height) == still.size
    wrong = 0
    for y in range(still.height):
        for x in range(still.width):
            column, row = _expected(turn, x, y)
            wrong += abs(still.getpixel((x, y)) - stored[row * stored_width + column]) > 40
    assert wrong < still.width * still.height / 50


@pytest.mark.parametrize("turn", ["90", "270"])
def test_a_turned_clip_is_upright_in_a_film(tmp_path: Path, turn: str) -> None:
    """Beside a plain clip it is encoded again, between black bars."""
    plain = write_clip(tmp_path, "plain.mp4", Recipe())
    film = tmp_path / "film.mp4"
    report = join(
        [Part(plain, [Chapter("a")]), Part(_turned(tmp_path, turn), [Chapter("b")])], film
    )
    assert report.re_encoded
    width, height, grey = _grey(film, 1.5)
    edge = [grey[y * width + x] for y in range(height) for x in range(width // 8)]
    assert max(edge) < 40


def test_wide_pixels_keep_their_shape(tmp_path: Path) -> None:
    """A clip of pixels half as wide as high is shown half as wide, between black bars."""
    plain = write_clip(tmp_path, "plain.mp4", Recipe())
    colour = {"sample_aspect_ratio": Fraction(1, 2)}
    narrow = write_clip(tmp_path, "narrow.mp4", Recipe(clip=1, colour=colour))
    film = tmp_path / "film.mp4"
    assert join([Part(plain, [Chapter("a")]), Part(narrow, [Chapter("b")])], film).re_encoded
    width, height, grey = _grey(film, 1.5)
    edge = [grey[y * width + x] for y in range(height) for x in range(width // 5)]
    assert max(edge) < 40


@pytest.mark.slow
@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_beside_sdr_is_mapped(tmp_path: Path, transfer: int) -> None:
    """The mid grey of PQ and HLG becomes brighter in a film of SDR: not relabelled."""
    hdr = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    plain = write_clip(tmp_path, "plain.mp4", Recipe())
    bright = write_clip(tmp_path, "hdr.mp4", Recipe(clip=1, colour=hdr))
    film = tmp_path / "film.mp4"
    assert join([Part(plain, [Chapter("a")]), Part(bright, [Chapter("b")])], film).re_encoded
    with av.open(str(film)) as opened:
        assert {frame.color_trc for frame in opened.decode(video=0)} == {1}
    _, _, before = _grey(bright, 0.5)
    _, _, after = _grey(film, 1.5)
    assert sum(after) > sum(before) * 1.02
