"""Clips faded into each other: the film's length, what is seen and heard, and what stays."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.join import Chapter, JoinReport, Part, join
from tests.studio.media.clips import (
    Recipe,
    blank_media,
    codes_of,
    loudness,
    make_clip,
    paint,
    read_code,
    read_codes,
    read_sound,
    tone_at,
)

A, B, C = (Recipe(clip=number, x264={"crf": "12"}) for number in (1, 2, 3))
SIZE = (160, 90)


def part(recipe: Recipe, fade: float = 0.0, pictures: int | None = None) -> Part:
    """Show a clip of this recipe after a fade of so many seconds."""
    return Part(io.BytesIO(make_clip(recipe)), [Chapter(f"Clip {recipe.clip}")], pictures, fade)


def frames_of(film: Path) -> list[av.VideoFrame]:
    """Decode all pictures."""
    with av.open(str(film)) as container:
        return list(container.decode(video=0))


def luma(frame: av.VideoFrame) -> bytes:
    """Return the brightness of a picture, row by row."""
    plane, width = bytes(frame.planes[0]), frame.planes[0].line_size
    return b"".join(plane[y * width : y * width + frame.width] for y in range(frame.height))


def distance(picture: Sequence[float], other: Sequence[float]) -> float:
    """Return how far two pictures are from each other, on average."""
    return sum(abs(a - b) for a, b in zip(picture, other, strict=True)) / len(picture)


def mixed(first: int, second: int, share: float) -> list[float]:
    """Mix two painted pictures of clips 1 and 2."""
    pictures = luma(paint(1, first, SIZE)), luma(paint(2, second, SIZE))
    return [a * (1 - share) + b * share for a, b in zip(*pictures, strict=True)]


def test_pictures_change_over_step_by_step(tmp_path: Path) -> None:
    """In a fade of six pictures the first clip leaves and the second comes by sevenths."""
    report = join([part(A), part(B, 0.25)], tmp_path / "film.mp4")
    frames = frames_of(tmp_path / "film.mp4")
    assert report == JoinReport(
        frames=42,
        seconds=1.75,
        re_encoded=True,
        audio=False,
        starts=(0.0, 0.75),
        lengths=(1.0, 1.0),
    )
    assert [read_code(frame) for frame in (*frames[:18], *frames[24:])] == codes_of(A, B)[
        :18
    ] + codes_of(A, B)[30:]
    for step in range(6):
        picture = luma(frames[18 + step])
        off = [
            distance(picture, mixed(18 + step, step, (step + 1 + wrong) / 7))
            for wrong in (-1, 0, 1)
        ]
        assert off[1] < 4 < min(off[0], off[2]), step
        assert distance(picture, mixed(17 + step, step, (step + 1) / 7)) > off[1] + 1


def test_a_still_does_not_flicker_in_a_fade(tmp_path: Path) -> None:
    """Where both clips show the same, the fade shows it too."""
    still = replace(A, frozen=True)
    join([part(still), part(still, 0.5)], tmp_path / "film.mp4")
    frames = [luma(frame) for frame in frames_of(tmp_path / "film.mp4")]
    assert len(frames) == 36
    assert max(distance(frame, luma(paint(1, 0, SIZE))) for frame in frames) < 2


def test_only_what_is_asked_for_is_faded(tmp_path: Path) -> None:
    """Of two joints one is a cut and one a fade; a clip cut short fades from its last picture."""
    report = join([part(A), part(B, pictures=15), part(C, 1 / 6)], tmp_path / "film.mp4")
    frames = frames_of(tmp_path / "film.mp4")
    assert (report.frames, report.starts) == (59, pytest.approx((0, 1, 35 / 24)))
    assert report.lengths == pytest.approx((1, 15 / 24, 1))
    codes = codes_of(A, replace(B, frames=11)) + codes_of(C)[4:]
    assert [read_code(frame) for frame in (*frames[:35], *frames[39:])] == codes


def test_a_fade_into_the_first_clip_is_none(tmp_path: Path) -> None:
    """There is nothing to fade from: the clips are copied as without it."""
    report = join([part(A, 0.5), part(B)], tmp_path / "film.mp4")
    assert not report.re_encoded
    assert read_codes(tmp_path / "film.mp4") == codes_of(A, B)


@pytest.mark.parametrize(
    ("frames", "fades", "starts"),
    [
        ((24, 12, 24), (99.0, 99.0), (0, 18, 24)),
        ((24, 24), (1e9,), (0, 12)),
        ((24, 1, 24), (0.5, 0.5), (0, 24, 25)),
        ((24, 3, 24), (0.5, 0.5), (0, 23, 25)),
        ((24, 24), (0.3,), (0, 17)),
        ((24, 24), (0.001,), (0, 24)),
    ],
    ids=[
        "a short clip",
        "no end",
        "one picture",
        "three pictures",
        "between two",
        "less than a picture",
    ],
)
def test_a_fade_is_at_most_half_of_either_clip(
    tmp_path: Path, frames: Sequence[int], fades: Sequence[float], starts: Sequence[int]
) -> None:
    """A fade too long is shortened, so that no more than two clips are ever seen at once."""
    cast = [Recipe(clip=number, frames=count) for number, count in enumerate(frames, 1)]
    parts = [part(recipe, fade) for recipe, fade in zip(cast, (0.0, *fades), strict=True)]
    report = join(parts, tmp_path / "film.mp4")
    assert report.starts == pytest.approx([start / 24 for start in starts])
    assert report.frames == len(frames_of(tmp_path / "film.mp4")) == starts[-1] + frames[-1]
    assert report.re_encoded


def test_clips_of_other_makes_fade_too(tmp_path: Path) -> None:
    """Size, shape and rate are the film's before two clips meet; the fade keeps its length."""
    upright = replace(B, width=90, height=160, frames=30, rate=Fraction(30))
    cast = [part(A), part(upright, 0.5), part(C, 0.25), part(A, 0.25)]
    report = join(cast, tmp_path / "film.mp4")
    frames = frames_of(tmp_path / "film.mp4")
    assert (report.frames, len(frames), report.seconds) == (72, 72, pytest.approx(3.0))
    assert {(frame.width, frame.height) for frame in frames} == {(160, 90)}
    codes = [read_code(frame, (55, 0, 50, 90)) for frame in frames[24:30]]
    assert codes == sorted(codes)
    assert {clip for clip, _ in codes} == {2}
    assert [read_code(frame) for frame in frames[36:48]] == codes_of(C)[6:18]


