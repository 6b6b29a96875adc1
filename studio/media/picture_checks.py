"""What is suspicious about a clip: checks of its pictures and its sound, which only ever warn.

One pass decodes the clip and shrinks each picture to 64x36; libavfilter finds what is black, frozen
or cut in these, and measures the sound. Of H.264, pictures that no other depends on are skipped,
which halves the decoding.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageChops, ImageOps, ImageStat
from pydantic import BaseModel, ConfigDict, Field

from prefect_kling.studio.media.frames import (
    buffer_step,
    drain,
    filter_graph,
    open_film,
    tone_steps,
    upright_steps,
)

MOST_PICTURES = 1_200
"""Pictures that are looked at; 15 s at 60 a second are 900."""
MOST_PIXELS = 3_000_000_000
"""As many as 1,200 pictures of 1080p have; of larger ones fewer pictures are looked at."""

_SIZE = (64, 36)
_PRINT_SIZE = (16, 9)
_PRINT_MOMENTS = (0.125, 0.375, 0.625, 0.875)
_FIRST_SIZE = (32, 18)
_BLACK = "picture_black_ratio_th=0.99:pixel_black_th=0.06"
"""A picture is black if 99% of it are darker than 6% of the range."""
_FROZEN_NOISE = 0.0004
"""As a part of the range: pictures that differ by less are the same."""
_CUT_BEFORE = 0.5
_CUT_AFTER = 0.4
"""Seconds. After a flash, the picture is again what it was before."""
_SILENCE = -70.0
"""LUFS: the lowest that ITU-R BS.1770 measures."""


class PictureChecks(BaseModel):
    """When a clip is suspicious. Nothing is refused for it, sent again, or paid for."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, title="Picture checks")

    enabled: bool = Field(default=True, title="Check clips")
    """Whether clips are checked at all."""
    black_seconds: float = Field(default=1.0, title="Black (seconds)", ge=0)
    """A black stretch of this length; 0 leaves the check out."""
    frozen_seconds: float = Field(default=2.0, title="Nothing moves (seconds)", ge=0)
    """A stretch of this length in which nothing moves; 0 leaves the check out."""
    silent_lufs: float = Field(default=-60.0, title="Silent (LUFS)", le=0)
    """Sound that was ordered and is nowhere louder than this is silence."""
    quiet_lufs: float = Field(default=-45.0, title="Too quiet (LUFS)", le=0)
    """Sound that was ordered and is quieter on the whole (integrated loudness)."""
    loud_lufs: float = Field(default=-8.0, title="Too loud (LUFS)", le=0)
    """Sound that was ordered and is louder on the whole (integrated loudness)."""
    cut_percent: float = Field(default=10.0, title="Unordered cut (%)", ge=0, le=100)
    """Change of all pixels at once, on average, where no cut was ordered; 0 leaves it out."""
    duplicate_levels: float = Field(default=6.0, title="Duplicate (levels)", ge=0, le=255)
    """A clip is another's if no part of four pictures differs by more, of 255; 0 leaves it out."""
    first_frame_percent: float = Field(
        default=12.0, title="Far from the first frame (%)", ge=0, le=100
    )
    """Difference of the first picture from the ordered one, on average; 0 leaves it out."""


class Rule(StrEnum):
    """What is checked."""

    BLACK = "black"
    FROZEN = "frozen"
    SILENT = "silent"
    QUIET = "quiet"
    LOUD = "loud"
    CUT = "cut"
    DUPLICATE = "duplicate"
    FIRST_FRAME = "first frame"


class Suspicion(BaseModel):
    """One rule that a clip breaks: what was measured, and from where on that is suspicious."""

    model_config = ConfigDict(frozen=True)

    rule: str
    """A `Rule`; a later version may know others."""
    measured: float
    threshold: float
    at: float | None = None
    """Where in the clip, in seconds from its start."""
    clip_key: str = ""
    """The other clip, of a duplicate."""

    def __str__(self) -> str:
        return _WORDS.get(self.rule, "{0.rule}: {0.measured:g}").format(self)


_WORDS: dict[str, str] = {
    Rule.BLACK: "it is black for {0.measured:.1f} s from {0.at:.1f} s on",
    Rule.FROZEN: "nothing moves for {0.measured:.1f} s from {0.at:.1f} s on",
    Rule.SILENT: "sound was ordered, and it is silent (nowhere above {0.threshold:g} LUFS)",
    Rule.QUIET: "its sound is very quiet ({0.measured:.1f} LUFS)",
    Rule.LOUD: "its sound is very loud ({0.measured:.1f} LUFS)",
    Rule.CUT: "there seems to be a cut at {0.at:.1f} s, and none was ordered",
    Rule.DUPLICATE: "its pictures are those of clip {0.clip_key}",
    Rule.FIRST_FRAME: "its first picture is far from the ordered one ({0.measured:.0f}% off)",
}


