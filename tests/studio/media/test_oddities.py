"""What is unusual about the pictures of a video is told in words; of a usual one nothing is."""

import io
import statistics
from pathlib import Path

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.join import Chapter, Part, join
from prefect_kling.studio.media.oddities import oddities
from tests.studio.media.clips import Recipe, blank_media, make_clip
from tests.studio.media.odd_clips import odd_clips

PLAIN = make_clip(Recipe())
ODD = odd_clips(Recipe())


@pytest.mark.parametrize("kind", ODD)
def test_each_kind_is_told_once_with_what_is_done(kind: str) -> None:
    """Turned, mirrored, pixels that are not square, full range, PQ and HLG."""
    (found,) = oddities(io.BytesIO(ODD[kind]))
    assert kind in found.what
    assert str(found) == f"it {found.what}: {found.done}"
    assert "encoded anew" in found.done


def test_of_a_usual_clip_nothing_is_told() -> None:
    """Nor of one that says itself that it is usual."""
    tagged = {"color_trc": 1, "color_primaries": 1, "colorspace": 1, "color_range": 1}
    assert oddities(io.BytesIO(PLAIN)) == ()
    assert oddities(io.BytesIO(make_clip(Recipe(colour=tagged)))) == ()


def test_what_cannot_be_decoded_is_no_video() -> None:
    """Whole boxes around blank media."""
    with pytest.raises(NotAVideo):
        oddities(io.BytesIO(blank_media(PLAIN)))


def luma(file: Path | io.BytesIO) -> list[bytes]:
    """The brightness of all pixels, picture by picture, as it is stored."""
    found = []
    with av.open(file) as film:
        for frame in film.decode(video=0):
            plane = frame.planes[0]
            data = bytes(plane)
            rows = range(0, frame.height * plane.line_size, plane.line_size)
            found.append(b"".join(data[row : row + frame.width] for row in rows))
    return found


def test_the_full_range_beside_the_usual_one_is_fitted_to_it(tmp_path: Path) -> None:
    """0 and 255 of a full-range clip are 16 and 235 of the film: pixels compared."""
    film = tmp_path / "film.mp4"
    sources = [io.BytesIO(PLAIN), io.BytesIO(ODD["full range"])]
    report = join([Part(source, [Chapter("a")]) for source in sources], film)
    assert report.re_encoded
    joined = luma(film)
    assert len(joined) == 48
    for number, stored in enumerate(luma(io.BytesIO(ODD["full range"]))):
        off = [
            abs(shown - (value * 219 / 255 + 16))
            for shown, value in zip(joined[24 + number], stored, strict=True)
        ]
        assert statistics.mean(off) < 2
