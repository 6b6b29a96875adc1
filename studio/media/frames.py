"""Single pictures out of a film: the true first and last one, with the colours a player shows."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.probe import inspect
from prefect_kling.studio.media.webm import SIGNATURE as WEBM

STILL_LIMIT = 10_000_000
"""Bytes; the API takes pictures up to 10 MB."""

# Without these flags swscale rounds down, and every extracted picture comes out darker. One thread
# gives the same pixels on every machine.
EXACT = "flags=bicubic+accurate_rnd+full_chroma_int:threads=1"
HDR = {16: "smpte2084", 18: "arib-std-b67"}
"""PQ and HLG in ITU-T H.273, and what `scale` calls them."""
_FAR = 1 << 48
_MOST_STREAMS = 16
_UNSPECIFIED = 2
Some = TypeVar("Some", VideoFrame, AudioFrame)
_JPEG_QUALITIES = ("1", "2", "4", "8", "16", "31")  # best first


@dataclass(frozen=True)
class Still:
    """One picture in a file format."""

    data: bytes
    media_type: str
    """`image/png`, or `image/jpeg` if the PNG would be larger than `STILL_LIMIT`."""


def last_frame(source: BinaryIO | Path) -> Still:
    """Return the last picture a film shows; only the part behind its last key frame is decoded.

    `source` is a path or a seekable file, left open at any position. The picture stands upright,
    its pixels are square, and HDR is mapped to SDR.
    Raises `NotAVideo` for a file that is cut or that cannot be decoded up to its end. Reads only,
    so calling twice is safe.
    """
    with open_film(source) as (film, video):
        frame = _decode_last(film, video, tail=True) or _decode_last(film, video, tail=False)
        if frame is None:
            raise NotAVideo("the last picture cannot be decoded")
        return encode_still(frame, video.sample_aspect_ratio)


def first_frame(source: BinaryIO | Path) -> Still:
    """Return the first picture a film shows; everything else is as in `last_frame`."""
    with open_film(source) as (film, video):
        frame = next(film.decode(video), None)
        if frame is None:
            raise NotAVideo("the file holds no picture that can be decoded")
        return encode_still(frame, video.sample_aspect_ratio)


def check_every_picture(source: BinaryIO | Path) -> None:
    """Decode a whole film, sound included, and refuse what a player would only conceal.

    Blocking; takes about as long as decoding does. Raises `NotAVideo` for damage anywhere.
    """
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        expected = inspect(file)[0].frames
        with open_film(file) as (film, video):
            for stream in film.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.options = {
                        "err_detect": "crccheck+bitstream+buffer+explode"
                    }
            decoded = 0
            for packet in film.demux():
                if packet.stream.type not in ("video", "audio"):
                    continue
                for frame in packet.decode():
                    if not isinstance(frame, VideoFrame | AudioFrame):
                        continue
                    if frame.is_corrupt:
                        at = float(frame.time or 0)
                        raise NotAVideo(f"it is damaged {at:.1f} s from its start")
                    decoded += packet.stream is video
    if decoded < expected:
        raise NotAVideo(f"{expected - decoded:,} of its {expected:,} pictures cannot be decoded")


def decode_all(source: BinaryIO | Path) -> None:
    """Decode every picture, and keep none.

    For inputs of the user: damage that a player conceals passes, because the API may conceal it
    too. `check_every_picture` passes nothing, and is for videos that were paid for.
    Raises `NotAVideo` for a damaged picture, or if there is none.
    """
    with open_film(source) as (film, video):
        video.thread_type = "AUTO"
        count = 0
        for frame in film.decode(video):
            if frame.is_corrupt:
                raise NotAVideo(f"picture {count + 1} is damaged")
            count += 1
        if count == 0:
            raise NotAVideo("the file holds no picture that can be decoded")


@contextmanager
def open_film(
    source: BinaryIO | Path, *, for_packets: bool = False
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a whole MP4, MOV or WebM for decoding, as its container and its video stream.

    With `for_packets` no picture is to be decoded: opening the file does not look into its pictures
    then, which takes a third of the time, and what only they say of it is not known.

    Raises `NotAVideo`, also for an error of the media library inside the block.
    """
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        inspect(file)
        file.seek(0)
        # Naming the format refuses playlists, which could name other files and hosts.
        form = "mov"
        if file.read(len(WEBM)) == WEBM:
            form = "matroska"
        file.seek(0)
        options: list[Any] = []
        if for_packets:
            options = [{"skip_frame": "all"}] * _MOST_STREAMS
        try:
            with av.open(
                file, "r", format=form, metadata_errors="ignore", stream_options=options
            ) as film:
                yield film, film.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise NotAVideo(f"the video cannot be decoded ({error})") from error


