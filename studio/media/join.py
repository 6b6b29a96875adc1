"""Clips joined into one film: every picture in order, the sound in step, the file written whole or not at all.

Clips of the same make keep their pictures bit by bit (`splice`); any difference, a cut where none is possible without
encoding, and any fade mean encoding all of them anew (`montage`). The sound is always made anew (`soundtrack`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

import av
from av.container import OutputContainer
from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.film_file import MUXER, whole_file
from prefect_kling.studio.media.footage import Footage, survey
from prefect_kling.studio.media.montage import Montage
from prefect_kling.studio.media.probe import read_facts
from prefect_kling.studio.media.schedule import Schedule
from prefect_kling.studio.media.soundtrack import Soundtrack
from prefect_kling.studio.media.splice import Splice


@dataclass(frozen=True)
class Chapter:
    """A place in a clip that a player can jump to."""

    title: str
    start: float = 0.0
    """In seconds after the beginning of its clip."""


@dataclass(frozen=True)
class Part:
    """A clip and how a film shows it. Raises `ValueError` where that cannot be meant."""

    source: Path | BinaryIO
    """A path, or a seekable file that is left open."""
    chapters: Sequence[Chapter]
    """At least one, in the order of their starts."""
    pictures: int | None = None
    """Only the first so many are shown; None, or more than there are: all."""
    fade_seconds: float = 0.0
    """How long the clip before fades into this one: both are shown at once, so the film becomes shorter by this."""

    def __post_init__(self) -> None:
        starts = [0.0, *(chapter.start for chapter in self.chapters)]
        if not self.chapters or not all(before <= after for before, after in pairwise(starts)):
            raise ValueError("a part needs at least one chapter, and their starts rise from 0 on")
        if self.pictures is not None and self.pictures < 1:
            raise ValueError("a part shows at least one picture")
        if not 0 <= self.fade_seconds < math.inf:
            raise ValueError("a fade has a length")


class JoinReport(BaseModel):
    """What a film turned out to be."""

    model_config = ConfigDict(frozen=True)

    frames: int
    seconds: float
    re_encoded: bool
    """False if the pictures of all clips were copied without loss."""
    audio: bool
    starts: tuple[float, ...]
    """The second at which each clip begins; the fade into it begins there too."""
    lengths: tuple[float, ...]
    """How many seconds of each clip are shown, those that overlap with another clip included."""


def join(parts: Sequence[Part], target: Path) -> JoinReport:
    """Join clips into the MP4 `target`, each with its chapters.

    Pictures are copied if all clips are of one make, none is faded, and each can be cut where it is to end; otherwise
    all are encoded anew, letterboxed to the most common size at the most common rate, and a clip of another rate is
    fitted to it. A fade is at most half as long as either clip, and one into the first clip is none. The film has
    sound if any clip has; each clip's sound is padded or cut to its pictures, and faded with them. A chapter that
    begins when the next clip has already begun is left out. The same clips give the same bytes. Memory stays bounded.

    Raises `NotAVideo` naming the clip by its place, counted from 1, `ValueError` without parts, and `OSError` if the
    film cannot be written; `target` is then as it was. Calling twice is safe.
    """
    clips = [survey(part.source, number, part.pictures) for number, part in enumerate(parts, 1)]
    if not clips:
        raise ValueError("a film needs at least one clip")
    with whole_file(target) as path:
        with av.open(str(path), "w", format="mp4", container_options=MUXER) as film:
            pictures = _lay_pictures(film, clips, parts)
            sounding = any(clip.sounding for clip in clips)
            sound = Soundtrack(film, clips, pictures.schedule) if sounding else None
            _mark_chapters(film, parts, pictures.schedule)
            _write(film, len(clips), pictures, sound)
        with path.open("rb") as file:
            if (found := read_facts(file).frames) != pictures.frames:
                raise NotAVideo(
                    f"the film came out with {found:,} pictures instead of {pictures.frames:,}"
                )
    return JoinReport(
        frames=pictures.frames,
        seconds=float(pictures.schedule.end),
        re_encoded=isinstance(pictures, Montage),
        audio=sounding,
        starts=tuple(map(float, pictures.schedule.starts)),
        lengths=tuple(map(float, pictures.schedule.lengths)),
    )


def _lay_pictures(
    film: OutputContainer, clips: Sequence[Footage], parts: Sequence[Part]
) -> Splice | Montage:
    fades = [part.fade_seconds for part in parts]
    one_make = len({clip.make for clip in clips}) == 1 and all(clip.copyable for clip in clips)
    return Splice(film, clips) if one_make and not any(fades[1:]) else Montage(film, clips, fades)


def _mark_chapters(film: OutputContainer, parts: Sequence[Part], schedule: Schedule) -> None:
    marks = [*_marks(parts, schedule), (round(schedule.end * 1000), "")]
    film.set_chapters(
        [
            {
                "id": number,
                "start": start,
                "end": end,
                "time_base": Fraction(1, 1000),
                "metadata": {"title": title},
            }
            for number, ((start, title), (end, _)) in enumerate(pairwise(marks))
        ]
    )


def _marks(parts: Sequence[Part], schedule: Schedule) -> Iterator[tuple[int, str]]:
    """Yield where the chapters begin in the film, in milliseconds, with their titles."""
    for number, part in enumerate(parts):
        until = round(schedule.until(number) * 1000)
        for chapter in part.chapters:
            start = round((schedule.starts[number] + Fraction(chapter.start)) * 1000)
            if start < until:
                yield start, chapter.title


def _write(
    film: OutputContainer, count: int, pictures: Splice | Montage, sound: Soundtrack | None
) -> None:
    """Write clip by clip, the sound first: it is the smaller one to wait in memory for the other."""
    for number in range(count):
        for packet in chain(sound.packets(number) if sound else (), pictures.packets(number)):
            film.mux(packet)
    film.mux([*(sound.rest() if sound else ()), *pictures.rest()])
