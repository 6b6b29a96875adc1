"""Joined films: every picture in order, the sound in step, all or nothing on disk."""

import functools
import hashlib
import io
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import last_frame
from prefect_kling.studio.media.join import Chapter, JoinReport, Part, join
from prefect_kling.studio.media.probe import read_facts
from tests.lane import rest_is_slow
from tests.studio.media.clips import (
    Box,
    Recipe,
    blank_media,
    boxes,
    codes_of,
    drop_start,
    loudness,
    make_clip,
    patch,
    read_code,
    read_codes,
    read_sound,
    tone_at,
)

A, B, C = (Recipe(clip=number) for number in (1, 2, 3))
X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}
OTHER_SETTINGS = {"preset": "veryfast", "crf": "26"}
SAME_MAKE = {
    "silent": (A, B, C),
    "one clip": (B,),
    "the same clip twice": (A, A),
    "sound as long": (replace(A, sound=1.0), replace(B, sound=1.0), replace(C, sound=1.0)),
    "sound longer": (replace(A, sound=1.5), replace(B, sound=1.4), replace(C, sound=1.3)),
    "sound shorter": (replace(A, sound=0.7), replace(B, sound=0.2), replace(C, sound=0.9)),
    "one without sound": (replace(A, sound=1.0), B, replace(C, sound=1.0)),
    "sounds of other makes": (
        replace(A, sound=1.2, sound_rate=44100),
        replace(B, sound=1.2, layout="mono"),
        replace(C, sound=1.2),
    ),
    "lone pictures": (replace(A, frames=1), B, replace(C, frames=1), replace(A, clip=4, frames=2)),
    "other containers": (
        replace(A, movflags="frag_keyframe+empty_moov"),
        replace(B, movflags="faststart"),
        replace(C, start=240),
    ),
    "other lengths": (replace(A, frames=37), replace(B, frames=25), replace(C, frames=12)),
    "many B-frames": tuple(replace(each, frames=30, gop=30, b_frames=8) for each in (A, B)),
    "open GOP": tuple(
        replace(each, frames=30, x264={"x264-params": "open-gop=1"}) for each in (A, B)
    ),
    "HEVC": tuple(replace(each, codec="libx265", x264=X265) for each in (A, B)),
    "HEVC for QuickTime": tuple(
        replace(each, codec="libx265", x264=X265, tag="hvc1") for each in (A, B)
    ),
    "slow pictures after quick ones": tuple(
        replace(
            each, time_base=Fraction(1, 1000), ticks=[*range(0, 1900, 100), *range(1808, 1848, 8)]
        )
        for each in (A, B)
    ),
    "variable rate": tuple(
        replace(each, time_base=Fraction(1, 1000), ticks=[n * 41 + n % 3 * 7 for n in range(24)])
        for each in (A, B)
    ),
}
OTHER_MAKE = {
    "other settings": (A, replace(B, x264=OTHER_SETTINGS), replace(C, b_frames=0)),
    "other codec": (A, replace(B, codec="libx265", x264=X265)),
    "same shape, other size": (A, replace(B, width=320, height=180), C),
    "other colours": (
        A,
        replace(B, colour={"colorspace": 1, "color_primaries": 1, "color_trc": 1}),
    ),
    "other tag": (
        replace(A, codec="libx265", x264=X265),
        replace(B, codec="libx265", x264=X265, tag="hvc1"),
    ),
    "other time base": (A, replace(B, timescale="90000")),
    "sound in one": (replace(A, sound=1.5), replace(B, x264=OTHER_SETTINGS), C),
    "other start": (replace(A, start=240), replace(B, x264=OTHER_SETTINGS)),
    "lone pictures of other makes": (
        replace(A, frames=1),
        replace(B, frames=1, x264=OTHER_SETTINGS),
        C,
    ),
}
SEVERAL = {"silent", "open GOP", "variable rate", "other codec", "other start"}
PICTURE = 1 / 24


@functools.cache
def _clip(index: str) -> bytes:
    return make_clip(RECIPES[index])


