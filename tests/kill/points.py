"""Named points in a clip's life at which a process can be made to die.

The methods of this process are wrapped; production code knows nothing of it. A point that is passed
is told through a pipe, so that whoever shot the process from outside learns how far it had come.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

import httpx
from botocore.awsrequest import AWSConnection

from prefect_kling.studio.money.budget import Budget
from prefect_kling.studio.money.job_index import JobIndex
from prefect_kling.studio.money.ledger import Ledger
from prefect_kling.studio.storage.bucket import Bucket

UNSENT = ("before-claim", "marker-set", "after-claim", "money-reserved", "connected")
UNKNOWN = ("marked-sending", "mid-post", "posted", "answer-unread", "id-unsaved")
SAVED = (
    "id-saved",
    "index-written",
    "mid-poll",
    "mid-download",
    "before-upload",
    "mid-upload",
    "before-record",
    "before-done",
    "after-done",
)
POINTS = (*UNSENT, *UNKNOWN, *SAVED)
"""In the order of a clip's life: nothing was sent; nobody knows what was paid; the id is known."""

_SENT_HEADERS, _SENT_BODY = (
    "http11.send_request_headers.complete",
    "http11.send_request_body.complete",
)
# What httpcore says about a request, and the point that this is.
_TRACED = {
    "POST": {_SENT_HEADERS: "mid-post", _SENT_BODY: "posted"},
    "GET": {_SENT_HEADERS: "mid-poll"},
}


@dataclass(frozen=True)
class Passed:
    """A point that was passed, and when (system-wide monotonic clock)."""

    point: str
    at: float


class Points:
    """The points of this process, told as passed; the chosen one kills at its `count`th time."""

    def __init__(
        self,
        said: Connection,
        chosen: str | None = None,
        blow: int = signal.SIGKILL,
        count: int = 1,
    ) -> None:
        if chosen is not None and chosen not in POINTS:
            raise ValueError(f"there is no point {chosen}")
        self._said = said
        self._chosen = chosen
        self._blow = blow
        self._count = count
        self._uploading = False

    def reach(self, point: str) -> None:
        """Tell that a point is reached, and die there if it is the chosen one."""
        self._said.send(Passed(point, time.monotonic()))
        if point != self._chosen:
            return
        self._count -= 1
        if self._count == 0:
            os.kill(os.getpid(), self._blow)

    def install(self) -> None:
        """Wrap the methods of the money path. Once per process: it cannot be undone."""
        self._before(Ledger, "claim", lambda *_: "before-claim")
        self._before(Bucket, "create", lambda _, path, *__: _CREATES.get(path.rpartition("/")[0]))
        self._after(Ledger, "claim", lambda page: "after-claim" if page.is_mine else None)
        self._after(Budget, "reserve", lambda _: "money-reserved")
        self._before(Ledger, "mark_sending", lambda *_: "connected")
        self._after(Ledger, "mark_sending", lambda _: "marked-sending")
        self._before(Ledger, "submitted", lambda *_: "id-unsaved")
        self._after(Ledger, "submitted", lambda _: "id-saved")
        self._after(JobIndex, "take", lambda _: "index-written")
        self._before(Bucket, "put_file", lambda *_: "before-upload")
        self._before(Ledger, "archived", lambda *_: "before-done")
        self._after(Ledger, "archived", lambda _: "after-done")
        self._watch_requests()
        self._watch_download()
        self._watch_upload()

    def _before(self, owner: type, name: str, point_of: Callable[..., str | None]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if point := point_of(*args, **kwargs):
                self.reach(point)
            return original(*args, **kwargs)

        setattr(owner, name, watched)

    def _after(self, owner: type, name: str, point_of: Callable[[Any], str | None]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if point := point_of(result):
                self.reach(point)
            return result

        setattr(owner, name, watched)

    def _watch_requests(self) -> None:
        """Points in the API's requests: half sent, sent, and answered with the body unread."""
        original = httpx.AsyncHTTPTransport.handle_async_request

        async def watched(
            transport: httpx.AsyncHTTPTransport, request: httpx.Request
        ) -> httpx.Response:
            marks = (
                _TRACED.get(request.method, {})
                if request.url.path.endswith("/video/generations")
                else {}
            )

            ours = request.extensions.get("trace")

            async def trace(event: str, info: object) -> None:
                if ours is not None:
                    await ours(event, info)
                if event in marks:
                    self.reach(marks[event])

            request.extensions = {**request.extensions, "trace": trace}
            response = await original(transport, request)
            if marks and request.method == "POST":
                self.reach("answer-unread")
            return response

        httpx.AsyncHTTPTransport.handle_async_request = watched  # type: ignore[method-assign]

    def _watch_download(self) -> None:
        """A point after the first piece of a video was written down."""
        original = httpx.Response.iter_raw

        def watched(response: httpx.Response, *args: Any) -> Iterator[bytes]:
            for number, piece in enumerate(original(response, *args)):
                yield piece
                if number == 0 and "/files/" in response.url.path:
                    self.reach("mid-download")

        httpx.Response.iter_raw = watched  # type: ignore[method-assign]

    def _watch_upload(self) -> None:
        """A point at which the store has read half of a piece of the video and waits."""
        put_file, send = Bucket.put_file, AWSConnection.send

        def watched_put(bucket: Bucket, *args: Any) -> bool:
            self._uploading = True
            try:
                return put_file(bucket, *args)
            finally:
                self._uploading = False

        def watched_send(connection: Any, data: Any) -> None:
            if self._uploading and isinstance(data, bytes) and not data.startswith(b"PUT "):
                half = len(data) // 2
                send(connection, data[:half])
                self.reach("mid-upload")
                data = data[half:]
            send(connection, data)

        Bucket.put_file = watched_put  # type: ignore[method-assign]
        AWSConnection.send = watched_send  # type: ignore[assignment]


# What is created under a condition: a record of the ledger, whose marker is already there, or a
# clip's own record.
_CREATES = {"ledger/jobs": "marker-set", "clips": "before-record"}
