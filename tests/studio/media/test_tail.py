"""The end of a film as a film: the right pictures, for the right time, never too long."""

import functools
import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.probe import read_facts
from prefect_kling.studio.media.tail import keep_tail
from tests.lane import rest_is_slow
from tests.studio.media.clips import Recipe, blank_media, make_clip, patch, read_codes
from tests.studio.media.test_frames import AWKWARD, SEVERAL

PLAIN = Recipe(frames=49)


@functools.cache
def clip(name: str) -> bytes:
    """Make one of the awkward clips, once."""
    return make_clip(AWKWARD[name])


def seconds_of(film: Path) -> tuple[float, float]:
    """Read how long a film is by its boxes and by its demuxer, which sees all tracks."""
    with film.open("rb") as file, av.open(str(film)) as container:
        return read_facts(file).seconds, container.duration / av.time_base


def times_of(film: Path | io.BytesIO) -> list[float]:
    """Read when each picture is shown."""
    if isinstance(film, io.BytesIO):
        film.seek(0)
    with av.open(film if isinstance(film, io.BytesIO) else str(film)) as container:
        return [frame.time for frame in container.decode(video=0)]


LONG = {name: recipe for name, recipe in AWKWARD.items() if recipe.frames > 2}


@pytest.mark.parametrize("name", rest_is_slow(LONG, *LONG.keys() & SEVERAL))
def test_the_tail_holds_the_last_pictures(tmp_path: Path, name: str) -> None:
    """Every picture that fits whole is there, at its time, and nothing before it."""
    recipe, source = AWKWARD[name], io.BytesIO(clip(name))
    assert keep_tail(source, tmp_path / "tail.mp4", 0.4)
    codes = read_codes(tmp_path / "tail.mp4")
    count = len(codes)
    assert codes == [
        (recipe.clip, number) for number in range(recipe.frames - count, recipe.frames)
    ]
    times = times_of(source)[-count - 1 :]
    assert times_of(tmp_path / "tail.mp4") == pytest.approx(
        [time - times[1] for time in times[1:]], abs=1e-4
    )
    assert max(seconds_of(tmp_path / "tail.mp4")) <= 0.4
    assert min(seconds_of(tmp_path / "tail.mp4")) + times[1] - times[0] > 0.4


def test_a_clip_of_ten_seconds_and_one_picture_loses_that_picture(tmp_path: Path) -> None:
    """241 pictures become 240: ten seconds, and not a tick more by anybody's reading."""
    assert keep_tail(
        io.BytesIO(make_clip(Recipe(frames=241, width=64, height=48))), tmp_path / "tail.mp4"
    )
    codes = read_codes(tmp_path / "tail.mp4")
    assert codes == [(0, number) for number in range(1, 241)]
    assert seconds_of(tmp_path / "tail.mp4") == (10.0, 10.0)
    with (tmp_path / "tail.mp4").open("rb") as file:
        assert (read_facts(file).fps, read_facts(file).codec) == (24.0, "avc1")


@pytest.mark.parametrize("seconds", [1.0, 23 / 24 + 0.01, 5 / 24 + 0.001, 1 / 24 + 1e-6])
def test_only_whole_pictures_are_kept(tmp_path: Path, seconds: float) -> None:
    """A length between two pictures is rounded down."""
    assert keep_tail(io.BytesIO(make_clip(PLAIN)), tmp_path / "tail.mp4", seconds)
    count = int(seconds * 24 + 1e-9)
    assert read_codes(tmp_path / "tail.mp4") == [(0, number) for number in range(49 - count, 49)]
    assert seconds_of(tmp_path / "tail.mp4") == pytest.approx((count / 24, count / 24), abs=2e-6)


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(frames=23), Recipe(sound=0.9), Recipe(b_frames=8, gop=30)], ids=str
)
def test_a_film_that_is_short_enough_is_left_alone(tmp_path: Path, recipe: Recipe) -> None:
    """Nothing is written for a film that fits as it is."""
    assert not keep_tail(io.BytesIO(make_clip(recipe)), tmp_path / "tail.mp4", 1.0)
    assert not keep_tail(io.BytesIO(make_clip(recipe)), tmp_path / "tail.mp4", float("inf"))
    assert list(tmp_path.iterdir()) == []


def test_sound_longer_than_the_pictures_makes_a_film_too_long(tmp_path: Path) -> None:
    """If the sound is the longest track, all pictures are kept without it."""
    assert keep_tail(io.BytesIO(make_clip(Recipe(sound=1.5))), tmp_path / "tail.mp4", 1.0)
    assert read_codes(tmp_path / "tail.mp4") == [(0, number) for number in range(24)]
    assert seconds_of(tmp_path / "tail.mp4") == (1.0, 1.0)


def test_a_tail_has_no_sound(tmp_path: Path) -> None:
    """The pictures alone are handed over."""
    keep_tail(io.BytesIO(make_clip(replace(PLAIN, sound=2.0))), tmp_path / "tail.mp4", 1.0)
    with av.open(str(tmp_path / "tail.mp4")) as film:
        assert [stream.type for stream in film.streams] == ["video"]