RECIPES = {
    repr(recipe): recipe for cast in (*SAME_MAKE.values(), *OTHER_MAKE.values()) for recipe in cast
}


def clip(recipe: Recipe) -> bytes:
    """Make a clip, once if it belongs to the lists above."""
    return _clip(repr(recipe)) if repr(recipe) in RECIPES else make_clip(recipe)


def made(folder: Path, recipes: Sequence[Recipe]) -> tuple[Path, JoinReport]:
    """Join clips of these recipes."""
    paths = [folder / f"{number}.mp4" for number in range(len(recipes))]
    for path, recipe in zip(paths, recipes, strict=True):
        path.write_bytes(clip(recipe))
    target = folder / "film.mp4"
    return target, join(whole(*paths), target)


def whole(*sources: Path | bytes) -> list[Part]:
    """Show each clip as it is, under one title."""
    films = [io.BytesIO(source) if isinstance(source, bytes) else source for source in sources]
    return [Part(film, [Chapter(f"Clip {number}")]) for number, film in enumerate(films, 1)]


def length(recipe: Recipe) -> float:
    """Say how many seconds the pictures of a clip take, the last as long as the one before."""
    if recipe.ticks and recipe.time_base:
        return float((2 * recipe.ticks[-1] - recipe.ticks[-2] - recipe.ticks[0]) * recipe.time_base)
    return float(recipe.frames / recipe.rate)


def stamps(film: Path) -> list[tuple[int, int]]:
    """Read the (pts, dts) of every picture packet."""
    with av.open(str(film)) as container:
        return [
            (packet.pts, packet.dts)
            for packet in container.demux(video=0)
            if packet.pts is not None
        ]