def strength(sound: Sequence[float], second: float) -> float:
    """Return how strong the sound is in the 20 ms around a moment (its root mean square)."""
    piece = sound[round((second - 0.01) * 48000) : round((second + 0.01) * 48000)]
    return (sum(sample * sample for sample in piece) / len(piece)) ** 0.5


def test_sounds_change_over_with_the_pictures(tmp_path: Path) -> None:
    """In a fade both are heard, together as loud as one; before and after it only one is."""
    loud = replace(A, sound=1.2), replace(B, sound=1.0, sound_rate=44100, sound_gap=(0.7, 0.9))
    report = join([part(loud[0]), part(loud[1], 0.5)], tmp_path / "film.mp4")
    sound = read_sound(tmp_path / "film.mp4")
    assert (report.starts, report.seconds) == ((0.0, 0.5), 1.5)
    assert len(sound) == pytest.approx(1.5 * 48000, abs=1024)
    assert (
        loudness(sound, 1.25, 1.35)
        < 0.02
        < min(loudness(sound, 1.1, 1.18), loudness(sound, 1.44, 1.5))
    )
    assert [tone_at(sound, 0.3), tone_at(sound, 1.05)] == pytest.approx([880, 1320], abs=11)
    alone = strength(sound, 0.3)
    assert strength(sound, 1.1) == pytest.approx(alone, rel=0.1)
    # Two tones beat against each other: over the fade their strength is that of one only on
    # average.
    middle = [strength(sound, 0.55 + place * 0.02) for place in range(20)]
    assert sum(middle) / len(middle) == pytest.approx(alone, rel=0.15)


