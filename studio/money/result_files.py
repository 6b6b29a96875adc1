"""Fetching what a paid job has made: from allowed addresses, within what was ordered."""

from typing import BinaryIO

from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.errors import DownloadBroken, InputUnusable
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.download import PAUSE_SECONDS, Received, Stop, download

LONGEST_SECONDS = 15
"""An edit is as long as its input, at most 10 s; it is allowed what the longest clip is allowed."""
LEAST_BYTES = 32 * 2**20
BYTES_PER_SECOND = {"std": 16 * 2**20, "pro": 32 * 2**20}
"""ProRes 4444, the largest format in use, takes 18 and 41 MB a second at 720p and 1080p and 60
fps."""


def most_bytes(order: ClipOrder) -> int:
    """Return how long the video of an order may be, in bytes, by its seconds and its mode."""
    request = order.request
    seconds = request.duration
    if request.edits_video:
        seconds = max(seconds, LONGEST_SECONDS)
    return LEAST_BYTES + seconds * BYTES_PER_SECOND[request.mode]


def fetch_result(
    link: str,
    file: BinaryIO,
    order: ClipOrder,
    access: ResultAccess,
    pause_seconds: float = PAUSE_SECONDS,
    *,
    stop: Stop | None = None,
    may_resume: bool = True,
) -> Received:
    """Download a result link of a paid job into an empty, open file; see `download`.

    A file that is longer than `most_bytes` raises `DownloadBroken`, and its beginning is there.
    """
    try:
        return download(
            link,
            file,
            most_bytes=most_bytes(order),
            pause_seconds=pause_seconds,
            access=access,
            stop=stop,
            may_resume=may_resume,
        )
    except InputUnusable as error:
        length = error.message
    what = f"{length}, too many for {order.request.duration} s in mode {order.request.mode}"
    raise DownloadBroken(f"the download was ended: {what}")