def digest(path: Path) -> str:
    """Hash a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", rest_is_slow(SAME_MAKE, *SAME_MAKE.keys() & SEVERAL))
def test_clips_of_one_make_are_copied(tmp_path: Path, name: str) -> None:
    """Every picture is there, in order, none twice, at its time; the report says so."""
    recipes = SAME_MAKE[name]
    film, report = made(tmp_path, recipes)
    seconds = [length(recipe) for recipe in recipes]
    doubt = sum(PICTURE if recipe.ticks else 1e-6 for recipe in recipes)
    assert read_codes(film) == codes_of(*recipes)
    assert report.model_dump() == {
        "frames": sum(recipe.frames for recipe in recipes),
        "seconds": pytest.approx(sum(seconds), abs=doubt),
        "re_encoded": False,
        "audio": any(recipe.sound for recipe in recipes),
        "starts": pytest.approx(tuple(accumulate(seconds[:-1], initial=0.0)), abs=doubt),
        "lengths": pytest.approx(tuple(seconds), abs=doubt),
    }


@pytest.mark.parametrize("name", OTHER_MAKE)
def test_clips_of_different_makes_are_encoded_anew(tmp_path: Path, name: str) -> None:
    """Every picture is there, in order, none twice, at its time; the report says so."""
    recipes = OTHER_MAKE[name]
    film, report = made(tmp_path, recipes)
    frames = [recipe.frames for recipe in recipes]
    assert read_codes(film) == codes_of(*recipes)
    assert report.model_dump() == {
        "frames": sum(frames),
        "seconds": pytest.approx(sum(frames) * PICTURE),
        "re_encoded": True,
        "audio": any(recipe.sound for recipe in recipes),
        "starts": pytest.approx(
            tuple(start * PICTURE for start in accumulate(frames[:-1], initial=0))
        ),
        "lengths": pytest.approx(tuple(length * PICTURE for length in frames)),
    }


@pytest.mark.parametrize("name", rest_is_slow([*SAME_MAKE, *OTHER_MAKE], *SEVERAL))
def test_a_film_is_a_proper_file(tmp_path: Path, name: str) -> None:
    """Times rise, the header comes first, and a player finds the last picture."""
    recipes = (SAME_MAKE | OTHER_MAKE)[name]
    film, report = made(tmp_path, recipes)
    times = stamps(film)
    assert all(before[1] < after[1] for before, after in pairwise(times))
    assert all(dts <= pts for pts, dts in times)
    assert min(times)[0] == 0
    assert len({pts for pts, _ in times}) == report.frames
    assert [kind for kind, _, _ in boxes(film.read_bytes())][:2] == ["ftyp", "moov"]
    with film.open("rb") as file:
        facts = read_facts(file)
    assert (
        facts.codec == (recipes[0].tag or ("hev1" if recipes[0].codec == "libx265" else "avc1"))
        or report.re_encoded
    )
    assert (facts.frames, facts.audio) == (report.frames, report.audio)
    assert facts.seconds == pytest.approx(report.seconds, abs=PICTURE)
    assert last_frame(film).media_type == "image/png"


def test_copied_pictures_are_the_same_bytes(tmp_path: Path) -> None:
    """Copying loses nothing: each packet of each clip stands in the film as it was."""
    film, _ = made(tmp_path, SAME_MAKE["sound longer"])

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    assert packets(film) == [
        packet for number in range(3) for packet in packets(tmp_path / f"{number}.mp4")
    ]


def test_pictures_stay_where_they_were_in_their_clip(tmp_path: Path) -> None:
    """A variable rate survives copying: each picture keeps its time in the clip."""
    film, report = made(tmp_path, SAME_MAKE["variable rate"])
    begins = [round(start * 1000) for start in report.starts]
    with av.open(str(film)) as container:
        shown = [round(frame.time * 1000) for frame in container.decode(video=0)]
    ticks = SAME_MAKE["variable rate"][0].ticks
    assert ticks is not None
    assert shown == [begin + tick for begin in begins for tick in ticks]


@pytest.mark.parametrize("settings", [{}, OTHER_SETTINGS], ids=["copied", "encoded"])
def test_each_clip_keeps_its_sound(tmp_path: Path, settings: dict[str, str]) -> None:
    """Sound starts with its clip and is cut or padded to it; without sound it is silent."""
    cast = [
        replace(A, sound=1.5),
        replace(B, sound=0.5, sound_rate=44100, layout="mono"),
        C,
        replace(A, clip=4, sound=1.0, x264=settings),
    ]
    film, _ = made(tmp_path, cast)
    sound = read_sound(film)
    assert len(sound) == pytest.approx(4 * 48000, abs=1024)
    assert [tone_at(sound, second) for second in (0.3, 0.8, 1.3, 3.5)] == pytest.approx(
        [880, 880, 1320, 2200], abs=11
    )
    assert loudness(sound, 1.0 + 0.5 + 0.05, 3.0 - 0.01) < 0.02 < loudness(sound, 1.3, 1.49)
    assert loudness(sound, 2.99 - 0.05, 2.99) < 0.02 < loudness(sound, 3.005, 3.02)


@pytest.mark.slow
def test_sound_is_cut_to_the_pictures_of_many_clips(tmp_path: Path) -> None:
    """Thirty clips with longer sound than pictures do not push the last one's sound late."""
    short = [
        Recipe(clip=number, frames=7, sound=0.35 if number % 2 else None) for number in range(30)
    ]
    film, report = made(tmp_path, short)
    sound = read_sound(film)
    assert len(sound) == pytest.approx(report.seconds * 48000, abs=1024)
    for number, start in enumerate(report.starts):
        middle = loudness(sound, start + 0.1, start + 0.2)
        assert (middle > 0.1) == (number % 2 == 1), f"clip {number}"


def test_a_film_of_silent_clips_has_no_sound(tmp_path: Path) -> None:
    """A sound track is made only if a clip has one."""
    film, report = made(tmp_path, SAME_MAKE["silent"])
    with av.open(str(film)) as container:
        assert not container.streams.audio
    assert not report.audio


