"""Joining clips into one film: all pictures in order, the sound in step, the file whole or absent.

The pictures of clips of the same make are copied (`splice`). Any difference, any fade, and a cut
that is impossible without encoding mean that all are encoded again (`montage`). The sound is always
encoded again (`soundtrack`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import OutputContainer
from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.film_file import MUXER, whole_file
from prefect_kling.studio.media.footage import Footage, survey
from prefect_kling.studio.media.montage import Montage
from prefect_kling.studio.media.probe import inspect
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
    """A clip and how a film shows it. Raises `ValueError` for values that make no sense."""

    source: Path | BinaryIO
    """A path, or a seekable file that is left open."""
    chapters: Sequence[Chapter]
    """At least one, in the order of their starts."""
    pictures: int | None = None
    """How many pictures are shown, counted from the first; all for None or a larger number."""
    fade_seconds: float = 0.0
    """How long the clip before fades into this one. Both are shown then: the film gets shorter."""

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

    Pictures are copied if all clips are of one make, none is faded, and each can be cut where it is
    to end. Otherwise all are encoded again, letterboxed to the most common size, at the most common
    rate. A fade is at most half as long as either clip; one into the first clip is ignored. The
    film has sound if any clip has; each clip's sound is padded or cut to its pictures, and faded
    with them. A chapter that begins after the next clip has begun is left out.

    The same clips give the same bytes. Memory stays bounded. Raises `NotAVideo` with the number of
    the clip, counted from 1, `ValueError` without parts, and `OSError` if the film cannot be
    written; `target` is then as it was. Calling twice is safe.
    """
    clips = [survey(part.source, number, part.pictures) for number, part in enumerate(parts, 1)]
    if not clips:
        raise ValueError("a film needs at least one clip")
    with whole_file(target) as path:
        with av.open(str(path), "w", format="mp4", container_options=MUXER) as film:
            pictures = _lay_pictures(film, clips, parts)
            sound = None
            if any(clip.sounding for clip in clips):
                sound = Soundtrack(film, clips, pictures.schedule)
            _mark_chapters(film, parts, pictures.schedule)
            _write(film, len(clips), pictures, sound)
        with path.open("rb") as file:
            frames = inspect(file)[0].frames
        if frames != pictures.frames:
            raise NotAVideo(
                f"the film came out with {frames:,} pictures instead of {pictures.frames:,}"
            )
    return JoinReport(
        frames=pictures.frames,
        seconds=float(pictures.schedule.end),
        re_encoded=isinstance(pictures, Montage),
        audio=sound is not None,
        starts=tuple(map(float, pictures.schedule.starts)),
        lengths=tuple(map(float, pictures.schedule.lengths)),
    )


def _lay_pictures(
    film: OutputContainer, clips: Sequence[Footage], parts: Sequence[Part]
) -> Splice | Montage:
    fades = [part.fade_seconds for part in parts]
    one_make = len({clip.make for clip in clips}) == 1 and all(clip.copyable for clip in clips)
    if one_make and not any(fades[1:]):
        return Splice(film, clips)
    return Montage(film, clips, fades)


def _mark_chapters(film: OutputContainer, parts: Sequence[Part], schedule: Schedule) -> None:
    marks = [*_marks(parts, schedule), (round(schedule.end * 1000), "")]
    chapters: list[Any] = []
    for (start, title), (end, _) in pairwise(marks):
        chapters.append(
            {
                "id": len(chapters),
                "start": start,
                "end": end,
                "time_base": Fraction(1, 1000),
                "metadata": {"title": title},
            }
        )
    film.set_chapters(chapters)


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
    """Write clip by clip. The sound goes first: less of it than of the pictures waits in memory."""
    for number in range(count):
        if sound is not None:
            for packet in sound.packets(number):
                film.mux(packet)
        for packet in pictures.packets(number):
            film.mux(packet)

    if sound is not None:
        film.mux([*sound.rest()])
    film.mux([*pictures.rest()])