def _decode_last(film: InputContainer, video: VideoStream, *, tail: bool) -> VideoFrame | None:
    """Decode the last picture, from the last key frame or from the start on; None if it fails.

    The packets are read twice: first for the newest time stamp, then to decode nothing behind that
    picture and, before it, nothing that no other picture depends on.
    """
    begin = -_FAR
    if tail:
        begin = _FAR
    try:
        film.seek(begin, stream=video)
        stamps = [
            packet.pts
            for packet in film.demux(video)
            if packet.pts is not None and not packet.is_discard
        ]
        film.seek(begin, stream=video)
        if not stamps:
            return None
        return _decode_one(max(stamps), film, video)
    except av.FFmpegError:
        if tail:
            return None
        raise


def _decode_one(wanted: int, film: InputContainer, video: VideoStream) -> VideoFrame | None:
    context = video.codec_context
    context.skip_frame = "DEFAULT"
    if context.name == "h264":  # only H.264 promises that nothing depends on these pictures
        context.skip_frame = "NONREF"

    for packet in film.demux(video):
        if packet.pts != wanted:
            packet.decode()
            continue
        context.skip_frame = "DEFAULT"
        for frame in [*packet.decode(), *video.decode(None)]:
            if frame.pts == wanted and not frame.is_corrupt:
                return frame
        return None
    return None


def filter_graph(*steps: tuple[str, str]) -> Graph:
    """Build a chain of libavfilter steps (name, arguments), sources and sinks included."""
    graph = Graph()
    nodes = [graph.add(name, arguments or None) for name, arguments in steps]
    graph.link_nodes(*nodes).configure()
    return graph


def buffer_step(like: VideoFrame, time_base: Fraction) -> tuple[str, str]:
    """Return the source of a filter graph for frames like the given one."""
    size = f"video_size={like.width}x{like.height}:pix_fmt={like.format.name}"
    colours = f"colorspace={like.colorspace}:range={like.color_range}"
    return "buffer", f"{size}:time_base={time_base}:{colours}"


def upright_steps(frame: VideoFrame, shape: Fraction | None) -> list[tuple[str, str]]:
    """Return the filters that show a frame as a player does: rotated, with square pixels.

    `shape` is the width of its pixels divided by their height.
    """
    steps = []
    if shape and shape > 0 and shape != 1:
        steps.append(("scale", f"trunc(iw*{shape}/2+0.5)*2:ih:{EXACT}"))
        steps.append(("setsar", "1"))
    return steps + _turns(frame)


def _turns(frame: VideoFrame) -> list[tuple[str, str]]:
    matrix = display_matrix(frame)
    if matrix is None:
        return []
    a, b, c, d = matrix
    # The matrix maps a picture's x to (a, b) and its y to (c, d), with y counted downwards.
    steps = []
    is_mirrored = a < 0
    is_upside_down = d < 0
    if abs(b) > abs(a):
        # `transpose` alone swaps the axes, which is (0, 1, 1, 0).
        steps.append(("transpose", "cclock_flip"))
        is_mirrored = c < 0
        is_upside_down = b < 0
    if is_mirrored:
        steps.append(("hflip", ""))
    if is_upside_down:
        steps.append(("vflip", ""))
    return steps


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return the rotating part of a frame's display matrix, None if it has none."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return a, b, c, d