def test_late_and_broken_sound_stays_in_its_place(tmp_path: Path) -> None:
    """Sound that starts late, pauses, or belongs to a late clip is not moved."""
    late = replace(A, sound=0.5, sound_from=0.4)
    broken = replace(B, sound=1.0, sound_gap=(0.3, 0.7))
    shifted = replace(C, start=240, sound=1.0, sound_from=10.0)
    film, _ = made(tmp_path, [late, broken, shifted])
    sound = read_sound(film)
    assert loudness(sound, 0.0, 0.35) < 0.02 < loudness(sound, 0.45, 0.8)
    assert (
        loudness(sound, 1.42, 1.62)
        < 0.02
        < min(loudness(sound, 1.1, 1.25), loudness(sound, 1.78, 1.9))
    )
    assert [tone_at(sound, second) for second in (0.6, 1.15, 1.85, 2.2, 2.8)] == pytest.approx(
        [880, 1320, 1320, 1760, 1760], abs=11
    )


@pytest.mark.parametrize(
    "third", [C, replace(C, x264=OTHER_SETTINGS, gop=1)], ids=["copied", "encoded"]
)
def test_each_clip_starts_with_a_key_frame(tmp_path: Path, third: Recipe) -> None:
    """A player can jump to each clip; the encoder does not repeat the source's picture kinds."""
    film, _ = made(tmp_path, (A, B, third))
    with av.open(str(film)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        keys = {packet.pts * packet.time_base for packet in packets if packet.is_keyframe}
    assert {0, 1, 2} <= keys
    assert len(keys) <= 6


UPRIGHT = replace(B, width=90, height=160)


@pytest.mark.parametrize(
    ("cast", "size", "regions"),
    [
        ((A, UPRIGHT, C), (160, 90), {2: (55, 0, 50, 90)}),
        ((UPRIGHT, A, replace(UPRIGHT, clip=3)), (90, 160), {1: (0, 55, 90, 50)}),
        ((UPRIGHT, A), (90, 160), {1: (0, 55, 90, 50)}),
        ((A, replace(B, width=320, height=180), replace(C, width=320, height=180)), (320, 180), {}),
    ],
    ids=["one upright", "most upright", "a tie goes to the first", "most larger"],
)
def test_the_film_has_the_size_most_clips_have(
    tmp_path: Path, cast: Sequence[Recipe], size: tuple[int, int], regions: dict[int, Box]
) -> None:
    """A clip of another shape keeps its shape between black bars."""
    film, _ = made(tmp_path, cast)
    found = []
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            assert (frame.width, frame.height) == size
            shown = cast[len(found) // 24].clip
            found.append(read_code(frame, regions.get(shown)))
            if shown in regions:
                plane = memoryview(frame.planes[0])
                assert plane[2] <= 20
                assert plane[(frame.height - 3) * frame.planes[0].line_size + frame.width - 3] <= 20
    assert found == codes_of(*cast)


def test_a_clip_of_another_rate_is_fitted_to_the_film(tmp_path: Path) -> None:
    """Most clips set the rate; the other keeps length and order, the rest lose nothing."""
    fast = replace(B, frames=30, rate=Fraction(30))
    film, report = made(tmp_path, (A, fast, C))
    codes = read_codes(film)
    assert (report.frames, report.seconds) == (72, pytest.approx(3.0))
    assert codes[:24] + codes[48:] == codes_of(A, C)
    assert {number for number, _ in codes[24:48]} == {2}
    assert codes[24:48] == sorted(set(codes[24:48]))


def test_pictures_of_any_length_fill_their_time(tmp_path: Path) -> None:
    """Clips of a variable rate are fitted too, even one with a single short picture."""
    slow = replace(A, frames=6, rate=Fraction(5))
    blink = replace(B, frames=1)
    jumpy = replace(C, frames=6, time_base=Fraction(1, 1000), ticks=[0, 20, 61, 461, 462, 866])
    film, report = made(tmp_path, (slow, blink, jumpy, replace(slow, clip=4)))
    codes = read_codes(film)
    assert codes == sorted(codes)
    assert len(codes) == report.frames
    assert [number for number, _ in codes].count(2) == 1
    assert report.starts[3] - report.starts[2] == pytest.approx(0.866 + 0.2, abs=0.2)


def test_pictures_hidden_by_an_edit_list_stay_hidden(tmp_path: Path) -> None:
    """A trimmed clip of the same make is not copied: that would show what was cut away."""
    trimmed = patch(clip(B), "moov/trak/edts/elst", 8, struct.pack(">I", 500))
    report = join(whole(clip(A), trimmed, clip(C)), tmp_path / "film.mp4")
    assert read_codes(tmp_path / "film.mp4") == codes_of(A, replace(B, frames=12), C)
    assert report.re_encoded


def test_pictures_that_cannot_be_decoded_are_not_copied(tmp_path: Path) -> None:
    """A clip cut at an open GOP builds on what is gone, and never on another clip."""
    open_gop = replace(B, frames=48, x264={"x264-params": "open-gop=1"})
    sound, cut = clip(replace(open_gop, clip=1)), drop_start(clip(open_gop), 2)
    report = join(whole(sound, cut, sound), tmp_path / "film.mp4")
    codes = read_codes(tmp_path / "film.mp4")
    assert report.re_encoded
    assert codes == sorted(codes[:48]) + sorted(codes[48:-48]) + sorted(codes[-48:])
    assert {number for number, _ in codes[48:-48]} == {2}
    assert codes[-49] == (2, 47)


def test_encoded_pictures_keep_their_colours(tmp_path: Path) -> None:
    """An untagged HD clip is read as players read it, and its colours are converted once."""
    big = replace(A, width=1280, height=720, frames=2, chroma=(90, 200))
    film, report = made(tmp_path, (big, replace(big, clip=2, x264=OTHER_SETTINGS)))
    with av.open(str(film)) as container:
        frames = list(container.decode(video=0))
    assert report.re_encoded
    assert {(frame.colorspace, frame.color_range) for frame in frames} == {(1, 1)}
    for frame, plane, wanted in [
        (frame, plane, wanted) for frame in frames for plane, wanted in ((1, 90), (2, 200))
    ]:
        assert abs(bytes(frame.planes[plane])[5000] - wanted) <= 2


@pytest.mark.parametrize("third", [C, replace(C, x264=OTHER_SETTINGS)], ids=["copied", "encoded"])
def test_a_player_can_jump_to_every_chapter(tmp_path: Path, third: Recipe) -> None:
    """A clip of several shots has a chapter for each, at its place in the film."""
    marks = [[("Dawn", 0.0)], [("Übergang", 0.0), ("Hafen", 0.25), ("Boot", 0.75)], [("Dusk", 0.5)]]
    parts = [
        Part(io.BytesIO(clip(recipe)), [Chapter(*mark) for mark in each])
        for recipe, each in zip((A, B, third), marks, strict=True)
    ]
    join(parts, tmp_path / "film.mp4")
    expected = [("Dawn", 0), ("Übergang", 1), ("Hafen", 1.25), ("Boot", 1.75), ("Dusk", 2.5)]
    assert chapters_of(tmp_path / "film.mp4") == expected


def chapters_of(path: Path) -> list[tuple[str, float]]:
    """Read title and start of every chapter, and see that each ends where the next one begins."""
    with av.open(str(path)) as film:
        found = film.chapters()
        assert [each["end"] for each in found[:-1]] == [each["start"] for each in found[1:]]
        return [
            (each["metadata"]["title"], float(each["start"] * each["time_base"])) for each in found
        ]


@pytest.mark.parametrize("name", ["sounds of other makes", "sound in one"])
def test_the_same_clips_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    """Copied or encoded, from paths or open files: a film made twice is one film."""
    # x264 does not repeat itself on the tiny pictures of the other tests: see `film_file`.
    recipes = [replace(recipe, width=320, height=180) for recipe in (SAME_MAKE | OTHER_MAKE)[name]]
    film, _ = made(tmp_path, recipes)
    join(whole(*(clip(recipe) for recipe in recipes)), tmp_path / "again.mp4")
    assert digest(film) == digest(tmp_path / "again.mp4")


def test_nothing_in_a_film_tells_of_the_day_or_the_machine(tmp_path: Path) -> None:
    """No date and no program version is written, and x264 runs with a set number of threads."""
    film, _ = made(tmp_path, OTHER_MAKE["other settings"])
    with av.open(str(film)) as container:
        assert set(container.metadata) == {"major_brand", "minor_version", "compatible_brands"}
    assert b" threads=4 " in film.read_bytes()
    assert b" sliced_threads=0 " in film.read_bytes()


def test_a_film_can_be_joined_again(tmp_path: Path) -> None:
    """A film with sound and chapters is a clip like any other."""
    film, _ = made(tmp_path, SAME_MAKE["sound longer"])
    report = join(whole(film, film), tmp_path / "twice.mp4")
    assert read_codes(tmp_path / "twice.mp4") == codes_of(*SAME_MAKE["sound longer"]) * 2
    assert not report.re_encoded


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda: clip(B)[:-1], "clip 2: the file is cut"),
        (lambda: b"<html>", "clip 2: this is an HTML page"),
        (
            lambda: blank_media(clip(OTHER_MAKE["other settings"][1]), first=0.5),
            "clip 2: the video cannot be decoded",
        ),
    ],
    ids=["cut", "a page", "damaged within"],
)
def test_a_bad_clip_leaves_nothing_behind(
    tmp_path: Path, spoil: Callable[[], bytes], why: str
) -> None:
    """The clip is named, the old film stays as it was, and no temporary file is left."""
    target = tmp_path / "film.mp4"
    target.write_bytes(b"the film of yesterday")
    with pytest.raises(NotAVideo, match=why):
        join(whole(clip(A), spoil(), clip(C)), target)
    assert target.read_bytes() == b"the film of yesterday"
    assert list(tmp_path.iterdir()) == [target]