class PictureReport(BaseModel):
    """What the checks found in a clip. Stored in its record."""

    model_config = ConfigDict(frozen=True)

    suspicions: tuple[Suspicion, ...] = ()
    looked_at_seconds: float = 0.0
    """How much of the clip was looked at."""
    loudness_lufs: float | None = None
    """Integrated loudness (EBU R 128); None without sound, or with less than 0.4 s of it."""
    fingerprint: str = ""
    """Four small pictures, in base64, by which another clip with the same pictures is found."""


@dataclass(frozen=True)
class Expected:
    """What a clip was ordered to be, as far as the checks ask for it."""

    seconds: float
    """How long the file says that it is."""
    sound: bool = False
    cuts: bool = False
    """Whether it may have cuts."""
    first_frame: bytes | None = None
    """The ordered first picture, a JPEG or PNG; None if there is none."""


@dataclass
class _Seen:
    """What one pass over a clip has collected."""

    pictures: list[Image.Image] = field(default_factory=list)
    """The brightness of each picture, 64x36."""
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """How suddenly each picture came, 0 to 100 (`scdet`)."""
    black: list[tuple[float, float]] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    """Where each stretch begins, and where it ends."""
    prints: list[bytes] = field(default_factory=list)
    first: Image.Image | None = None
    has_sound: bool = False
    momentary_lufs: float = _SILENCE
    """The loudest 0.4 s."""
    integrated_lufs: float | None = None


def check_pictures(
    source: BinaryIO | Path, expected: Expected, checks: PictureChecks
) -> PictureReport:
    """Look at a clip's pictures and sound and return what is suspicious. Reads only.

    Blocking; decodes most of the clip, up to 1,200 pictures. What it cannot know is whether it is
    the duplicate of another clip: `distance` compares two fingerprints. Raises `NotAVideo` where
    the clip cannot be decoded, and Pillow's errors for an unreadable first frame.
    """
    seen = _Seen()
    with open_film(source) as (film, video):
        _look(film, video, expected, checks, seen)
    end = expected.seconds
    looked_at = end
    if len(seen.pictures) >= _most_pictures(video):
        looked_at = seen.times[-1]
        end = looked_at
    found = [
        *_longest(Rule.BLACK, seen.black, end, checks.black_seconds),
        *_longest(Rule.FROZEN, seen.frozen, end, checks.frozen_seconds),
        *_cuts(seen, expected, checks),
        *_first_frame(seen, expected, checks),
        *_sound(seen, expected, checks),
    ]
    both = [each.at or 0.0 for each in found if each.rule in (Rule.BLACK, Rule.FROZEN)]
    if len(both) == 2 and abs(both[0] - both[1]) < checks.black_seconds:
        # What is black does not move, either.
        found = [each for each in found if each.rule != Rule.FROZEN]
    loudness = None
    if seen.has_sound and seen.integrated_lufs is not None:
        loudness = round(seen.integrated_lufs, 1)
    return PictureReport(
        suspicions=tuple(found),
        looked_at_seconds=round(looked_at, 3),
        loudness_lufs=loudness,
        fingerprint=base64.b64encode(b"".join(seen.prints)).decode(),
    )


