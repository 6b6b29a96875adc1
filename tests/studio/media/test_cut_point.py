"""Where a clip ends: at the sharpest of its last pictures that can be cut without encoding."""

import functools
import io
import random
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.cut_point import CutPoint, find_cut_point
from prefect_kling.studio.media.frames import encode_still, first_frame, last_frame
from prefect_kling.studio.media.join import Chapter, Part, join
from tests.lane import rest_is_slow
from tests.studio.media.clips import (
    Recipe,
    blank_media,
    boxes,
    codes_of,
    make_clip,
    patch,
    read_codes,
)
from tests.studio.media.test_frames import AWKWARD, SEVERAL

STILL = Recipe(frames=24, frozen=True, b_frames=0, x264={"crf": "12"})
"""Every picture the same, so that only what is done to some of them makes a difference."""
Filter = tuple[str, str]


def blur(sigma: float) -> Filter:
    """Put a picture out of focus."""
    return "gblur", f"sigma={sigma}"


def dim(light: float) -> Filter:
    """Leave a picture only a share of its light."""
    return "lutyuv", f"y=16+(val-16)*{light}"


WORSE = {
    "slightly out of focus": blur(0.6),
    "out of focus": blur(3),
    "moving sideways": ("dblur", "angle=0:radius=5"),
    "moving aslant": ("dblur", "angle=45:radius=9"),
    "darker": dim(0.8),
    "a little darker": dim(0.9),
    "nearly black": dim(0.05),
    "black": dim(0),
    "white": ("lutyuv", "y=235"),
    "in fog": ("lutyuv", "y=235-(235-val)*0.4"),
}
AS_GOOD = {
    "the same": ("null", ""),
    "a trace softer": blur(0.2),
    "a trace darker": dim(0.97),
    "grainy": ("noise", "all_seed=3:alls=6"),
}


def touched(numbers: Iterable[int], *filters: Filter) -> io.BytesIO:
    """Make the still clip with filters on some of its pictures."""
    return io.BytesIO(make_clip(replace(STILL, touch=dict.fromkeys(numbers, filters))))


def picture(data: io.BytesIO, count: int) -> av.VideoFrame:
    """Decode from the start and return the last of so many pictures."""
    data.seek(0)
    with av.open(data) as film:
        return list(film.decode(video=0))[count - 1]


@pytest.mark.parametrize("name", WORSE)
def test_a_sharper_picture_before_the_last_is_taken(name: str) -> None:
    """If the last three pictures are blurred, dark or bleached, the clip ends before them."""
    clip = touched((21, 22, 23), WORSE[name])
    ending = find_cut_point(clip)
    assert (ending.pictures, ending.seconds) == (21, pytest.approx(21 / 24))
    assert ending.still == encode_still(picture(clip, 21))


@pytest.mark.parametrize("name", AS_GOOD)
def test_of_equally_sharp_pictures_the_last_is_taken(name: str) -> None:
    """No picture is given up for a difference that nobody sees."""
    clip = touched((21, 22, 23), AS_GOOD[name])
    ending = find_cut_point(clip)
    assert (ending.pictures, ending.seconds) == (24, pytest.approx(1.0))
    assert ending.still == last_frame(clip)


@pytest.mark.parametrize("name", AS_GOOD)
def test_a_picture_that_is_hardly_better_does_not_win(name: str) -> None:
    """The same the other way round: what is softer or without grain at the end is still the end."""
    clip = touched(range(21), AS_GOOD[name])
    assert find_cut_point(clip).pictures == 24


def test_grain_does_not_pass_for_sharpness() -> None:
    """A picture that is blurred and noisy loses against a clean one."""
    blurred = touched((22, 23), blur(2), ("noise", "all_seed=3:alls=25"))
    assert find_cut_point(blurred).pictures == 22


def test_a_fade_to_black_ends_where_it_begins() -> None:
    """Of a clip that fades out, the last picture in full light is taken."""
    fading = {number: [dim(1 - (number - 17) / 6)] for number in range(18, 24)}
    assert find_cut_point(io.BytesIO(make_clip(replace(STILL, touch=fading)))).pictures == 18


def test_a_clip_of_flat_pictures_ends_at_its_last() -> None:
    """Where nothing is sharp, nothing is better than the last picture."""
    ending = find_cut_point(touched(range(24), dim(0)))
    assert (ending.pictures, ending.sharpness) == (24, 0.0)


