"""What an MP4 or MOV file is, read from its boxes alone, and the proof that it is whole.

A decoder shows a wrong "last" picture of a cut file without an error. The boxes show the damage:
those at the top tile the file, and the tables say where every sample is. Bytes behind the last box
are no damage as long as every sample lies inside the file: players ignore them. Only headers are
read, and no size is trusted unchecked.

A video that comes as WebM plays as well, and is described by what its packets say.
"""

import operator
import os
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.server_words import printable
from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.webm import SIGNATURE as WEBM
from prefect_kling.studio.media.webm import read_webm

_HEADER_LIMIT = 16 << 20  # four million samples; a film of one hour needs two MiB
_BOX_LIMIT = 65_536
# All but ftyp: old QuickTime.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_FRAGMENT_BOXES = (b"moof", b"mdat", b"styp", b"sidx", b"emsg", b"prft", b"moov")
_OTHER_KINDS = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<": "an XML document",
    b"{": "a JSON document",
    b"\x1ae\xdf\xa3": "a WebM file",
    b"\x89png": "a PNG picture",
    b"\0\0\0\0\0\0\0\0": "empty space",
}
# The code of an error of S3, such as AccessDenied.
_STORE_ERROR = re.compile(
    rb"^[^a-z]{0,80}(?:\?xml[^>]{0,80}>\s{0,9})?<error>\s{0,9}<code>([a-z]{3,40})</code>"
)
_Box = tuple[bytes, int, int]  # kind, where the payload begins, where it ends
_Placed = list[tuple[int, memoryview]]


