"""What a WebM file is, read from its packets, and the proof that it is whole."""

import os
from dataclasses import dataclass
from typing import BinaryIO

import av

from prefect_kling.studio.errors import NotAVideo

SIGNATURE = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class WebmTrack:
    """The pictures of a WebM file."""

    seconds: float
    width: int
    height: int
    frames: int
    codec: str
    audio: bool
    bytes: int


def read_webm(file: BinaryIO) -> WebmTrack:
    """Read all packets of a seekable file; nothing is decoded.

    Raises `NotAVideo` if it is cut (its segment says how long it is) or holds no pictures.
    """
    length = file.seek(0, os.SEEK_END)
    _refuse_cut(file, length)
    file.seek(0)
    try:
        with av.open(file, "r", format="matroska", metadata_errors="ignore") as film:
            video = film.streams.video[0]
            packets = [packet for packet in film.demux(video) if packet.pts is not None]
            first = min((packet.pts or 0) for packet in packets)
            last = max(packets, key=lambda packet: packet.pts or 0)
            ticks = float((last.pts or 0) - first)
            if last.duration:
                ticks += last.duration
            elif len(packets) > 1:
                ticks += ticks / (len(packets) - 1)
            return WebmTrack(
                seconds=ticks * float(last.time_base),
                width=video.width,
                height=video.height,
                frames=len(packets),
                codec=video.codec_context.name,
                audio=bool(film.streams.audio),
                bytes=length,
            )
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise NotAVideo(f"the WebM file cannot be read ({error})") from error


def _refuse_cut(file: BinaryIO, length: int) -> None:
    """Compare the length of the segment, where it is given, with that of the file."""
    file.seek(0)
    start = file.read(256)
    at = len(SIGNATURE)
    size, at = _number(start, at)
    at += size or 0
    if start[at : at + 4] != _SEGMENT:
        raise NotAVideo("the WebM file has no segment: it is cut or damaged")
    size, at = _number(start, at + 4)
    if size is not None and at + size > length:
        raise NotAVideo(
            f"the file is cut: {at + size - length:,} bytes of the WebM file are missing"
        )


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """Read a number of variable length (RFC 8794 §4) and return it with its end.

    All ones: unknown.
    """
    if at >= len(data) or not data[at]:
        raise NotAVideo("the WebM file is cut or damaged")
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
    if value == (1 << 7 * width) - 1:
        return None, at + width
    return value, at + width