def _most_pictures(video: VideoStream) -> int:
    pixels = max(1, video.width * video.height)
    return max(2, min(MOST_PICTURES, MOST_PIXELS // pixels))


def _look(
    film: InputContainer,
    video: VideoStream,
    expected: Expected,
    checks: PictureChecks,
    seen: _Seen,
) -> None:
    context = video.codec_context
    if context.name == "h264":  # only H.264 promises that nothing depends on these pictures
        context.skip_frame = "NONREF"
    streams: list[int] = [video.index]
    if film.streams.audio:
        seen.has_sound = True
        streams.append(film.streams.audio[0].index)
    graph: Graph | None = None
    meter: Graph | None = None
    start: float | None = None
    most = _most_pictures(video)
    for packet in film.demux(streams):
        for frame in packet.decode():
            if isinstance(frame, AudioFrame):
                if meter is None:
                    meter = _meter(frame)
                meter.push(frame)
                _read_meter(meter, seen)
            elif isinstance(frame, VideoFrame):
                if frame.pts is None or len(seen.pictures) >= most:
                    continue
                if graph is None:
                    graph = _detectors(frame, video.time_base or Fraction(1, 25), checks)
                    start = float(frame.time or 0)
                    if expected.first_frame is not None:
                        seen.first = _upright(frame, video.sample_aspect_ratio)
                graph.push(frame)
                for small in drain(graph):
                    _note(small, start or 0.0, expected.seconds, seen)
        if len(seen.pictures) >= most:
            return
    if meter is not None:
        meter.push(None)
        _read_meter(meter, seen)


def _detectors(like: VideoFrame, time_base: Fraction, checks: PictureChecks) -> Graph:
    frozen = max(0.1, checks.frozen_seconds)
    return filter_graph(
        buffer_step(like, time_base),
        ("scale", f"{_SIZE[0]}:{_SIZE[1]}:flags=area:threads=1"),
        ("format", "yuv420p"),
        ("blackdetect", f"d=0:{_BLACK}"),
        ("freezedetect", f"noise={_FROZEN_NOISE}:duration={frozen}"),
        ("scdet", "threshold=100"),
        ("buffersink", ""),
    )


def _meter(like: AudioFrame) -> Graph:
    source = (
        f"sample_rate={like.sample_rate}:sample_fmt={like.format.name}:"
        f"channel_layout={like.layout.name}:time_base=1/{like.sample_rate}"
    )
    return filter_graph(("abuffer", source), ("ebur128", "metadata=1"), ("abuffersink", ""))


def _read_meter(meter: Graph, seen: _Seen) -> None:
    for frame in drain(meter):
        said = frame.metadata
        if "lavfi.r128.M" in said:
            seen.momentary_lufs = max(seen.momentary_lufs, _number(said["lavfi.r128.M"]))
            seen.integrated_lufs = max(_SILENCE, _number(said["lavfi.r128.I"]))


def _number(text: str) -> float:
    value = float(text)
    if value != value:  # not a number: nothing was measured
        return _SILENCE
    return value


def _note(small: VideoFrame, start: float, seconds: float, seen: _Seen) -> None:
    """Keep what the filters say of a picture, and its brightness."""
    at = float(small.time or 0) - start
    grey = _plane(small, 0)
    said = small.metadata
    seen.pictures.append(grey)
    seen.times.append(at)
    seen.scores.append(float(said.get("lavfi.scd.score", 0)))
    _mark(said, "lavfi.black_start", "lavfi.black_end", start, seen.black)
    frozen = "lavfi.freezedetect.freeze"
    _mark(said, f"{frozen}_start", f"{frozen}_end", start, seen.frozen)
    if len(seen.prints) < len(_PRINT_MOMENTS) and at >= _PRINT_MOMENTS[len(seen.prints)] * seconds:
        colours = bytes(round(ImageStat.Stat(_plane(small, plane)).mean[0]) for plane in (1, 2))
        seen.prints.append(grey.resize(_PRINT_SIZE, Image.Resampling.BOX).tobytes() + colours)


def _mark(
    said: dict[str, str], begins: str, ends: str, start: float, found: list[tuple[float, float]]
) -> None:
    """Add a stretch where one begins, without end as long as none is told."""
    if ends in said and found:
        found[-1] = (found[-1][0], float(said[ends]) - start)
    if begins in said:
        found.append((float(said[begins]) - start, float("inf")))


def _plane(frame: VideoFrame, number: int) -> Image.Image:
    plane = frame.planes[number]
    size = (plane.width, plane.height)
    return Image.frombytes("L", size, bytes(plane), "raw", "L", plane.line_size)


def _upright(frame: VideoFrame, shape: Fraction | None) -> Image.Image:
    """Return a small picture of a frame as a player shows it."""
    graph = filter_graph(
        buffer_step(frame, Fraction(1, 25)),
        *tone_steps(frame),
        *upright_steps(frame, shape),
        ("scale", "160:160:force_original_aspect_ratio=decrease:flags=area:threads=1"),
        ("format", "rgb24"),
        ("buffersink", ""),
    )
    graph.push(frame)
    small = cast("VideoFrame", graph.pull())
    plane = small.planes[0]
    size = (small.width, small.height)
    return Image.frombytes("RGB", size, bytes(plane), "raw", "RGB", plane.line_size)


def _longest(
    rule: Rule, stretches: list[tuple[float, float]], end: float, threshold: float
) -> Iterator[Suspicion]:
    """Yield the longest stretch, if it is long enough."""
    longest = 0.0
    begin = 0.0
    for first, last in stretches:
        if min(last, end) - first > longest:
            longest = min(last, end) - first
            begin = first
    if threshold and longest >= threshold:
        yield Suspicion(
            rule=rule, measured=round(longest, 2), threshold=threshold, at=round(begin, 2)
        )


def _cuts(seen: _Seen, expected: Expected, checks: PictureChecks) -> Iterator[Suspicion]:
    """Yield the hardest cut, if there is one.

    A cut comes suddenly, and the picture does not come back: a flash does both.
    """
    if expected.cuts or not checks.cut_percent or not seen.pictures:
        return
    hardest = 0.0
    at = 0.0
    for number, score in enumerate(seen.scores):
        if score < checks.cut_percent or score <= hardest:
            continue
        moment = seen.times[number]
        lasting = _lasting(seen, number)
        if min(score, lasting) > hardest:
            hardest = min(score, lasting)
            at = moment
    if hardest >= checks.cut_percent:
        yield Suspicion(
            rule=Rule.CUT,
            measured=round(hardest, 1),
            threshold=checks.cut_percent,
            at=round(at, 2),
        )


def _lasting(seen: _Seen, number: int) -> float:
    """Return by how many percent the picture soon after one differs from all shortly before it."""
    moment = seen.times[number]
    before = []
    after = seen.pictures[number]
    for at, picture in zip(seen.times, seen.pictures, strict=True):
        if moment - _CUT_BEFORE <= at < moment:
            before.append(picture)
        if moment <= at <= moment + _CUT_AFTER:
            after = picture
    return min((_difference(picture, after) for picture in before), default=0.0)


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return by how many percent of the range two pictures differ, on average."""
    means = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means) / 2.55


def _first_frame(seen: _Seen, expected: Expected, checks: PictureChecks) -> Iterator[Suspicion]:
    """Yield how far the first picture is from the ordered one, cut to its shape or squeezed."""
    if expected.first_frame is None or seen.first is None or not checks.first_frame_percent:
        return
    with Image.open(io.BytesIO(expected.first_frame)) as picture:
        # A JPEG is decoded no larger than needed.
        picture.draft("RGB", (4 * _FIRST_SIZE[0], 4 * _FIRST_SIZE[1]))
        ordered = picture.convert("RGB")
        ordered.thumbnail((160, 160), Image.Resampling.BOX)
        # Whether the API turns a picture as its EXIF data say is not known.
        ordered.info["exif"] = picture.info.get("exif", b"")
    shown = seen.first.resize(_FIRST_SIZE, Image.Resampling.BOX)
    off = 100.0
    for candidate in (ordered, ImageOps.exif_transpose(ordered)):
        squeezed = candidate.resize(_FIRST_SIZE, Image.Resampling.BOX)
        cut = ImageOps.fit(candidate, seen.first.size).resize(_FIRST_SIZE, Image.Resampling.BOX)
        off = min(off, _difference(shown, squeezed), _difference(shown, cut))
    if off >= checks.first_frame_percent:
        yield Suspicion(
            rule=Rule.FIRST_FRAME,
            measured=round(off, 1),
            threshold=checks.first_frame_percent,
            at=0.0,
        )


def _sound(seen: _Seen, expected: Expected, checks: PictureChecks) -> Iterator[Suspicion]:
    if not expected.sound:
        return
    loudest = round(seen.momentary_lufs, 1)
    if loudest < checks.silent_lufs:
        yield Suspicion(rule=Rule.SILENT, measured=loudest, threshold=checks.silent_lufs)
        return
    if seen.integrated_lufs is None:
        return
    whole = round(seen.integrated_lufs, 1)
    if whole < checks.quiet_lufs:
        yield Suspicion(rule=Rule.QUIET, measured=whole, threshold=checks.quiet_lufs)
    if whole > checks.loud_lufs:
        yield Suspicion(rule=Rule.LOUD, measured=whole, threshold=checks.loud_lufs)


def distance(fingerprint: bytes, other: bytes) -> int:
    """Return by how many levels of 255 two clips differ where they differ most.

    255 for fingerprints that cannot be compared.
    """
    if not fingerprint or len(fingerprint) != len(other):
        return 255
    size = (len(fingerprint), 1)
    off = ImageChops.difference(
        Image.frombytes("L", size, fingerprint), Image.frombytes("L", size, other)
    )
    return int(cast("tuple[int, int]", off.getextrema())[1])
