"""Clips shown up to one of their pictures: copied where the packets allow it, else encoded."""

import functools
import io
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from prefect_kling.studio.media.join import Chapter, Part, join
from tests.lane import rest_is_slow
from tests.studio.media.clips import (
    Recipe,
    blank_media,
    codes_of,
    loudness,
    make_clip,
    patch,
    read_codes,
    read_sound,
    tone_at,
)

A, B = Recipe(clip=1), Recipe(clip=2)
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12"}
AWKWARD = {
    "plain": A,
    "no B-frames": replace(A, b_frames=0),
    "eight B-frames": replace(A, frames=40, gop=30, b_frames=8),
    "pyramid": replace(
        A, frames=30, gop=30, b_frames=5, x264={"preset": "fast", "b-pyramid": "normal"}
    ),
    "ends on a B-frame": replace(
        A, frames=23, gop=300, b_frames=3, x264={"x264-params": "b-adapt=0"}
    ),
    "open GOP": replace(A, frames=30, x264={"x264-params": "open-gop=1"}),
    "rolling refresh": replace(A, x264={"x264-params": "intra-refresh=1"}),
    "HEVC": replace(A, frames=30, codec="libx265", x264=X265),
}


@functools.cache
def awkward(name: str, clip: int) -> bytes:
    """Make one of the awkward clips, once."""
    return make_clip(replace(AWKWARD[name], clip=clip))


def part(data: bytes, pictures: int | None = None, *chapters: Chapter) -> Part:
    """Show the first pictures of a clip."""
    return Part(io.BytesIO(data), chapters or [Chapter("a clip")], pictures)


def safe_cuts(data: bytes) -> set[int]:
    """Find, by definition, after how many pictures a clip can be cut between two packets."""
    with av.open(io.BytesIO(data)) as film:
        stamps = [packet.pts for packet in film.demux(video=0) if packet.pts is not None]
    return {n for n in range(1, len(stamps) + 1) if max(stamps[:n]) < min([*stamps[n:], 1 << 60])}


@pytest.mark.parametrize("name", rest_is_slow(AWKWARD, "pyramid", "open GOP"))
def test_every_picture_is_a_place_to_cut(tmp_path: Path, name: str) -> None:
    """Wherever a clip is cut, the film shows that far; it is copied if so stored."""
    first, second, count = awkward(name, 1), awkward(name, 2), AWKWARD[name].frames
    copied = set()
    for n in range(count - 9, count + 1):
        report = join([part(first, n), part(second), part(first, n)], tmp_path / "film.mp4")
        shown = [
            replace(AWKWARD[name], clip=clip, frames=frames)
            for clip, frames in ((1, n), (2, count), (1, n))
        ]
        assert read_codes(tmp_path / "film.mp4") == codes_of(*shown)
        assert report.frames == 2 * n + count
        copied |= set() if report.re_encoded else {n}
    assert copied == {n for n in safe_cuts(first) if n >= count - 9}
    assert len(copied) > 1, "this clip proves nothing"