class MediaFacts(BaseModel):
    """What a video file says about itself."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    """How long the pictures play, in seconds; sound may be longer or shorter."""
    width: int
    height: int
    """As the pictures are shown: of an MP4 or MOV that is turned by 90 degrees, upright."""
    fps: float
    """Pictures per second, on average."""
    frames: int
    """Pictures stored; an edit list may hide some of them."""
    codec: str
    """The four letters the file gives it: avc1, hvc1, av01."""
    audio: bool
    bytes: int


@dataclass
class _Track:
    """One track of the movie header, with what fragments add to it."""

    kind: bytes
    timescale: int
    """Ticks per second."""
    edited: float | None
    """How many seconds of its media it shows; None if it does not say."""
    codec: bytes = b""
    width: int = 0
    height: int = 0
    samples: int = 0
    ticks: int = 0
    fragment_ticks: int = 0
    """How long a sample of a fragment lasts that says nothing else."""
    fragment_size: int = 0
    """How many bytes such a sample has."""


def inspect(file: BinaryIO) -> tuple[MediaFacts, tuple[str, ...]]:
    """Prove that a seekable file is a whole video that plays.

    Return facts, and what is odd about it.

    MP4, MOV and WebM are accepted. Raises `NotAVideo` with the reason. The position in the file
    stays where it was.
    """
    origin = file.tell()
    try:
        if bytes(_read_at(file, 0, len(WEBM))) == WEBM:
            return _webm_facts(file), ("it is a WebM file, not an MP4",)
        facts = read_facts(file)
        tail = facts.bytes - _end_of_boxes(file, facts.bytes)
        if tail:
            return facts, (f"{tail:,} bytes behind its last box are no part of the video",)
        return facts, ()
    finally:
        file.seek(origin)


def _webm_facts(file: BinaryIO) -> MediaFacts:
    track = read_webm(file)
    return MediaFacts(
        seconds=track.seconds,
        width=track.width,
        height=track.height,
        fps=track.frames / track.seconds,
        frames=track.frames,
        codec=track.codec,
        audio=track.audio,
        bytes=track.bytes,
    )


def read_facts(file: BinaryIO, size: int | None = None) -> MediaFacts:
    """Prove from its boxes that a seekable file is a whole MP4 or MOV with pictures; return facts.

    With `size`, a file of any other length is refused. Raises `NotAVideo` with the reason. The
    position in the file stays where it was, so calling twice is safe. One cut cannot be seen: a
    fragmented file that ends exactly between two fragments is a shorter file.
    """
    origin = file.tell()
    try:
        length = file.seek(0, os.SEEK_END)
        _refuse_other_kinds(bytes(_read_at(file, 0, 512)))
        moov, moofs = _read_headers(file, length)
        if size not in (None, length):
            raise NotAVideo(f"the file has {length:,} bytes where {size:,} were promised")
        tracks = _read_tracks(moov, length)
        for start, moof in moofs:
            for traf in _children(moof, b"traf"):
                _add_fragment(tracks, traf, start, length)
        return _summarise(tracks, length, fragmented=bool(moofs))
    except (struct.error, ZeroDivisionError, KeyError):
        raise NotAVideo(
            "the movie header is damaged: its tables do not hold what they claim"
        ) from None
    finally:
        file.seek(origin)


def _read_headers(file: BinaryIO, size: int) -> tuple[memoryview, _Placed]:
    """Return the movie header, and every fragment header with its place in the file.

    What follows the last whole box is left to the sample tables, which show whether anything of
    the video is missing; only where a further fragment may have begun there, it is a cut.
    """
    kept: dict[bytes, _Placed] = {b"moov": [], b"moof": [], b"mdat": []}
    budget = _HEADER_LIMIT
    tail: _Tail | None = None
    for start, (kind, payload, end), behind in _walk_file(file, size):
        tail = behind
        if kind not in kept:
            continue
        length = end - payload
        if kind == b"mdat":
            length = 0
        budget -= length
        if budget < 0:
            raise NotAVideo(f"the headers take more than {_HEADER_LIMIT:,} bytes")
        kept[kind].append((start, _read_at(file, payload, length)))
    if tail is not None:
        is_endless_media = tail.kind == b"mdat" and not kept[b"moof"]
        if not kept[b"moov"] or not (kept[b"mdat"] or is_endless_media):
            raise NotAVideo(tail.reason)
        is_fragmented = kept[b"moof"] or any(_children(kept[b"moov"][0][1], b"mvex"))
        if is_fragmented and tail.may_be_media:
            raise NotAVideo(tail.reason)
        return kept[b"moov"][0][1], kept[b"moof"]
    for kind, name in ((b"moov", "movie header"), (b"mdat", "media data")):
        if not kept[kind]:
            raise NotAVideo(f"the file has no {name}: it is cut, or it is no video")
    return kept[b"moov"][0][1], kept[b"moof"]


def _refuse_other_kinds(start: bytes) -> None:
    if not start:
        raise NotAVideo("the file is empty")
    page = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    text = page.lower()
    for signature, kind in _OTHER_KINDS.items():
        if text.startswith(signature):
            # What else it says is not told: a link may have led to a page of somebody else.
            code = _STORE_ERROR.search(text)
            detail = ""
            if code is not None:
                detail = page[code.start(1) : code.end(1)].decode("ascii")
            raise NotAVideo(f"this is {kind}, not a video", detail=detail)
    if start[4:8] not in _FIRST_BOXES:
        raise NotAVideo("this does not start like an MP4 video: there is no ftyp box")


@dataclass(frozen=True)
class _Tail:
    """What follows the last whole box of a file."""

    start: int
    kind: bytes
    """The four letters where a box would have its name."""
    reason: str
    """Why the file would be refused for it."""

    @property
    def may_be_media(self) -> bool:
        """Whether it may be the beginning of a box that holds pictures, sound or their places."""
        return len(self.kind) < 4 or self.kind in _FRAGMENT_BOXES


def _walk_file(file: BinaryIO, size: int) -> Iterator[tuple[int, _Box, _Tail | None]]:
    """Yield start and box of everything at the top, then an empty box with what comes after."""
    at = 0
    for _ in range(_BOX_LIMIT):
        if at == size:
            return
        header = _read_at(file, at, 16)
        box = _parse_box(header, at, size)
        reason = ""
        if box is None or not box[0].decode("latin-1").isprintable():
            reason = (
                f"the {size - at:,} bytes from byte {at:,} on are no part of an MP4: cut or damaged"
            )
        elif box[2] > size:
            name = box[0].decode("latin-1")
            missing = box[2] - size
            reason = f"the file is cut: it ends inside the box {name}, {missing:,} bytes short"
        if box is None or reason:
            yield at, (b"", at, at), _Tail(at, bytes(header[4:8]), reason)
            return
        yield at, box, None
        at = box[2]
    raise NotAVideo(f"the file has more than {_BOX_LIMIT:,} boxes at the top")


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Return where the last whole box of a file ends."""
    for _, _, tail in _walk_file(file, size):
        if tail is not None:
            return tail.start
    return size