def test_pictures_that_get_lost_are_missed(tmp_path: Path) -> None:
    """A decoder may pass over damage in silence: a clip that ends early is refused."""
    data = bytearray(clip(replace(A, codec="libx265", x264=X265)))
    with av.open(io.BytesIO(data)) as film:
        newest = max(
            (packet for packet in film.demux(video=0) if packet.size), key=lambda packet: packet.pts
        )
        at, size = newest.pos, newest.size
    filler = b"\x4c\x01" + b"\xff" * (size - 7) + b"\x80"
    data[at : at + size] = struct.pack(">I", size - 4) + filler
    assert len(read_codes(io.BytesIO(data))) < 24
    with pytest.raises(NotAVideo, match="clip 2: its end cannot be decoded"):
        join(whole(clip(B), bytes(data)), tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    """No error of the media library leaks, and the target is named."""
    with pytest.raises(FileNotFoundError, match=r"film\.mp4"):
        join(whole(clip(A)), tmp_path / "no such folder" / "film.mp4")


def test_a_film_needs_a_clip(tmp_path: Path) -> None:
    """Nothing to join is the caller's mistake; nothing is left behind."""
    with pytest.raises(ValueError, match="at least one clip"):
        join([], tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"chapters": []}, "chapter"),
        ({"chapters": [Chapter("a", -0.1)]}, "chapter"),
        ({"chapters": [Chapter("a", 2.0), Chapter("b", 1.0)]}, "chapter"),
        ({"pictures": 0}, "picture"),
        ({"fade_seconds": -0.5}, "fade"),
        ({"fade_seconds": math.nan}, "fade"),
        ({"fade_seconds": math.inf}, "fade"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_no_part(wrong: dict[str, Any], why: str) -> None:
    """A part without chapters or pictures, or a fade of no length, is the caller's mistake."""
    with pytest.raises(ValueError, match=why):
        Part(**{"source": io.BytesIO(), "chapters": [Chapter("a")]} | wrong)