def test_a_cut_copy_is_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of the pictures shown is lost, and nothing behind the cut is in the film."""
    source, n = awkward("pyramid", 1), sorted(safe_cuts(awkward("pyramid", 1)))[-3]
    join([part(source, n)], tmp_path / "film.mp4")
    with av.open(io.BytesIO(source)) as clip, av.open(str(tmp_path / "film.mp4")) as film:
        packets = [bytes(packet) for packet in clip.demux(video=0) if packet.size]
        assert [bytes(packet) for packet in film.demux(video=0) if packet.size] == packets[:n]


@pytest.mark.parametrize("crf", ["20", "30"], ids=["copied", "encoded"])
def test_sound_is_cut_with_the_pictures(tmp_path: Path, crf: str) -> None:
    """The next clip is heard when it is seen, and of the clip cut nothing is heard any more."""
    plain = replace(A, b_frames=0, sound=1.2)
    cast = [plain, replace(plain, clip=2, sound=0.4), replace(plain, clip=3, x264={"crf": crf})]
    report = join(
        [part(make_clip(each), n) for each, n in zip(cast, (18, 15, None), strict=True)],
        tmp_path / "f.mp4",
    )
    sound = read_sound(tmp_path / "f.mp4")
    assert report.re_encoded == (crf == "30")
    assert report.starts == pytest.approx((0, 18 / 24, 33 / 24))
    assert report.lengths == pytest.approx((18 / 24, 15 / 24, 1))
    assert len(sound) == pytest.approx(57 / 24 * 48000, abs=1024)
    assert [tone_at(sound, at) for at in (0.63, 0.87, 1.5)] == pytest.approx(
        [880, 1320, 1760], abs=11
    )
    assert (
        loudness(sound, 0.75 + 0.45, 33 / 24 - 0.02)
        < 0.02
        < loudness(sound, 33 / 24, 33 / 24 + 0.02)
    )


def test_more_pictures_than_there_are_means_all(tmp_path: Path) -> None:
    """A number too high costs nothing: the clip is shown, and copied, as it is."""
    report = join([part(make_clip(A), 25), part(make_clip(B), 1000)], tmp_path / "film.mp4")
    assert read_codes(tmp_path / "film.mp4") == codes_of(A, B)
    assert not report.re_encoded


SLOW = replace(
    A, time_base=Fraction(1, 1000), ticks=[n * 120 + n % 3 * 25 for n in range(24)], b_frames=0
)


def test_each_picture_keeps_its_time_up_to_the_cut(tmp_path: Path) -> None:
    """At a variable rate, the last picture stays until the one behind the cut was due."""
    report = join(
        [part(make_clip(SLOW), 9), part(make_clip(replace(SLOW, clip=2)))], tmp_path / "film.mp4"
    )
    with av.open(str(tmp_path / "film.mp4")) as film:
        shown = [round(frame.time * 1000) for frame in film.decode(video=0)]
    assert not report.re_encoded
    assert report.lengths[0] == pytest.approx(9 * 0.12)
    assert shown == [*SLOW.ticks[:9], *(9 * 120 + tick for tick in SLOW.ticks)]


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("n", [1, 9, 11, 23])
def test_a_cut_clip_of_another_rate_fills_its_time(tmp_path: Path, n: int, b_frames: int) -> None:
    """Fitted to the film's rate, a clip shows its pictures up to the cut, none for longer."""
    slow = replace(SLOW, b_frames=b_frames)
    clips = [part(make_clip(slow), n), part(make_clip(B)), part(make_clip(replace(B, clip=3)))]
    report = join(clips, tmp_path / "film.mp4")
    codes = read_codes(tmp_path / "film.mp4")
    assert report.lengths == pytest.approx((SLOW.ticks[n] / 1000, 1, 1), abs=1 / 48)
    assert codes[-48:] == codes_of(B, replace(B, clip=3))
    assert sorted(set(codes[:-48])) == [(1, number) for number in range(n)]
    assert codes == sorted(codes)
    assert codes.count((1, n - 1)) == pytest.approx(
        (SLOW.ticks[n] - SLOW.ticks[n - 1]) * 24 / 1000, abs=1
    )


def test_hidden_pictures_are_not_counted(tmp_path: Path) -> None:
    """If an edit list starts at the seventh picture, the first five are numbers 6 to 10."""
    trimmed = patch(make_clip(A), "moov/trak/edts/elst", 12, struct.pack(">I", 1024 + 6 * 512))
    report = join([part(trimmed, 5), part(make_clip(B))], tmp_path / "film.mp4")
    assert read_codes(tmp_path / "film.mp4") == [(1, number) for number in range(6, 11)] + codes_of(
        B
    )
    assert report.re_encoded


def test_what_is_behind_the_cut_need_not_be_whole(tmp_path: Path) -> None:
    """Pictures that are not shown are not decoded: damage stops only before the cut."""
    damaged = blank_media(make_clip(replace(A, b_frames=0)), first=0.8)
    other = part(make_clip(replace(B, x264={"crf": "30"})))
    join([part(damaged, 15), other], tmp_path / "film.mp4")
    assert read_codes(tmp_path / "film.mp4") == codes_of(replace(A, frames=15), B)


def test_a_chapter_behind_the_cut_is_left_out(tmp_path: Path) -> None:
    """Nobody can jump to what is not shown."""
    marks = [Chapter("one"), Chapter("two", 0.5), Chapter("three", 0.9)]
    join([part(make_clip(A), 21, *marks), part(make_clip(B), None, *marks)], tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        found = [
            (mark["metadata"]["title"], mark["start"], mark["end"]) for mark in film.chapters()
        ]
    assert found == [
        ("one", 0, 500),
        ("two", 500, 875),
        ("one", 875, 1375),
        ("two", 1375, 1775),
        ("three", 1775, 1875),
    ]