def test_a_tail_is_made_like_a_film_of_its_own(tmp_path: Path) -> None:
    """It starts with a key frame and repeats no others; pictures are in the order shown."""
    for name in ("key frames only", "pyramid"):
        keep_tail(io.BytesIO(clip(name)), tmp_path / "tail.mp4", 0.9)
        with av.open(str(tmp_path / "tail.mp4")) as film:
            packets = [packet for packet in film.demux(video=0) if packet.pts is not None]
        assert [packet.is_keyframe for packet in packets] == [True, *[False] * (len(packets) - 1)]
        assert all(packet.pts == packet.dts for packet in packets)


@pytest.mark.parametrize("shown", [13, 20])
def test_pictures_hidden_at_the_end_are_not_in_the_tail(tmp_path: Path, shown: int) -> None:
    """Of a clip trimmed by its edit list the last pictures shown are kept."""
    trimmed = patch(clip("plain"), "moov/trak/edts/elst", 8, struct.pack(">I", shown * 1000 // 24))
    assert keep_tail(io.BytesIO(trimmed), tmp_path / "tail.mp4", 0.25)
    assert read_codes(tmp_path / "tail.mp4")[-1] == (0, shown - 1)
    assert len(read_codes(tmp_path / "tail.mp4")) in (5, 6)


BT709, FULL = 1, 2


@pytest.mark.parametrize(
    "colour", [{}, {"colorspace": BT709, "color_range": 1}, {"color_range": FULL}], ids=str
)
def test_a_tail_looks_like_the_film(tmp_path: Path, colour: dict[str, int]) -> None:
    """Brightness, colours and their meaning stay what they were, and hardly a detail is lost."""
    source = io.BytesIO(
        make_clip(replace(PLAIN, chroma=(90, 200), colour=colour, x264={"crf": "12"}))
    )
    keep_tail(source, tmp_path / "tail.mp4", 1.0)
    source.seek(0)
    with av.open(source) as before, av.open(str(tmp_path / "tail.mp4")) as after:
        first, second = list(before.decode(video=0))[25:], list(after.decode(video=0))
    for old, new in zip(first, second, strict=True):
        assert (new.colorspace, new.color_range, new.format.name) == (
            old.colorspace,
            old.color_range,
            old.format.name,
        )
        for plane in range(3):
            pixels = list(zip(bytes(old.planes[plane]), bytes(new.planes[plane]), strict=True))
            assert sum(abs(a - b) for a, b in pixels) / len(pixels) < 2
            assert abs(sum(a - b for a, b in pixels)) / len(pixels) < 0.5


@pytest.mark.parametrize(("width", "height"), [(161, 91), (160, 91)])
def test_odd_sides_lose_one_row(tmp_path: Path, width: int, height: int) -> None:
    """H.264 pictures have even sides; nothing is scaled for that."""
    odd = make_clip(replace(PLAIN, width=width, height=height, codec="mpeg4", x264={"qscale": "2"}))
    assert keep_tail(io.BytesIO(odd), tmp_path / "tail.mp4", 1.0)
    with (tmp_path / "tail.mp4").open("rb") as file:
        assert (read_facts(file).width, read_facts(file).height) == (160, 90)
    assert read_codes(tmp_path / "tail.mp4") == [(0, number) for number in range(25, 49)]


def test_a_tail_is_the_same_every_time(tmp_path: Path) -> None:
    """From a path or an open file at any position: one tail; the file stays open."""
    path, hashes = tmp_path / "clip.mp4", set()
    # x264 does not repeat itself on the tiny pictures of the other tests: see `film_file`.
    path.write_bytes(make_clip(replace(AWKWARD["pyramid"], width=320, height=180)))
    with path.open("rb") as file:
        file.seek(9)
        for source in (path, file, file):
            keep_tail(source, tmp_path / "tail.mp4", 0.7)
            hashes.add(hashlib.sha256((tmp_path / "tail.mp4").read_bytes()).hexdigest())
        assert not file.closed
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lambda: make_clip(PLAIN)[:-1], "cut"),
        (lambda: b"<html>", "HTML"),
        (lambda: blank_media(make_clip(PLAIN)), "decoded"),
        (lambda: blank_media(make_clip(PLAIN), first=0.9), "decoded"),
        (lambda: blank_media(clip("HEVC"), first=0.8), "decoded"),
    ],
    ids=["cut", "a page", "blank", "damaged end", "damaged HEVC"],
)
def test_a_broken_film_has_no_tail(tmp_path: Path, data: Callable[[], bytes], why: str) -> None:
    """It is refused, what was there stays as it was, and no temporary file is left."""
    target = tmp_path / "tail.mp4"
    target.write_bytes(b"the tail of yesterday")
    with pytest.raises(NotAVideo, match=why):
        keep_tail(io.BytesIO(data()), target, 1.0)
    assert target.read_bytes() == b"the tail of yesterday"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1 / 25, float("nan")])
def test_a_tail_holds_a_picture(tmp_path: Path, seconds: float) -> None:
    """A length in which not one picture fits is the caller's mistake."""
    with pytest.raises(ValueError, match=r"picture|NaN"):
        keep_tail(io.BytesIO(make_clip(PLAIN)), tmp_path / "tail.mp4", seconds)
    assert list(tmp_path.iterdir()) == []


def test_a_tail_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    """No error of the media library leaks, and the target is named."""
    with pytest.raises(FileNotFoundError, match=r"tail\.mp4"):
        keep_tail(io.BytesIO(make_clip(PLAIN)), tmp_path / "no such folder" / "tail.mp4", 1.0)
