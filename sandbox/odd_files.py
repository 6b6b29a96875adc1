"""Results as a server may deliver them: sound videos in an unexpected form, and damaged ones."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from prefect_kling.sandbox.faults import FaultAction

KINDS = frozenset({"truncate", "append", "webm", "gzip", "media_type", "slow"})
_TAILS = {"zeros": bytes(1024), "json": b'{"label": "made by a model"}'}
_PIECES_PER_SECOND = 10


def serve_oddly(action: FaultAction, path: Path, headers: dict[str, str]) -> Response:
    """Return the answer to a request for a file that a fault spoils."""
    media_type = "video/mp4"
    if action.truncate is not None:
        content = path.read_bytes()[: action.truncate]
        path = _copy(path, f"{action.truncate}.cut", content)
    if action.append is not None:
        path = _copy(path, f"{action.append}.mp4", path.read_bytes() + _TAILS[action.append])
    if action.webm:
        path = _as_webm(path)
        media_type = "video/webm"
    if action.gzip:
        path = _copy(path, "gz", gzip.compress(path.read_bytes(), mtime=0))
        headers = {**headers, "content-encoding": "gzip"}
    if action.slow is not None:
        headers = {**headers, "content-length": str(path.stat().st_size)}
        pieces = _slowly(path.read_bytes(), action.slow)
        return StreamingResponse(pieces, headers=headers, media_type=media_type)
    headers = {**headers, "etag": f'"{path.name}"'}
    return FileResponse(path, headers=headers, media_type=action.media_type or media_type)


def serve_wrong_range(path: Path, request: Request, headers: dict[str, str]) -> Response:
    """Answer a request for the rest of a file as it should be, with every byte changed."""
    content = path.read_bytes()
    start = int(request.headers["range"].removeprefix("bytes=").partition("-")[0])
    wrong = bytes(byte ^ 0xFF for byte in content[start:])
    headers = {**headers, "content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    return Response(wrong, 206, headers, media_type="video/mp4")


async def _slowly(content: bytes, bytes_per_second: float) -> AsyncIterator[bytes]:
    step = max(1, int(bytes_per_second / _PIECES_PER_SECOND))
    for start in range(0, len(content), step):
        yield content[start : start + step]
        await asyncio.sleep(1 / _PIECES_PER_SECOND)


def _copy(path: Path, ending: str, content: bytes) -> Path:
    """Keep a spoilt copy of a clip beside it, so that ranges and entity tags agree."""
    copy = path.with_name(f"{path.stem}-{ending}")
    if not copy.exists():
        copy.write_bytes(content)
    return copy


def _as_webm(path: Path) -> Path:
    """Keep a clip's pictures as WebM beside it; sound is left out."""
    copy = path.with_suffix(".webm")
    if copy.exists():
        return copy
    part = path.with_suffix(".part")
    # PyAV is loaded only by those who need it: importing the sandbox stays light.
    import av

    with av.open(path) as source, av.open(part, "w", format="webm") as target:
        pictures = source.streams.video[0]
        stream = target.add_stream("libvpx-vp9", rate=pictures.average_rate)
        stream.width = pictures.width
        stream.height = pictures.height
        stream.pix_fmt = "yuv420p"
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for frame in source.decode(pictures):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    part.rename(copy)
    return copy
