"""Downloading one link into one open file: whole, counted and hashed, or not at all."""

import hashlib
import time
from dataclasses import dataclass
from typing import BinaryIO

import httpx

from prefect_kling.kling.client import trust_store
from prefect_kling.studio.errors import DownloadBroken, InputUnusable, LinkExpired

BROWSER_USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0 Safari/537.36"
)
FRUITLESS_ROUNDS = 3
TOTAL_SECONDS = 900.0
PAUSE_SECONDS = 0.25
TIMEOUT = httpx.Timeout(60.0, connect=10.0)


@dataclass(frozen=True)
class Received:
    """What was downloaded."""

    size: int
    """Length in bytes."""
    sha256: str
    """Hash of the bytes, in hex."""


def download(
    url: str,
    file: BinaryIO,
    total_seconds: float = TOTAL_SECONDS,
    most_bytes: float = float("inf"),
    pause_seconds: float = PAUSE_SECONDS,
) -> Received:
    """Download a link into an empty, open file. Memory use does not depend on the length.

    An interrupted transfer continues where it ended (Range with If-Range); if the file has changed
    at the server, it starts over. `pause_seconds` is the pause after an attempt that brought no new
    byte, doubled with each. Blocking, free, and safe to repeat with an empty file.

    Raises `LinkExpired` on 403, 404 and 410 (on 403 only after a second attempt with a browser's
    User-Agent, because one host of the operator refuses others), `DownloadBroken` after three
    attempts in a row without a new byte or after `total_seconds`, and `InputUnusable` as soon as
    more than `most_bytes` have arrived.
    """
    transfer = _Transfer(url, file, total_seconds, most_bytes, pause_seconds)
    with httpx.Client(
        timeout=TIMEOUT,
        follow_redirects=True,
        headers={"Accept-Encoding": "identity"},
        verify=trust_store(),
    ) as http:
        while not transfer.is_complete:
            transfer.attempt(http)
    return Received(transfer.size, transfer.sha256.hexdigest())


class _Transfer:
    """The state of one download across its attempts."""

    def __init__(
        self,
        url: str,
        file: BinaryIO,
        total_seconds: float,
        most_bytes: float,
        pause_seconds: float,
    ) -> None:
        self.url = url
        self.file = file
        self.deadline = time.monotonic() + total_seconds
        self.most_bytes = most_bytes
        self.pause_seconds = pause_seconds
        self.as_browser = False
        self.fruitless_count = 0
        self.is_complete = False
        self._start_over()

    def _start_over(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.etag = ""
        self.total: int | None = None

    def attempt(self, http: httpx.Client) -> None:
        """Open the link once and take what arrives; raises if another attempt cannot help."""
        size_before = self.size
        problem = ""
        try:
            with http.stream("GET", self.url, headers=self._headers()) as response:
                problem = self._check(response)
                if not problem:
                    self._take(response)
                    self.is_complete = self.total is None or self.size == self.total
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"

        if self.is_complete:
            return
        if self.size > size_before:
            self.fruitless_count = 0
            return

        self.fruitless_count += 1
        if self.fruitless_count >= FRUITLESS_ROUNDS:
            arrived = f"{self.size:,}"
            if self.total is not None:
                arrived = f"{self.size:,} of {self.total:,}"
            raise DownloadBroken(f"the download stopped after {arrived} bytes", detail=problem)
        time.sleep(self.pause_seconds * 2**self.fruitless_count)

    def _headers(self) -> dict[str, str]:
        headers = {}
        if self.as_browser:
            headers["User-Agent"] = BROWSER_USER_AGENT
        if self.size and self.etag:
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
            return ""
        if status == 429 or status >= 500:
            return f"HTTP {status}"

        self._start_over()
        if status != 200:
            return f"HTTP {status}"
        etag = response.headers.get("etag", "")
        if not etag.startswith("W/"):  # weakly equal files may differ in their bytes
            self.etag = etag
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
            self.size += len(piece)
            if self.size > self.most_bytes:
                raise InputUnusable(f"it holds more than {self.most_bytes:,} bytes")
            if time.monotonic() > self.deadline:
                raise DownloadBroken(
                    f"the download was too slow, {self.size:,} bytes arrived in time"
                )