def shown_size(frame: VideoFrame, shape: Fraction) -> tuple[int, int]:
    """Return width and height of a frame as it is shown, in square pixels."""
    width = frame.width
    if shape > 0 and shape != 1:
        width = int(width * shape / 2 + Fraction(1, 2)) * 2
    matrix = display_matrix(frame)
    if matrix is not None and abs(matrix[1]) > abs(matrix[0]):
        return frame.height, width
    return width, frame.height


def tone_steps(frame: VideoFrame) -> list[tuple[str, str]]:
    """Return the filter that maps the brightness and colours of HDR (PQ, HLG) to those of SDR."""
    if frame.color_trc not in HDR:
        return []
    source = f"in_primaries=bt2020:in_transfer={HDR[frame.color_trc]}"
    target = "out_primaries=bt709:out_transfer=bt709:out_color_matrix=bt709:out_range=limited"
    return [("scale", f"{source}:{target}:{EXACT}")]


def shifted(frames: Iterator[Some], ticks: int) -> Iterator[Some]:
    """Move frames so that the first picture of their clip is at zero."""
    for frame in frames:
        if frame.pts is not None:
            frame.pts -= ticks
        yield frame


def filtered(frames: Iterator[Some], build: Callable[[Some], Graph]) -> Iterator[Some]:
    """Send frames through the graph that is built for the first of them, until it wants no more."""
    graph = None
    for frame in chain(frames, [None]):
        if graph is None:
            if frame is None:
                return
            graph = build(frame)
        try:
            graph.push(frame)
        except EOFError:
            return
        yield from drain(graph)


def drain(graph: Graph) -> Iterator[Any]:
    """Yield what a filter graph has ready."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield frame


def matrix_of(frame: VideoFrame) -> str:
    """Name the colour matrix of a frame for `scale`; an untagged one is treated as players do."""
    if frame.colorspace != _UNSPECIFIED:
        return "auto"
    if frame.width >= 1280 or frame.height > 576:
        return "bt709"
    return "bt601"


def encode_still(frame: VideoFrame, shape: Fraction | None = None) -> Still:
    """Turn a decoded frame into a PNG, or a JPEG if the PNG is too large for the API."""
    options = {"pred": "mixed", "compression_level": "1"}
    png = encode_picture(_convert(frame, "rgb24", shape), "png", options)
    if len(png) <= STILL_LIMIT:
        return Still(png, "image/png")
    full = _convert(frame, "yuvj444p", shape)
    for quality in _JPEG_QUALITIES:
        jpeg = encode_picture(full, "mjpeg", {"qmin": quality, "qmax": quality})
        if len(jpeg) <= STILL_LIMIT:
            break
    return Still(jpeg, "image/jpeg")


def encode_picture(frame: VideoFrame, codec: str, options: dict[str, str]) -> bytes:
    """Encode one frame with a picture codec of libavcodec."""
    context = cast("VideoCodecContext", av.CodecContext.create(codec, "w"))
    context.width = frame.width
    context.height = frame.height
    context.pix_fmt = frame.format.name
    context.time_base = Fraction(1, 25)
    context.thread_count = 1
    context.options = options
    frame.pts = 0
    frame.time_base = Fraction(1, 25)
    packets = [*context.encode(frame), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _convert(frame: VideoFrame, form: str, shape: Fraction | None) -> VideoFrame:
    # A JPEG has no field for its matrix: it is always bt601.
    target = f"in_color_matrix={matrix_of(frame)}:out_color_matrix=bt601:{EXACT}"
    graph = filter_graph(
        buffer_step(frame, Fraction(1, 25)),
        *tone_steps(frame),
        *upright_steps(frame, shape),
        ("scale", target),
        ("format", form),
        ("buffersink", ""),
    )
    graph.push(frame)
    return cast("VideoFrame", graph.pull())
