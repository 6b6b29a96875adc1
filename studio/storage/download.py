"""Downloading one link into one open file: whole, counted and hashed, or not at all."""

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin

import httpx

from prefect_kling.kling.addresses import number_of
from prefect_kling.kling.connections import trust_store
from prefect_kling.kling.http_logs import HTTP_LOGGERS, hide_links_in_logs
from prefect_kling.kling.result_access import PUBLIC_ONLY, ResultAccess
from prefect_kling.kling.server_words import words
from prefect_kling.studio.errors import (
    DownloadBroken,
    InputUnusable,
    LinkExpired,
    LinkForbidden,
)

BROWSER_USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0 Safari/537.36"
)
FRUITLESS_ROUNDS = 3
LEAST_PROGRESS = 1024
"""An attempt that brings fewer new bytes is fruitless, unless they are the last ones."""
MOST_ATTEMPTS = 500
MOST_ROUNDS = 4
"""How many times the allowed length may arrive in all: a transfer that breaks may start over."""
MOST_REDIRECTS = 5
TOTAL_SECONDS = 900.0
PAUSE_SECONDS = 0.25
TIMEOUT = httpx.Timeout(60.0, connect=10.0)


# An entity tag that is the MD5 of the bytes, as S3 and R2 give to files sent in one piece.
_MD5_TAG = re.compile(r'"([0-9a-f]{32})"', re.IGNORECASE)


@dataclass(frozen=True)
class Received:
    """What was downloaded."""

    size: int
    """Length in bytes."""
    sha256: str
    """Hash of the bytes, in hex."""
    is_pieced: bool = False
    """Whether it was put together from several answers, and no entity tag proves the whole."""
    media_type: str = ""
    """What the server calls it, in lower case and without parameters."""