@pytest.mark.parametrize("leaving", [True, False], ids=["into silence", "out of silence"])
def test_sound_fades_against_silence(tmp_path: Path, leaving: bool) -> None:
    """A clip without sound counts as silent: the other's sound goes or comes over the fade."""
    late = replace(A, sound=0.7, sound_from=0.3)
    cast = [late, B] if leaving else [A, replace(B, sound=1.0)]
    join([part(cast[0]), part(cast[1], 0.5)], tmp_path / "film.mp4")
    sound = read_sound(tmp_path / "film.mp4")
    levels = [strength(sound, second) / (0.3 / 2**0.5) for second in (0.4, 0.6, 0.75, 0.9, 1.1)]
    expected = (1.0, 0.95, 0.71, 0.31, 0.0)
    assert levels == pytest.approx(expected if leaving else expected[::-1], abs=0.06)
    assert len(sound) == pytest.approx(1.5 * 48000, abs=1024)


@pytest.mark.slow
def test_sound_stays_in_step_over_many_fades(tmp_path: Path) -> None:
    """Twenty clips faded into each other: each one's sound stays with its pictures."""
    cast = [
        replace(A, clip=number, frames=12, sound=0.5 if number % 2 else None)
        for number in range(20)
    ]
    report = join([part(recipe, 0.1) for recipe in cast], tmp_path / "film.mp4")
    sound = read_sound(tmp_path / "film.mp4")
    assert report.frames == 20 * 12 - 19 * 2
    assert len(sound) == pytest.approx(report.seconds * 48000, abs=1024)
    for number, start in enumerate(report.starts):
        middle = loudness(sound, start + 0.2, start + 0.3)
        assert (middle > 0.1) == (number % 2 == 1), f"clip {number}"


def test_chapters_begin_where_their_clip_begins_to_show(tmp_path: Path) -> None:
    """A clip's first chapter begins with the fade; one that would begin later is left out."""
    marks = [Chapter("one"), Chapter("two", 0.5), Chapter("late", 0.9)]
    parts = [replace(part(A), chapters=marks), replace(part(B, 0.25), chapters=marks)]
    join(parts, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        found = [
            (mark["metadata"]["title"], mark["start"], mark["end"]) for mark in film.chapters()
        ]
    assert found == [
        ("one", 0, 500),
        ("two", 500, 750),
        ("one", 750, 1250),
        ("two", 1250, 1650),
        ("late", 1650, 1750),
    ]


def test_a_faded_film_is_the_same_every_time(tmp_path: Path) -> None:
    """Two runs give the same bytes, fades and sound included."""
    # x264 does not repeat itself on the tiny pictures of the other tests: see `film_file`.
    large = [replace(each, width=320, height=180, sound=1.0) for each in (A, C)]
    hashes = set()
    for name in ("one.mp4", "two.mp4"):
        join([part(large[0]), part(B, 0.4), part(large[1], 0.4, 20)], tmp_path / name)
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("spoilt", "first"), [(0, 0.9), (1, 0.0), (1, 0.5)], ids=["leaving", "coming", "later on"]
)
def test_damage_in_a_fade_names_its_clip(tmp_path: Path, spoilt: int, first: float) -> None:
    """While two clips are open, it is told which cannot be decoded; nothing is left behind."""
    clips = [make_clip(A), make_clip(B)]
    clips[spoilt] = blank_media(clips[spoilt], first)
    parts = [Part(io.BytesIO(data), [Chapter("a clip")], None, 0.5) for data in clips]
    with pytest.raises(NotAVideo, match=f"^clip {spoilt + 1}: [^:]*decoded"):
        join(parts, tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
