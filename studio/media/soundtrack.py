"""The sound of a film: that of each clip cut or padded to its pictures and faded with them.

Encoded sound never ends exactly where its pictures do: copied clips would drift apart or overlap.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.filter import Graph

from prefect_kling.studio.media.film_file import Packets
from prefect_kling.studio.media.footage import Footage
from prefect_kling.studio.media.frames import drain, filter_graph, filtered, shifted
from prefect_kling.studio.media.schedule import Schedule

SOUND_RATE = 48_000
_SOUND_BITS = 192_000
_BLOCK = 4_096
_FORMAT = ("aformat", "sample_fmts=fltp:channel_layouts=stereo")
_LIKE = f"sample_rate={SOUND_RATE}:sample_fmt=fltp:channel_layout=stereo:time_base=1/{SOUND_RATE}"
# The sounds of two clips are not correlated: with these curves their mix stays as loud as they are.
_CURVES = "curve1=qsin:curve2=qsin"


class Soundtrack:
    """The sound track of a film, in step with its pictures."""

    def __init__(self, film: OutputContainer, clips: Sequence[Footage], schedule: Schedule) -> None:
        self._track = film.add_stream("aac", rate=SOUND_RATE, layout="stereo", bit_rate=_SOUND_BITS)
        self._clips = clips
        self._schedule = schedule
        self._written = 0
        self._previous: _Samples | None = None

    def packets(self, number: int) -> Packets:
        """Encode the sound of a clip up to where the next begins; ask for the clips in order."""
        own = _Samples(_sound_of(self._clips[number]))
        faded_until = _sample_at(self._schedule.faded_until(number))
        until = _sample_at(self._schedule.until(number))
        if self._previous is not None and faded_until > self._written:
            count = faded_until - self._written
            yield from self._encode(_crossfade(self._previous, own, count))
        yield from self._encode(own.take(until - self._written))
        self._previous = own

    def rest(self) -> Packets:
        """Return what the encoder still holds after the last clip."""
        return self._track.encode(None)

    def _encode(self, frames: Iterator[AudioFrame]) -> Packets:
        for frame in frames:
            frame.pts = self._written
            frame.time_base = Fraction(1, SOUND_RATE)
            self._written += frame.samples
            yield from self._track.encode(frame)


class _Samples:
    """A stream of sound from which any number of samples can be taken."""

    def __init__(self, frames: Iterator[AudioFrame]) -> None:
        self._frames = frames
        self._fifo = AudioFifo()

    def take(self, samples: int) -> Iterator[AudioFrame]:
        """Yield the next `samples` samples, in small blocks."""
        while samples > 0:
            count = min(samples, _BLOCK)
            while self._fifo.samples < count:
                frame = next(self._frames)
                frame.pts = None
                self._fifo.write(frame)
            samples -= count
            yield cast("AudioFrame", self._fifo.read(count))


def _crossfade(leaving: _Samples, coming: _Samples, samples: int) -> Iterator[AudioFrame]:
    """Yield `samples` samples in which one sound gives way to another."""
    graph = Graph()
    sources = [graph.add("abuffer", _LIKE) for _ in range(2)]
    fade = graph.add("acrossfade", f"nb_samples={samples}:{_CURVES}")
    for place, node in enumerate(sources):
        node.link_to(fade, 0, place)
    fade.link_to(graph.add("abuffersink"))
    graph.configure()
    for node, sound in zip(sources, (leaving, coming), strict=True):
        for block in sound.take(samples):
            node.push(block)
        node.push(None)
    yield from drain(graph)


def _sound_of(clip: Footage) -> Iterator[AudioFrame]:
    """Yield a clip's sound from its first picture on, then endless silence; gaps are filled."""
    if clip.sounding:
        with clip.opened(for_packets=True) as (film, _):
            track = film.streams.audio[0]
            begin = round(clip.stamps[0] * clip.time_base / (track.time_base or 1))
            yield from filtered(shifted(film.decode(track), begin), _resample)

    source = ("anullsrc", f"r={SOUND_RATE}:cl=stereo")
    yield from drain(filter_graph(source, _FORMAT, ("abuffersink", "")))


def _resample(like: AudioFrame) -> Graph:
    """Build the filters that turn frames like this one into the film's format, without gaps."""
    rate = f"sample_rate={like.sample_rate}:time_base={like.time_base}"
    layout = f"sample_fmt={like.format.name}:channel_layout={like.layout.name}"
    return filter_graph(
        ("abuffer", f"{rate}:{layout}"),
        ("aresample", f"{SOUND_RATE}:async=1:first_pts=0"),
        _FORMAT,
        ("abuffersink", ""),
    )


def _sample_at(seconds: Fraction) -> int:
    """Return how many samples of the film come before this time."""
    return round(seconds * SOUND_RATE)
