"""Small H.264 clips whose every picture carries its own number, so that a test reads what it got.

The upper half of a picture is a bar code of sixteen columns: five bits for the clip, ten for the
picture, one for parity. The lower half moves, so that the encoder has something to predict.
"""

import io
import math
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import cast

import av
from av.video.frame import PictureType

from prefect_kling.studio.media.frames import buffer_step, filter_graph

COLUMNS = 16
WHITE, BLACK, MIDDLE = 235, 16, 126
AUDIO_BLOCK = 1024

Box = tuple[int, int, int, int]
"""Left, top, width, height."""


@dataclass(frozen=True)
class Recipe:
    """What a test clip is made of: by default a second of 160x90, B-frames, moov last."""

    clip: int = 0
    frames: int = 24
    width: int = 160
    height: int = 90
    rate: Fraction = Fraction(24)
    gop: int = 12
    b_frames: int = 2
    codec: str = "libx264"
    x264: dict[str, str] = field(default_factory=dict)
    sound: float | None = None
    """Seconds of sound; None leaves the audio track out."""
    sound_from: float = 0.0
    """When the sound starts; it ends that much later too."""
    sound_gap: tuple[float, float] | None = None
    """From when to when the sound is interrupted."""
    sound_rate: int = 48000
    layout: str = "stereo"
    movflags: str = ""
    start: int = 0
    """Pictures left out before the first one: the clip starts that much later than zero."""
    chroma: tuple[int, int] = (128, 128)
    time_base: Fraction | None = None
    ticks: Sequence[int] | None = None
    """Own timestamps in units of `time_base`, for a variable rate."""
    colour: dict[str, int] = field(default_factory=dict)
    format: str = "mp4"
    tag: str = ""
    timescale: str = ""
    frozen: bool = False
    """Whether every picture is number 0, so that none is sharper than another."""
    touch: Mapping[int, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Filters and their arguments for single pictures, by their number."""


def make_clip(recipe: Recipe) -> bytes:
    """Encode the recipe and return the file."""
    with tempfile.TemporaryDirectory() as folder:
        return write_clip(Path(folder), "clip.mp4", recipe).read_bytes()


def write_clip(folder: Path, name: str, recipe: Recipe) -> Path:
    """Encode the recipe into `folder/name`."""
    path = folder / name
    options = {"movflags": recipe.movflags, "video_track_timescale": recipe.timescale}
    used = {name: value for name, value in options.items() if value}
    with av.open(str(path), "w", format=recipe.format, container_options=used) as out:
        video = out.add_stream(recipe.codec, rate=recipe.rate, options=_options(recipe))
        video.width, video.height, video.pix_fmt = recipe.width, recipe.height, "yuv420p"
        if recipe.time_base:
            video.codec_context.time_base = recipe.time_base
        if recipe.tag:
            video.codec_context.codec_tag = recipe.tag
        for name, value in recipe.colour.items():
            setattr(video.codec_context, name, value)
        audio = (
            out.add_stream("aac", rate=recipe.sound_rate, layout=recipe.layout)
            if recipe.sound
            else None
        )
        sounds = _tone(recipe)
        for number in range(recipe.frames):
            out.mux(video.encode(_stamped(recipe, number)))
            if audio:
                for block in islice(sounds, 2):
                    out.mux(audio.encode(block))
        for block in sounds:
            out.mux(audio.encode(block))
        for stream in filter(None, (video, audio)):
            out.mux(stream.encode(None))
    return path


def _options(recipe: Recipe) -> dict[str, str]:
    if recipe.codec != "libx264":
        return dict(recipe.x264)
    return {
        "preset": "ultrafast",
        "crf": "20",
        "g": str(recipe.gop),
        "bf": str(recipe.b_frames),
        "sc_threshold": "0",
        "threads": "1",
        **recipe.x264,
    }


def _stamped(recipe: Recipe, number: int) -> av.VideoFrame:
    painted = 0 if recipe.frozen else number
    frame = paint(recipe.clip, painted, (recipe.width, recipe.height), recipe.chroma)
    if number in recipe.touch:
        graph = filter_graph(
            buffer_step(frame, Fraction(1, 24)), *recipe.touch[number], ("buffersink", "")
        )
        graph.push(frame)
        graph.push(None)
        frame = cast("av.VideoFrame", graph.pull())
        frame.pict_type = PictureType.NONE
    frame.time_base = recipe.time_base or 1 / recipe.rate
    frame.pts = recipe.ticks[number] if recipe.ticks else number + recipe.start
    return frame


def paint(
    clip: int, number: int, size: tuple[int, int], chroma: tuple[int, int] = (128, 128)
) -> av.VideoFrame:
    """Draw one picture that carries its clip and its number."""
    width, height = size
    frame = av.VideoFrame(width, height, "yuv420p")
    bits = _encode(clip, number)
    bars = bytes(
        WHITE if bits >> (COLUMNS - 1 - x * COLUMNS // width) & 1 else BLACK for x in range(width)
    )
    for index, plane in enumerate(frame.planes):
        rows = bytearray(plane.buffer_size)
        for y in range(plane.height):
            row = (
                _row(index, y, bars, number, height)
                if index == 0
                else bytes([chroma[index - 1]]) * plane.width
            )
            rows[y * plane.line_size : y * plane.line_size + plane.width] = row
        plane.update(bytes(rows))
    return frame


def _row(index: int, y: int, bars: bytes, number: int, height: int) -> bytes:
    if y < height // 2:
        return bars
    shift = number * 3 + y
    return _texture(y)[shift : shift + len(bars)]


@lru_cache(maxsize=2048)
def _texture(y: int) -> bytes:
    """Return what moves along a row from picture to picture, for the largest of all pictures."""
    return bytes(40 + (x * 5 ^ y * 3) % 160 for x in range(8192))


def _encode(clip: int, number: int) -> int:
    value = clip << 10 | number
    return value << 1 | value.bit_count() & 1


def read_code(frame: av.VideoFrame, box: Box | None = None) -> tuple[int, int]:
    """Read (clip, number) out of a picture, or out of the part of it that `box` names."""
    luma = (
        frame
        if frame.format.name in ("yuv420p", "yuvj420p", "gray")
        else frame.reformat(format="yuv420p")
    )
    plane = luma.planes[0]
    return decode_bars(memoryview(plane), plane.line_size, box or (0, 0, frame.width, frame.height))


def decode_bars(luma: Sequence[int], stride: int, box: Box) -> tuple[int, int]:
    """Read (clip, number) from rows of luma; a picture without a valid code fails the test."""
    left, top, width, height = box
    value = 0
    for column in range(COLUMNS):
        x = left + (2 * column + 1) * width // (2 * COLUMNS)
        samples = [luma[y * stride + x] for y in range(top + height // 8, top + 3 * height // 8)]
        value = value << 1 | (sum(samples) / len(samples) > MIDDLE)
    assert (value >> 1).bit_count() & 1 == value & 1, f"no code in this picture: {value:016b}"
    return value >> 11, value >> 1 & 0x3FF


def read_codes(file: Path | io.BytesIO, box: Box | None = None) -> list[tuple[int, int]]:
    """Decode a whole film and read the code of each picture, in the order shown."""
    with av.open(file) as film:
        return [read_code(frame, box) for frame in film.decode(video=0)]


def codes_of(*recipes: Recipe) -> list[tuple[int, int]]:
    """Return the codes a film of these clips must show."""
    return [(recipe.clip, number) for recipe in recipes for number in range(recipe.frames)]


def _tone(recipe: Recipe) -> Iterator[av.AudioFrame]:
    """Yield a sine of 440 Hz times (clip + 1), in blocks of the AAC frame size."""
    total = round((recipe.sound or 0) * recipe.sound_rate)
    step = 2 * math.pi * 440 * (recipe.clip + 1) / recipe.sound_rate
    for first in range(0, total, AUDIO_BLOCK):
        count = min(AUDIO_BLOCK, total - first)
        wave = array("f", (0.3 * math.sin(step * (first + n)) for n in range(count)))
        if (
            recipe.sound_gap
            and recipe.sound_gap[0] <= first / recipe.sound_rate < recipe.sound_gap[1]
        ):
            continue
        block = av.AudioFrame("fltp", recipe.layout, count)
        for plane in block.planes:
            plane.update(wave.tobytes().ljust(plane.buffer_size, b"\0"))
        block.sample_rate, block.time_base = recipe.sound_rate, Fraction(1, recipe.sound_rate)
        block.pts = first + round(recipe.sound_from * recipe.sound_rate)
        yield block


def read_sound(file: Path, rate: int = 48000) -> list[float]:
    """Decode the first audio track, left channel, by its edit list; floats from time zero on."""
    samples: list[float] = []
    resampler = av.AudioResampler("fltp", "stereo", rate)
    with av.open(str(file)) as film:
        for frame in film.decode(audio=0):
            for block in resampler.resample(frame):
                if block.pts is not None and not samples:
                    samples.extend([0.0] * max(0, round(block.pts * (block.time_base or 0) * rate)))
                samples.extend(array("f", bytes(block.planes[0])[: 4 * block.samples]))
    return samples


def tone_at(sound: Sequence[float], second: float) -> int:
    """Count the tone's rises in the 0.2 s around a moment, per second."""
    piece = sound[round((second - 0.1) * 48000) : round((second + 0.1) * 48000)]
    return round(sum(1 for before, after in pairwise(piece) if before <= 0 < after) / 0.2)


def loudness(sound: Sequence[float], begin: float, end: float) -> float:
    """Return the loudest sample of a stretch."""
    return max(map(abs, sound[round(begin * 48000) : round(end * 48000)]), default=0.0)


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[str, int, int]]:
    """List (kind, first byte, byte after the last) of the boxes of a well-formed stretch."""
    found, at, end = [], start, len(data) if end is None else end
    while at < end:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        length = (
            struct.unpack(">Q", data[at + 8 : at + 16])[0] if length == 1 else length or end - at
        )
        found.append((kind.decode("latin-1"), at, at + length))
        at += length
    return found