@pytest.mark.parametrize(
    ("window", "pictures"), [(0.0, 24), (1 / 24, 24), (0.33, 24), (0.34, 17), (0.5, 17), (99.0, 17)]
)
def test_only_the_end_of_the_clip_is_looked_at(window: float, pictures: int) -> None:
    """A sharp picture counts if it is shown within the window; the last one always counts."""
    clip = touched(range(17, 24), blur(3))
    assert find_cut_point(clip, window).pictures == pictures


@functools.cache
def awkward(name: str) -> bytes:
    """Make one of the awkward clips with a blurred end, once."""
    recipe = AWKWARD[name]
    blurred = dict.fromkeys(range(max(1, recipe.frames - 2), recipe.frames), (blur(4),))
    return make_clip(replace(recipe, touch=blurred))


@pytest.mark.parametrize("name", rest_is_slow(AWKWARD, *SEVERAL))
def test_the_film_ends_the_clip_at_that_picture(tmp_path: Path, name: str) -> None:
    """Whatever the packets' order, a copied film shows all up to the still, then the next clip."""
    clip = io.BytesIO(awkward(name))
    ending = find_cut_point(clip)
    parts = [Part(clip, [Chapter("one")], ending.pictures), Part(clip, [Chapter("two")])]
    report = join(parts, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        shown = list(film.decode(video=0))[ending.pictures - 1]
    assert not report.re_encoded
    assert read_codes(tmp_path / "film.mp4") == codes_of(
        replace(AWKWARD[name], frames=ending.pictures), AWKWARD[name]
    )
    assert ending.still == encode_still(shown)
    assert report.lengths[0] == pytest.approx(ending.seconds)


def test_b_frames_leave_places_to_cut() -> None:
    """A clip with B-frames loses its blurred end, unless it cannot be cut there."""
    assert find_cut_point(io.BytesIO(awkward("pyramid"))).pictures < 29
    assert find_cut_point(io.BytesIO(awkward("eight B-frames"))).pictures < 39
    assert find_cut_point(io.BytesIO(awkward("two pictures"))).pictures == 1
    assert find_cut_point(io.BytesIO(awkward("one picture"))).pictures == 1


@pytest.mark.parametrize("shown", [9, 12, 23])
def test_hidden_pictures_are_not_taken(shown: int) -> None:
    """Of a clip trimmed by its edit list, nothing behind what is shown counts, however sharp."""
    clip = touched(range(shown), blur(3))
    trimmed = io.BytesIO(
        patch(clip.getvalue(), "moov/trak/edts/elst", 8, struct.pack(">I", shown * 1000 // 24))
    )
    ending = find_cut_point(trimmed)
    assert ending.pictures == shown
    assert ending.still == last_frame(trimmed)


def test_what_comes_before_the_last_key_frame_is_not_decoded() -> None:
    """Of four seconds only the last is decoded: damage before it is not even noticed."""
    data = make_clip(replace(STILL, frames=96))
    _, start, end = next(box for box in boxes(data) if box[0] == "mdat")
    middle = start + 8 + (end - start) // 2
    damaged = io.BytesIO(data[: start + 8] + bytes(middle - start - 8) + data[middle:])
    with pytest.raises(NotAVideo):
        first_frame(damaged)
    assert find_cut_point(damaged).still == last_frame(io.BytesIO(data))


def test_an_ending_is_the_same_every_time(tmp_path: Path) -> None:
    """From a path or an open file at any position, twice: one ending; the file stays open."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(awkward("pyramid"))
    with path.open("rb") as file:
        file.seek(7)
        found: set[CutPoint] = {find_cut_point(source) for source in (path, file, file, path)}
        assert not file.closed
    assert len(found) == 1


@pytest.mark.parametrize("name", ["plain", "sound longer", "one picture"])
def test_a_cut_clip_has_no_ending(name: str) -> None:
    """A cut file is refused rather than ended at a picture in its middle."""
    dice = random.Random(name)
    for cut in [dice.randrange(len(awkward(name))) for _ in range(10)]:
        with pytest.raises(NotAVideo):
            find_cut_point(io.BytesIO(awkward(name)[:cut]))


@pytest.mark.parametrize("name", ["plain", "one GOP", "HEVC", "rolling refresh"])
def test_a_damaged_end_is_refused(name: str) -> None:
    """If the last pictures do not come out, none of them is handed over."""
    with pytest.raises(NotAVideo, match="decoded"):
        find_cut_point(io.BytesIO(blank_media(awkward(name), first=0.9)))


@pytest.mark.parametrize("window", [-0.1, float("nan"), float("inf")])
def test_a_window_has_a_length(window: float) -> None:
    """A window of no length that can be meant is the caller's mistake."""
    with pytest.raises(ValueError, match="window"):
        find_cut_point(io.BytesIO(awkward("plain")), window)
