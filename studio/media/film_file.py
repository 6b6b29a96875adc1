"""Writing an MP4 file: whole or not at all, and the same bytes every time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import av
from av.packet import Packet

# What x264 writes depends on the number of threads; a fixed number gives the same bytes on machines
# of any size. Two differences remain: without AVX2 x264 rounds differently, and with AVX-512 it is
# not exact for very small pictures (measured: of 160x90, one or two encodings in 100 differ; of
# 320x180, none in 600).
X264 = {"preset": "veryfast", "threads": "4", "forced-idr": "1"}
# bitexact leaves date and version out of the file.
MUXER = {"movflags": "+faststart", "fflags": "+bitexact"}

Packets: TypeAlias = "Iterable[Packet[Any]]"


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside the target; it is renamed at the end, or removed on an error.

    An error of the media library inside the block becomes an `OSError` that names the target.
    """
    part = target.absolute().with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        yield part
        part.replace(target)
    except av.FFmpegError as error:
        raise OSError(
            error.errno, f"the film cannot be written ({error.strerror})", str(target)
        ) from error
    finally:
        part.unlink(missing_ok=True)