def _parse_box(header: memoryview, at: int, limit: int) -> _Box | None:
    """Read the box header found at position `at`; None means there is none."""
    if len(header) < 8:
        return None
    length, kind = struct.unpack_from(">I4s", header)
    payload = at + 8
    if length == 1 and len(header) == 16:
        (length,) = struct.unpack_from(">Q", header, 8)
        payload = at + 16
    end = limit  # a length of 0: the box goes on to the end
    if length:
        end = at + length
    if end < payload:
        return None
    return kind, payload, end


def _read_at(file: BinaryIO, at: int, count: int) -> memoryview:
    file.seek(at)
    return memoryview(file.read(count))


def _children(data: memoryview, name: bytes) -> Iterator[memoryview]:
    """Yield the payloads of the boxes with this name; fewer than 8 bytes at the end are padding."""
    at = 0
    while len(data) - at >= 8:
        box = _parse_box(data[at : at + 16], at, len(data))
        if box is None or box[2] > len(data):
            raise NotAVideo("the movie header is damaged: its boxes do not fit into each other")
        kind, payload, at = box
        if kind == name:
            yield data[payload:at]


def _find(data: memoryview, *path: bytes) -> memoryview:
    """Follow the first box of each name; an empty payload stands for one that is not there."""
    for name in path:
        data = next(_children(data, name), memoryview(b""))
    return data


def _read_tracks(moov: memoryview, size: int) -> dict[int, _Track]:
    movie_timescale = _after_dates(_find(moov, b"mvhd"))
    tracks = {}
    for trak in _children(moov, b"trak"):
        tracks[_after_dates(_find(trak, b"tkhd"))] = _read_track(trak, movie_timescale, size)
    for trex in _children(_find(moov, b"mvex"), b"trex"):
        number, ticks, length = struct.unpack_from(">4xI4xII", trex)
        if number in tracks:
            tracks[number].fragment_ticks = ticks
            tracks[number].fragment_size = length
    return tracks


def _read_track(trak: memoryview, movie_timescale: int, size: int) -> _Track:
    media = _find(trak, b"mdia")
    table = _find(media, b"minf", b"stbl")
    (kind,) = struct.unpack_from(">8x4s", _find(media, b"hdlr"))
    track = _Track(
        kind=kind,
        timescale=_after_dates(_find(media, b"mdhd")),
        edited=_read_edits(_find(trak, b"edts", b"elst"), movie_timescale),
    )
    if kind == b"vide":
        sample_entry = struct.unpack_from(">12x4s24xHH", _find(table, b"stsd"))
        track.codec, track.width, track.height = sample_entry
        if _lies_on_its_side(_find(trak, b"tkhd")):
            track.width, track.height = track.height, track.width
    if kind in (b"vide", b"soun"):
        track.samples = _check_samples(table, size)
        times = _read_entries(_find(table, b"stts"), 2)
        track.ticks = sum(map(operator.mul, times[::2], times[1::2]))
    return track


def _lies_on_its_side(tkhd: memoryview) -> bool:
    """Whether a track header's matrix turns its pictures by 90 or 270 degrees."""
    offset = 40
    if bytes(tkhd[:1]) == b"\1":
        offset = 52
    if len(tkhd) < offset + 8:
        return False
    along: int
    across: int
    along, across = struct.unpack_from(">ii", tkhd, offset)
    return abs(across) > abs(along)


def _after_dates(header: memoryview) -> int:
    """Return the number behind the two dates of a header: ticks per second, or a track's number."""
    offset = 12
    if bytes(header[:1]) == b"\1":
        offset = 20
    (number,) = struct.unpack_from(">I", header, offset)
    return int(number)


def _read_edits(elst: memoryview, movie_timescale: int) -> float | None:
    """Return how many seconds of its media a track shows; None if it does not say."""
    if not elst:
        return None
    form = ">Ii4x"
    if bytes(elst[:1]) == b"\1":
        form = ">Qq4x"
    (count,) = struct.unpack_from(">4xI", elst)
    shown = 0
    for number in range(count):
        ticks, begin = struct.unpack_from(form, elst, 8 + number * struct.calcsize(form))
        if begin >= 0:
            shown += ticks
    return shown / movie_timescale or None


def _read_entries(box: memoryview, columns: int = 1, code: str = "I") -> Sequence[int]:
    """Read the table of a box that starts with the number of its entries."""
    (count,) = struct.unpack_from(">4xI", box)
    return _read_numbers(box, 8, count * columns, code)