def rewrite(data: bytes, path: str, change: Callable[[bytes], bytes], renamed: str = "") -> bytes:
    """Change the payload of the first box under a path such as `moov/trak/tkhd`, and all sizes.

    Nothing else moves, so a box that grows must lie behind the media.
    """
    name, _, rest = path.partition("/")
    kind, start, end = next(box for box in boxes(data) if box[0] == name)
    payload = data[start + 8 : end]
    payload = rewrite(payload, rest, change, renamed) if rest else change(payload)
    kind = kind if rest else renamed or kind
    return (
        data[:start] + struct.pack(">I4s", len(payload) + 8, kind.encode()) + payload + data[end:]
    )


def drop_start(data: bytes, key: int) -> bytes:
    """Copy a clip from its key frame of that number on, as a careless editor would."""
    file, options = io.BytesIO(), {"movflags": "frag_keyframe+empty_moov"}
    with (
        av.open(io.BytesIO(data)) as clip,
        av.open(file, "w", format="mp4", container_options=options) as out,
    ):
        track, keys = out.add_stream_from_template(clip.streams.video[0], opaque=True), 0
        for packet in clip.demux(video=0):
            keys += packet.is_keyframe
            if packet.pts is not None and keys > key:
                packet.stream = track
                out.mux(packet)
    return file.getvalue()


def patch(data: bytes, path: str, offset: int, packed: bytes) -> bytes:
    """Overwrite bytes at an offset into the payload of the first box under a path."""
    return rewrite(data, path, lambda old: old[:offset] + packed + old[offset + len(packed) :])


def blank_media(data: bytes, first: float = 0.0) -> bytes:
    """Replace the media by zeros from a share of it on: boxes stay, decoding fails."""
    _, start, end = next(box for box in boxes(data) if box[0] == "mdat")
    keep = start + 8 + round((end - start - 8) * first)
    return data[:keep] + bytes(end - keep) + data[end:]


class Watched(io.BytesIO):
    """A file that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    def read(self, count: int | None = -1, /) -> bytes:
        """Read, and count."""
        piece = super().read(count)
        self.taken += len(piece)
        return piece
