"""One result link into one open file: whole, counted and hashed, or not at all."""

import hashlib
import time
from dataclasses import dataclass
from typing import BinaryIO

import httpx

from prefect_kling.kling.client import trust_store
from prefect_kling.studio.errors import DownloadBroken, InputUnusable, LinkExpired

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"
FRUITLESS_ROUNDS = 3
TOTAL_SECONDS = 900.0
TIMEOUT = httpx.Timeout(60.0, connect=10.0)


@dataclass(frozen=True)
class Received:
    """What arrived: its length in bytes and its SHA-256 in hex."""

    size: int
    sha256: str


def download(
    url: str, file: BinaryIO, total_seconds: float = TOTAL_SECONDS, most_bytes: float = float("inf")
) -> Received:
    """Fetch a link into an empty, open file; memory use does not depend on the length.

    A dropped transfer goes on where it ended (Range with If-Range); a changed file starts over. Blocking and free
    to repeat with an empty file. Raises `LinkExpired` on 403, 404 and 410 (403 only after a second try with a
    browser's User-Agent, which one host of the operator asked for), `DownloadBroken` after three rounds without a new
    byte, or after `total_seconds`, and `InputUnusable` as soon as there are more than `most_bytes`.
    """
    transfer = _Transfer(url, file, time.monotonic() + total_seconds, most_bytes)
    plain = {"Accept-Encoding": "identity"}
    with httpx.Client(
        timeout=TIMEOUT, follow_redirects=True, headers=plain, verify=trust_store()
    ) as http:
        while not transfer.is_done:
            transfer.run_round(http)
    return Received(transfer.size, transfer.sha.hexdigest())


class _Transfer:
    """The state of one download across its rounds."""

    def __init__(self, url: str, file: BinaryIO, end: float, most_bytes: float) -> None:
        self.url, self.file, self.end, self.most_bytes = url, file, end, most_bytes
        self.browser = False
        self.fruitless = 0
        self.is_done = False
        self._start_over()

    def _start_over(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.sha, self.size, self.etag, self.total = hashlib.sha256(), 0, "", -1

    def run_round(self, http: httpx.Client) -> None:
        """Open the link once and take what it gives."""
        before, trouble = self.size, ""
        try:
            with http.stream("GET", self.url, headers=self._headers()) as response:
                trouble = self._accept(response)
                if not trouble:
                    self._take(response)
                    self.is_done = self.total in (-1, self.size)
        except httpx.HTTPError as error:
            trouble = f"{type(error).__name__}: {error}"
        self.fruitless = 0 if self.size > before else self.fruitless + 1
        if not self.is_done and self.fruitless >= FRUITLESS_ROUNDS:
            known = f" of {self.total:,}" if self.total >= 0 else ""
            raise DownloadBroken(
                f"the download stopped after {self.size:,}{known} bytes", detail=trouble
            )
        if self.fruitless:
            time.sleep(0.25 * 2**self.fruitless)

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": BROWSER} if self.browser else {}
        if self.size and self.etag:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self.etag}
        return headers

    def _accept(self, response: httpx.Response) -> str:
        """Prepare for the answer's body, or say why it is of no use; raises when the link is dead."""
        if response.status_code == 403 and not self.browser:
            self.browser = True
            return "403, trying again as a browser"
        if response.status_code in (403, 404, 410):
            raise LinkExpired("the result link is no longer served", status=response.status_code)
        if response.status_code == 206 and self._continues(response):
            return ""
        if response.status_code == 429 or response.status_code >= 500:
            return f"HTTP {response.status_code}"
        self._start_over()
        if response.status_code != 200:
            return f"HTTP {response.status_code}"
        etag = response.headers.get("etag", "")
        self.etag = "" if etag.startswith("W/") else etag
        length = response.headers.get("content-length", "")
        self.total = int(length) if length.isdecimal() else -1
        return ""

    def _continues(self, response: httpx.Response) -> bool:
        said: str = response.headers.get("content-range", "")
        return said == f"bytes {self.size}-{self.total - 1}/{self.total}"

    def _take(self, response: httpx.Response) -> None:
        # Without a size iter_raw hands over what has arrived; with one it throws a part-filled buffer away when the
        # connection dies, and a link that dies often would never get anywhere.
        for piece in response.iter_raw():
            self.file.write(piece)
            self.sha.update(piece)
            self.size += len(piece)
            if self.size > self.most_bytes:
                raise InputUnusable(f"it holds more than {self.most_bytes:,} bytes")
            if time.monotonic() > self.end:
                raise DownloadBroken(
                    f"the download was too slow, {self.size:,} bytes arrived in time"
                )