class Stop:
    """Ends a download from another thread, also one that waits for a silent server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @property
    def is_set(self) -> bool:
        """Whether the download is to end."""
        return self._event.is_set()

    def set(self) -> None:
        """End the download: no further piece is taken, and its connection is shut down."""
        with self._lock:
            self._event.set()
            if self._socket is not None:
                # It may be closed already, or not connected yet.
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def pause(self, seconds: float) -> None:
        """Sleep, or return early when the download is to end."""
        self._event.wait(seconds)

    def watch(self, name: str, info: Mapping[str, Any]) -> None:
        """Note the connection of a request: the `trace` extension of httpx."""
        if name not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        found = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._socket = found
        if self.is_set:
            self.set()


def download(
    url: str,
    file: BinaryIO,
    total_seconds: float = TOTAL_SECONDS,
    most_bytes: float = float("inf"),
    pause_seconds: float = PAUSE_SECONDS,
    *,
    access: ResultAccess | None = PUBLIC_ONLY,
    stop: Stop | None = None,
    may_resume: bool = True,
) -> Received:
    """Download a link into an empty, open file. Memory use does not depend on the length.

    An interrupted transfer continues where it ended (Range with If-Range); if the file has changed
    at the server, or `may_resume` is false, it starts over. A file that was continued and does not
    match an entity tag that looks like an MD5 is fetched anew, without ranges; where there is no
    such tag, `is_pieced` says that the whole is to be verified. `pause_seconds` is the pause after
    an attempt that broke; it doubles with each fruitless one. Setting `stop` ends it within a
    second or two (a connection that is being made: ten). Blocking, free, and safe to repeat with an
    empty file.

    `access` says to which addresses may be connected. The link and each redirect are looked up
    before, and the address of each connection is checked before anything is sent over it: a name
    may stand for another address by then. Behind a proxy only the former is possible. None: to all,
    for links that the user has written down.

    Raises `LinkExpired` on 403, 404 and 410 (on 403 only after a second attempt with a browser's
    User-Agent, because one host of the operator refuses others) and for what is no link,
    `LinkForbidden` for an address that is not allowed, `DownloadBroken` after three attempts in a
    row that brought next to nothing, after `total_seconds` or when stopped, and `InputUnusable` as
    soon as more than `most_bytes` have arrived. After `DownloadBroken` and `InputUnusable` the file
    holds what has arrived.
    """
    hide_links_in_logs(*HTTP_LOGGERS)
    transfer = _Transfer(url, file, total_seconds, most_bytes, pause_seconds, stop or Stop())
    transfer.may_resume = may_resume
    transfer.access = access
    with httpx.Client(
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
        verify=trust_store(),
    ) as http:
        while not transfer.is_complete:
            transfer.attempt(http)
            if transfer.is_complete and transfer.contradicts_its_tag:
                transfer.forget()
    return transfer.received


class _Transfer:
    """The state of one download across its attempts."""

    def __init__(
        self,
        url: str,
        file: BinaryIO,
        total_seconds: float,
        most_bytes: float,
        pause_seconds: float,
        stop: Stop,
    ) -> None:
        self.url = url
        self.file = file
        self.deadline = time.monotonic() + total_seconds
        self.most_bytes = most_bytes
        self.pause_seconds = pause_seconds
        self.stop = stop
        self.as_browser = False
        self.may_resume = True
        self.access: ResultAccess | None = PUBLIC_ONLY
        self.attempt_count = 0
        self.taken = 0
        self.fruitless_count = 0
        self.most_arrived = 0
        self.is_complete = False
        self._start_over()

    def _start_over(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self.etag = ""
        self.media_type = ""
        self.is_continued = False
        self.total: int | None = None

    @property
    def received(self) -> Received:
        """What has arrived."""
        is_proven = _MD5_TAG.fullmatch(self.etag) is not None
        return Received(
            self.size,
            self.sha256.hexdigest(),
            is_pieced=self.is_continued and not is_proven,
            media_type=self.media_type,
        )

    @property
    def contradicts_its_tag(self) -> bool:
        """Whether a file put together from ranges is another one than its tag, an MD5, says."""
        tag = _MD5_TAG.fullmatch(self.etag)
        if tag is None or not self.is_continued:
            return False
        return tag[1].lower() != self.md5.hexdigest()

    def forget(self) -> None:
        """Drop what has arrived, and ask for no more ranges: the server's ranges are wrong."""
        self.may_resume = False
        self.is_complete = False
        self.most_arrived = 0
        self._start_over()

    def attempt(self, http: httpx.Client) -> None:
        """Open the link once and take what arrives; raises if another attempt cannot help."""
        problem = ""
        self._check_stop()
        self.attempt_count += 1
        try:
            with self._open(http) as response:
                problem = self._check(response)
                if not problem:
                    self._take(response)
                    self.is_complete = self.total is None or self.size == self.total
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            raise LinkExpired("the result link is no link", detail=words(str(error))) from None
        except httpx.HTTPError as error:
            # Its text may quote what the server sent.
            problem = type(error).__name__

        self._check_stop()
        if self.is_complete:
            return
        if self.attempt_count >= MOST_ATTEMPTS:
            raise self._broken(problem)
        # Compared with the most there ever was: a transfer that starts over again and again makes
        # no progress.
        progress = self.size - self.most_arrived
        self.most_arrived = max(self.size, self.most_arrived)
        if progress >= LEAST_PROGRESS:
            self.fruitless_count = 0
        else:
            self.fruitless_count += 1
        if self.fruitless_count >= FRUITLESS_ROUNDS:
            raise self._broken(problem)
        self.stop.pause(self.pause_seconds * 2**self.fruitless_count)

    def _broken(self, problem: str) -> DownloadBroken:
        arrived = f"{self.size:,}"
        if self.total is not None:
            arrived = f"{self.size:,} of {self.total:,}"
        return DownloadBroken(f"the download stopped after {arrived} bytes", detail=problem)

    @contextmanager
    def _open(self, http: httpx.Client) -> Iterator[httpx.Response]:
        """Open the link, and what it redirects to; every address is checked before it is asked."""
        url = self.url
        came_from = ""
        for _ in range(MOST_REDIRECTS + 1):
            if self.access is not None and not self.access.allows_host(url, came_from):
                raise _forbidden(came_from)
            extensions = {"trace": self._watch(url, came_from)}
            with http.stream(
                "GET", url, headers=self._headers(), extensions=extensions
            ) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                came_from = url
                url = urljoin(url, response.headers["location"])
        raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS}")

    def _watch(self, url: str, came_from: str) -> Callable[[str, Mapping[str, Any]], None]:
        """Return an extension of httpx that ends connections to addresses that are not allowed."""
        host = httpx.URL(url).raw_host.decode("ascii")
        is_direct = False

        def watch(name: str, info: Mapping[str, Any]) -> None:
            nonlocal is_direct
            if name.endswith("connect_tcp.started"):
                # A proxy is another host, and connects in our place.
                is_direct = info["host"] == host
            if name.endswith("connect_tcp.complete") and is_direct and self.access is not None:
                stream = info["return_value"]
                number = number_of(str(stream.get_extra_info("server_addr")[0]))
                if number is None or not self.access.allows(url, number, came_from):
                    stream.close()
                    raise _forbidden(came_from)
            self.stop.watch(name, info)

        return watch

    def _check_stop(self) -> None:
        if self.stop.is_set:
            raise DownloadBroken(f"the download was stopped after {self.size:,} bytes")

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.as_browser:
            headers["User-Agent"] = BROWSER_USER_AGENT
        if self.size and self.etag and self.may_resume:
            headers["Range"] = f"bytes={self.size}-"
            headers["If-Range"] = self.etag
        return headers

    def _check(self, response: httpx.Response) -> str:
        """Get ready for the body of an answer; return why it is of no use, or "".

        Raises `LinkExpired` if no other attempt can help.
        """
        status = response.status_code
        if status == 403 and not self.as_browser:
            self.as_browser = True
            return "403, trying again as a browser"
        if status in (403, 404, 410):
            raise LinkExpired("the result link is no longer served", status=status)
        if status == 206 and self._is_continuation(response):
            self.is_continued = True
            return ""
        if status == 416:
            # Nothing is behind what has arrived, although less than was promised: fetched anew.
            self.may_resume = False
            return "HTTP 416"
        if status == 429 or status >= 500:
            return f"HTTP {status}"

        self._start_over()
        if status != 200:
            return f"HTTP {status}"
        etag = response.headers.get("etag", "")
        if not etag.startswith("W/"):  # weakly equal files may differ in their bytes
            self.etag = etag
        media_type = response.headers.get("content-type", "")
        self.media_type = media_type.partition(";")[0].strip().lower()
        length = response.headers.get("content-length", "")
        if length.isdecimal():
            self.total = int(length)
        return ""

    def _is_continuation(self, response: httpx.Response) -> bool:
        if self.total is None:
            return False
        expected = f"bytes {self.size}-{self.total - 1}/{self.total}"
        return bool(response.headers.get("content-range") == expected)

    def _take(self, response: httpx.Response) -> None:
        # Without a size, iter_raw gives what has arrived. With one, it drops a buffer that is not
        # full when the connection breaks, and a link that breaks often would never make progress.
        for piece in response.iter_raw():
            self.file.write(piece)
            self.sha256.update(piece)
            self.md5.update(piece)
            self.size += len(piece)
            self.taken += len(piece)
            if self.size > self.most_bytes or self.taken > MOST_ROUNDS * self.most_bytes:
                raise InputUnusable(f"it holds more than {self.most_bytes:,} bytes")
            self._check_stop()
            if time.monotonic() > self.deadline:
                raise DownloadBroken(
                    f"the download was too slow, {self.size:,} bytes arrived in time"
                )


def _forbidden(came_from: str) -> LinkForbidden:
    what = "the result link leads"
    if came_from:
        what = "the result link redirects"
    return LinkForbidden(f"{what} to an address from which no results are fetched")
