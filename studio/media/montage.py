"""Pictures of clips of any make, encoded again into one film, with crossfades."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from typing import TypeVar

from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.film_file import X264, Packets
from prefect_kling.studio.media.footage import Footage
from prefect_kling.studio.media.frames import (
    EXACT,
    buffer_step,
    drain,
    filter_graph,
    filtered,
    matrix_of,
    tone_steps,
    upright_steps,
)
from prefect_kling.studio.media.schedule import schedule

_BT709 = 1
_LIMITED = 1
# One per picture: `xfade` counts in time, and takes a minute of it at most.
_FADE_TICK = Fraction(1, 1000)

Value = TypeVar("Value")
Frames = Iterator[VideoFrame]


class Montage:
    """Pictures encoded again, in the size and at the rate that most clips have."""

    def __init__(
        self, film: OutputContainer, clips: Sequence[Footage], fades: Sequence[float]
    ) -> None:
        self._clips = clips
        self._rate = _most_common(clip.rate for clip in clips)
        width, height = _most_common(clip.size for clip in clips)
        self._size = (width + width % 2, height + height % 2)
        self._lengths = [max(1, round(clip.seconds * self._rate)) for clip in clips]
        self._fades = [self._fit_fade(number, seconds) for number, seconds in enumerate(fades)]
        self.schedule = schedule(self._lengths, self._fades, 1 / self._rate)
        self.frames = sum(self._lengths) - sum(self._fades)
        self._written = 0
        self._previous: Frames = iter(())

        self._track = film.add_stream("libx264", rate=self._rate, options=X264 | {"crf": "18"})
        context = self._track.codec_context
        context.thread_type = "FRAME"
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / self._rate
        context.color_range = _LIMITED
        context.colorspace = _BT709
        context.color_primaries = _BT709
        context.color_trc = _BT709

    def packets(self, number: int) -> Packets:
        """Encode a clip up to where the next begins; ask for the clips in order, each once."""
        own = self._fitted(number)
        fade_in = self._fades[number]
        fade_out = 0
        if number + 1 < len(self._fades):
            fade_out = self._fades[number + 1]
        faded = _crossfade(self._previous, own, fade_in)
        alone = islice(own, self._lengths[number] - fade_in - fade_out)

        # A clip begins with a key frame. Left alone, x264 would repeat the picture types of the
        # source.
        picture_type = PictureType.I
        for frame in chain(faded, alone):
            frame.pts = self._written
            frame.time_base = 1 / self._rate
            frame.pict_type = picture_type
            picture_type = PictureType.NONE
            self._written += 1
            yield from self._track.encode(frame)

        # The clip stays open: what is left of it is decoded together with the next one.
        self._previous = own

    def rest(self) -> Packets:
        """Return what the encoder still holds after the last clip."""
        return self._track.encode(None)

    def _fit_fade(self, number: int, seconds: float) -> int:
        """Return the length of the fade into a clip in pictures, at most half of either clip."""
        if number == 0:
            return 0
        half = min(self._lengths[number - 1 : number + 1]) // 2
        return min(half, round(Fraction(seconds) * self._rate))

    def _fitted(self, number: int) -> Frames:
        """Yield the pictures of a clip as the film shows them, as many as it has room for."""
        frames = filtered(self._clips[number].pictures(), lambda like: self._fit(like, number))
        missing = self._lengths[number]
        for frame in frames:
            missing -= 1
            yield frame
        if missing:
            raise NotAVideo(
                f"clip {number + 1}: its end cannot be decoded, "
                f"of its pictures {missing:,} are missing"
            )

    def _fit(self, like: VideoFrame, number: int) -> Graph:
        """Build the filters that give a clip the film's rate, length, size and colours."""
        width, height = self._size
        shape = "force_original_aspect_ratio=decrease:force_divisible_by=2"
        matrix = f"in_color_matrix={matrix_of(like)}:out_color_matrix=bt709:out_range=limited"
        return filter_graph(
            buffer_step(like, self._clips[number].time_base),
            ("fps", f"fps={self._rate}:start_time=0:eof_action=pass"),
            ("trim", f"end_frame={self._lengths[number]}"),
            *tone_steps(like),
            *upright_steps(like, self._clips[number].pixel_shape),
            ("scale", f"{width}:{height}:{shape}:{matrix}:{EXACT}"),
            ("pad", f"{width}:{height}:-1:-1"),
            ("setsar", "1"),
            ("format", "yuv420p"),
            ("buffersink", ""),
        )


def _crossfade(leaving: Frames, coming: Frames, count: int) -> Frames:
    """Yield `count` pictures in which one clip gives way to another, holding one of each."""
    mixer = None
    pairs = zip(islice(leaving, count), islice(coming, count), strict=True)
    for place, pair in enumerate(pairs):
        if mixer is None:
            mixer = _Mixer(pair[0], count)
        yield from mixer.mix(place, pair)


class _Mixer:
    """The filter that mixes pictures of one make, from the first to the last of a fade."""

    def __init__(self, like: VideoFrame, count: int) -> None:
        self._graph = Graph()
        source, arguments = buffer_step(like, _FADE_TICK)
        arguments += f":frame_rate={1 / _FADE_TICK}"
        self._sources = [self._graph.add(source, arguments) for _ in range(2)]
        # A step before the first picture and one behind the last: neither is a clip on its own.
        fade = self._graph.add("xfade", f"transition=fade:offset=-1ms:duration={count + 1}ms")
        for place, node in enumerate(self._sources):
            node.link_to(fade, 0, place)
        fade.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def mix(self, place: int, pair: Sequence[VideoFrame]) -> Frames:
        """Take the pictures at one place of the fade and yield what they give."""
        for node, frame in zip(self._sources, pair, strict=True):
            frame.pts = place
            frame.time_base = _FADE_TICK
            node.push(frame)
        yield from drain(self._graph)


def _most_common(values: Iterable[Value]) -> Value:
    """Return the most frequent value; of several, the one that came first."""
    return Counter(values).most_common(1)[0][0]