def _read_numbers(data: memoryview, at: int, count: int, code: str = "I") -> Sequence[int]:
    """Read big-endian numbers of 32 (I) or 64 (Q) bits; a false count allocates nothing."""
    numbers = array(code)
    part = data[at : at + count * numbers.itemsize]
    if len(part) < count * numbers.itemsize:
        raise struct.error
    numbers.frombytes(part)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _check_samples(table: memoryview, size: int) -> int:
    """Prove that every sample of a track lies inside the file; return how many there are."""
    stsz = _find(table, b"stsz")
    uniform_size, samples = struct.unpack_from(">4xII", stsz)
    sizes: Sequence[int] = ()
    if not uniform_size:
        sizes = _read_numbers(stsz, 12, samples)

    co64 = _find(table, b"co64")
    offsets = _read_entries(co64, code="Q") if co64 else _read_entries(_find(table, b"stco"))

    # An entry of stsc says from which chunk on each chunk holds how many samples.
    entries = _read_entries(_find(table, b"stsc"), 3)
    chunk_counts = map(operator.sub, [*entries[3::3], 1 << 32], entries[::3])
    samples_per_chunk = chain.from_iterable(map(repeat, entries[1::3], chunk_counts))

    placed = 0
    for offset, count in zip(offsets, samples_per_chunk, strict=False):
        length = uniform_size * count
        if not uniform_size:
            length = sum(sizes[placed : placed + count])
        _check_end(offset + length, size)
        placed += count
    if placed < samples:
        raise NotAVideo(
            f"the movie header is damaged: {samples - placed:,} samples have no place in the file"
        )
    return int(samples)


def _check_end(end: int, size: int) -> None:
    if end > size:
        raise NotAVideo(f"the file is cut: {end - size:,} bytes of pictures or sound are missing")


def _add_fragment(tracks: dict[int, _Track], traf: memoryview, start: int, size: int) -> None:
    """Add the samples of one fragment to its track; the fragment begins at `start` in the file."""
    tfhd = _find(traf, b"tfhd")
    flags, number = struct.unpack_from(">II", tfhd)
    track = tracks[number]
    base = start
    ticks = track.fragment_ticks
    length = track.fragment_size
    # Each flag stands for a field that is there, in this order.
    at = 8
    if flags & 1:
        (base,) = struct.unpack_from(">Q", tfhd, at)
        at += 8
    if flags & 2:
        at += 4
    if flags & 8:
        (ticks,) = struct.unpack_from(">I", tfhd, at)
        at += 4
    if flags & 16:
        (length,) = struct.unpack_from(">I", tfhd, at)

    end = base
    for trun in _children(traf, b"trun"):
        flags, count = struct.unpack_from(">II", trun)
        if flags & 1:
            (offset,) = struct.unpack_from(">8xi", trun)
            end = base + offset
        end += _sum_column(trun, 0x200, length)
        _check_end(end, size)
        track.samples += count
        track.ticks += _sum_column(trun, 0x100, ticks)


def _sum_column(trun: memoryview, wanted: int, default: int) -> int:
    """Add up the durations (0x100) or sizes (0x200) of a run of samples."""
    flags, count = struct.unpack_from(">II", trun)
    columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    table = _read_numbers(trun, 8 + 4 * (flags & 1) + (flags & 4), count * len(columns))
    if wanted not in columns:
        return int(default * count)
    return sum(table[columns.index(wanted) :: len(columns)])


def _summarise(tracks: dict[int, _Track], size: int, *, fragmented: bool) -> MediaFacts:
    with_samples = [track for track in tracks.values() if track.samples]
    videos = [track for track in with_samples if track.kind == b"vide"]
    if not videos or not videos[0].width or not videos[0].height:
        raise NotAVideo("the file holds no pictures")
    video = videos[0]
    seconds = video.ticks / video.timescale
    # An edit list counts in coarser ticks: a difference of less than a picture is rounding.
    if video.edited and not fragmented and seconds - video.edited > seconds / video.samples:
        seconds = video.edited
    return MediaFacts(
        seconds=seconds,
        width=video.width,
        height=video.height,
        fps=video.samples * video.timescale / video.ticks,
        frames=video.samples,
        codec=printable(video.codec.decode("latin-1")),
        audio=any(track.kind == b"soun" for track in with_samples),
        bytes=size,
    )
