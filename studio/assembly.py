"""Clips joined into one film: every picture in order, the sound in step, the file written whole or not at all.

Clips of the same make keep their pictures bit by bit; any difference means encoding all of them anew. The sound is
always made anew: encoded sound never ends where its pictures do, so copied clips would drift apart or overlap.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar
from uuid import uuid4

import av
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.frames import EXACT, buffer_step, drain, filter_graph, filtered, matrix_of, open_film, shifted
from prefect_kling.studio.mp4 import read_facts

SOUND_RATE = 48_000
_SOUND_BITS = 192_000
# The number of threads shapes what x264 writes; a fixed one gives the same bytes on every machine.
_X264 = {"preset": "veryfast", "crf": "18", "threads": "4", "forced-idr": "1"}
_MUXER = {"movflags": "+faststart", "fflags": "+bitexact"}  # bitexact: no date and no version in the file
_BT709, _LIMITED = 1, 1

Value = TypeVar("Value")
Packets: TypeAlias = "Iterable[Packet[Any]]"


class JoinReport(BaseModel):
    """What a film turned out to be."""

    model_config = ConfigDict(frozen=True)

    frames: int
    seconds: float
    re_encoded: bool
    """False if the pictures of all clips were copied without loss."""
    audio: bool
    starts: tuple[float, ...]
    """The second at which each clip begins."""


@dataclass(frozen=True)
class _Clip:
    """What must be known of a clip before the first byte of the film is written."""

    source: BinaryIO | Path
    make: tuple[object, ...]
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    stamps: list[int]
    """Time stamps of the pictures shown, in the order of the packets."""
    begin: int
    """The first of them that is shown."""
    ticks: int
    copyable: bool
    sounding: bool


def join(clips: Sequence[Path | BinaryIO], target: Path, *, titles: Sequence[str] | None = None) -> JoinReport:
    """Join clips (paths or seekable files) into the MP4 `target`, with a chapter per clip, called by its title.

    Pictures are copied if all clips are of one make; otherwise all are encoded anew, letterboxed to the most common
    size at the most common rate, and a clip of another rate is fitted to it. The film has sound if any clip has; each
    clip's sound is padded or cut to its pictures. The same clips give the same bytes. Memory stays bounded.

    Raises `NotAVideo` naming the clip, `OSError` if the film cannot be written; `target` is then as it was.
    """
    surveyed = [_survey(source, number) for number, source in enumerate(clips, 1)]
    if not surveyed:
        raise ValueError("a film needs at least one clip")
    same = len({clip.make for clip in surveyed}) == 1 and all(clip.copyable for clip in surveyed)
    with _whole_file(target) as path:
        with av.open(str(path), "w", format="mp4", container_options=_MUXER) as film:
            pictures = _Copied(film, surveyed) if same else _Encoded(film, surveyed)
            sound = _Sound(film) if any(clip.sounding for clip in surveyed) else None
            _mark_chapters(film, pictures.edges, titles or [f"Clip {number + 1}" for number in range(len(surveyed))])
            _write(film, surveyed, pictures, sound)
        with path.open("rb") as file:
            if (found := read_facts(file).frames) != pictures.frames:
                raise NotAVideo(f"the film came out with {found:,} pictures instead of {pictures.frames:,}")
    *starts, end = map(float, pictures.edges)
    audio = sound is not None
    return JoinReport(frames=pictures.frames, seconds=end, re_encoded=not same, audio=audio, starts=tuple(starts))


def _survey(source: BinaryIO | Path, number: int) -> _Clip:
    with _named(number), open_film(source) as (film, video):
        context = video.codec_context
        rate = video.average_rate or Fraction(24)
        make = (context.name, context.codec_tag, context.extradata, context.pix_fmt, context.width, context.height)
        seen = [(p.pts, p.duration or 0, p.is_discard, p.is_keyframe) for p in film.demux(video) if p.pts is not None]
        shown = [(pts, ticks) for pts, ticks, hidden, _ in seen if not hidden]
        if not shown:
            raise NotAVideo("the file shows no pictures")
        stamps, begin, (last, length) = [pts for pts, _ in shown], min(shown)[0], max(shown)
        return _Clip(
            source=source,
            make=(*make, context.sample_aspect_ratio, video.time_base, round(float(rate), 1)),
            size=(context.width, context.height),
            rate=video.guessed_rate or rate,
            time_base=video.time_base or Fraction(1, 1000),
            stamps=stamps,
            begin=begin,
            ticks=last + max(length, 1) - begin,
            # Hidden pictures would show again without their edit list, leading ones would build on the clip before.
            copyable=len(set(stamps)) == len(seen) and seen[0][3] and stamps[0] == begin and bool(context.extradata),
            sounding=bool(film.streams.audio),
        )


def _mark_chapters(film: OutputContainer, edges: Sequence[Fraction], titles: Sequence[str]) -> None:
    spans = pairwise(round(edge * 1000) for edge in edges)
    film.set_chapters(
        [
            {"id": number, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for number, ((start, end), title) in enumerate(zip(spans, titles, strict=True))
        ]
    )


class _Copied:
    """Pictures copied packet by packet, each clip moved to where the one before it ends."""

    def __init__(self, film: OutputContainer, clips: Sequence[_Clip]) -> None:
        with open_film(clips[0].source) as (_, video):
            self._track = film.add_stream_from_template(video, opaque=True)
            self._track.codec_context.codec_tag = video.codec_context.codec_tag
        starts = list(accumulate((clip.ticks for clip in clips), initial=0))
        self._clips, self._shifts = clips, [start - clip.begin for start, clip in zip(starts, clips, strict=False)]
        self.edges = [start * clips[0].time_base for start in starts]
        stamps = [stamp + shift for clip, shift in zip(clips, self._shifts, strict=True) for stamp in clip.stamps]
        self.frames, self._times = len(stamps), _times(stamps, starts[-1])

    def packets(self, number: int) -> Packets:
        with open_film(self._clips[number].source) as (film, video):
            for packet in film.demux(video):
                if packet.pts is not None:
                    packet.pts += self._shifts[number]
                    packet.dts, packet.duration = next(self._times)
                    packet.stream = self._track
                    yield packet

    def rest(self) -> Packets:
        return ()


def _times(stamps: list[int], end: int) -> Iterator[tuple[int, int]]:
    """Yield decode time and duration per picture in packet order; the times rise and are never behind the stamps.

    The clips' own cannot be kept: how far they run ahead of the stamps, and so where two clips meet, differs.
    """
    shown = sorted(stamps)
    rank, after = {stamp: place for place, stamp in enumerate(shown)}, dict(pairwise([*shown, end]))
    lead = max(place - rank[stamp] for place, stamp in enumerate(stamps))
    step = after[shown[0]] - shown[0]
    decoded = chain((shown[0] - step * ahead for ahead in range(lead, 0, -1)), shown)
    return zip(decoded, (after[stamp] - stamp for stamp in stamps), strict=False)


class _Encoded:
    """Pictures encoded anew, in the size and at the rate that most clips have."""

    def __init__(self, film: OutputContainer, clips: Sequence[_Clip]) -> None:
        self._clips, self.rate = clips, _most_common(clip.rate for clip in clips)
        width, height = _most_common(clip.size for clip in clips)
        self._size = width + width % 2, height + height % 2
        self._lengths = [max(1, round(clip.ticks * clip.time_base * self.rate)) for clip in clips]
        self.frames, self._written = sum(self._lengths), 0
        self.edges = [frames / self.rate for frames in accumulate(self._lengths, initial=0)]
        self._track = film.add_stream("libx264", rate=self.rate, options=_X264)
        context = self._track.codec_context
        context.thread_type = "FRAME"
        context.width, context.height = self._size
        context.pix_fmt, context.time_base = "yuv420p", 1 / self.rate
        context.color_range, context.colorspace = _LIMITED, _BT709
        context.color_primaries, context.color_trc = _BT709, _BT709

    def packets(self, number: int) -> Packets:
        clip = self._clips[number]
        with open_film(clip.source) as (film, video):
            video.thread_type = "AUTO"
            frames = shifted(film.decode(video), clip.begin)
            for place, frame in enumerate(filtered(frames, lambda like: self._fit(like, number))):
                frame.pts, frame.time_base = self._written, 1 / self.rate
                # Left alone, x264 would repeat the picture types of the source.
                frame.pict_type = PictureType.NONE if place else PictureType.I
                self._written += 1
                yield from self._track.encode(frame)

    def rest(self) -> Packets:
        return self._track.encode(None)

    def _fit(self, like: VideoFrame, number: int) -> Graph:
        """Build the filters that give a clip the film's rate, length, size and colours."""
        width, height = self._size
        colours = f"in_color_matrix={matrix_of(like)}:out_color_matrix=bt709:out_range=limited:{EXACT}"
        return filter_graph(
            buffer_step(like, self._clips[number].time_base),
            ("fps", f"fps={self.rate}:start_time=0:eof_action=pass"),
            ("trim", f"end_frame={self._lengths[number]}"),
            ("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2:{colours}"),
            ("pad", f"{width}:{height}:-1:-1"),
            ("setsar", "1"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        )


class _Sound:
    """The sound track, encoded once for the whole film."""

    def __init__(self, film: OutputContainer) -> None:
        self._track = film.add_stream("aac", rate=SOUND_RATE, layout="stereo", bit_rate=_SOUND_BITS)
        self._written = 0

    def packets(self, clip: _Clip, until: Fraction) -> Packets:
        """Encode the sound of a clip, then silence, so that the track ends exactly at the second `until`."""
        end = round(until * SOUND_RATE)
        if clip.sounding:
            yield from self._encode(_decode_sound(clip, end - self._written))
        silence = _sound_graph(end - self._written, ("anullsrc", f"r={SOUND_RATE}:cl=stereo"))
        yield from self._encode(drain(silence))

    def rest(self) -> Packets:
        return self._track.encode(None)

    def _encode(self, frames: Iterator[AudioFrame]) -> Packets:
        for frame in frames:
            frame.pts, frame.time_base = self._written, Fraction(1, SOUND_RATE)
            self._written += frame.samples
            yield from self._track.encode(frame)


def _write(film: OutputContainer, clips: Sequence[_Clip], pictures: _Copied | _Encoded, sound: _Sound | None) -> None:
    """Write clip by clip, the sound first: it is the smaller one to wait in memory for the other."""
    for number, clip in enumerate(clips):
        with _named(number + 1):
            heard = sound.packets(clip, pictures.edges[number + 1]) if sound else ()
            for packet in chain(heard, pictures.packets(number)):
                film.mux(packet)
    film.mux([*(sound.rest() if sound else ()), *pictures.rest()])


def _decode_sound(clip: _Clip, length: int) -> Iterator[AudioFrame]:
    """Yield a clip's sound from its first picture on, at most `length` samples; gaps in it are filled."""

    def build(like: AudioFrame) -> Graph:
        form = f"sample_rate={like.sample_rate}:sample_fmt={like.format.name}:channel_layout={like.layout.name}"
        source = "abuffer", f"{form}:time_base={like.time_base}"
        return _sound_graph(length, source, ("aresample", f"{SOUND_RATE}:async=1:first_pts=0"))

    with open_film(clip.source) as (film, _):
        track = film.streams.audio[0]
        frames = shifted(film.decode(track), round(clip.begin * clip.time_base / (track.time_base or 1)))
        yield from filtered(frames, build)


def _sound_graph(length: int, *steps: tuple[str, str]) -> Graph:
    form = "aformat", "sample_fmts=fltp:channel_layouts=stereo"
    return filter_graph(*steps, form, ("atrim", f"end_sample={length}"), ("abuffersink", ""))


def _most_common(values: Iterable[Value]) -> Value:
    """Return the most frequent value; of several, the one that came first."""
    return Counter(values).most_common(1)[0][0]


@contextmanager
def _named(number: int) -> Iterator[None]:
    try:
        yield
    except NotAVideo as error:
        raise NotAVideo(f"clip {number}: {error.what}", words=error.words) from error


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """Hand out a temporary name beside the target; it becomes the target at the end, or vanishes."""
    part = target.absolute().with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        yield part
        part.replace(target)
    except av.FFmpegError as error:
        raise OSError(error.errno, f"the film cannot be written ({error.strerror})", str(target)) from error
    finally:
        part.unlink(missing_ok=True)
