"""How the API gets at the inputs of a request: by links it can reach, or by its own upload."""

import asyncio
import hashlib
import io
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from PIL import Image

from prefect_kling.kling.addresses import host_of, is_reachable_by_lookup
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.server_words import words
from prefect_kling.studio.errors import InputUnreachable, InputUnusable
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

# No such host exists (RFC 2606): it stands for "an object of this archive" in requests that are
# planned, hashed or written down.
ARCHIVE_HOST = "archive.invalid"
RENEW_SECONDS = 6 * 24 * 3600.0
"""How long an uploaded file is used: the API keeps it for 7 days, and a job may wait for some."""
IN_MEMORY_BYTES = 4 * 2**20
MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
}
# Names that end like a picture or a video, below one of the folders of inputs. Nothing in it is
# escaped, goes up, or has another meaning for a store than it has here.
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_INPUT_PATH = re.compile(
    rf"(?:{'|'.join(layout.INPUT_FOLDERS)})(?:{_NAME}/)*{_NAME}\.(?:{'|'.join(MEDIA_TYPES)})"
)


@dataclass(frozen=True)
class InputAccess:
    """Where the API is, and how it gets at inputs."""

    api_url: str
    uploads: bool = False
    """Whether inputs of the archive are uploaded to the API."""
    checks_links: bool = True
    """Whether links that it cannot reach are refused."""

    def reaches(self, url: str) -> bool:
        """Whether the API can reach an address, as far as that is known here.

        Blocks, as it may ask a name server.
        """
        return not self.checks_links or is_reachable_by_lookup(url, self.api_url)


@dataclass(frozen=True)
class UnreachableInput:
    """An input that the API cannot fetch: the host of its link, and whose link it is."""

    host: str
    is_signed: bool
    """Whether it is a signed link of the store, and no link of the user."""
    api_url: str

    def __str__(self) -> str:
        whose = "an input"
        if self.is_signed:
            whose = "the store"
        return (
            f"{whose} is at {self.host or 'no host'}, which the API at {self.api_url} cannot reach"
        )


def links_of(request: VideoRequest) -> Iterator[str]:
    """Yield the addresses of all pictures and videos of a request."""
    for image in request.image_list:
        yield image.image_url
    for video in request.video_list:
        yield video.video_url


def archive_path(url: str) -> str | None:
    """Return the path in the archive that an address stands for, or None for any other address.

    Raises `InputUnusable` for what is no input, such as a record of the ledger: the API would be
    given a link to it.
    """
    if host_of(url) != ARCHIVE_HOST:
        return None
    path = url.partition("//")[2].partition("/")[2]
    if not _INPUT_PATH.fullmatch(path):
        raise InputUnusable(f"{words(url)} stands for no picture and no video of the archive")
    return path


def has_archive_inputs(request: VideoRequest) -> bool:
    """Whether any picture or video of a request lies in the archive."""
    return any(archive_path(link) is not None for link in links_of(request))


def unreachable_inputs(
    request: VideoRequest, bucket: Bucket | None, access: InputAccess
) -> list[UnreachableInput]:
    """Return the inputs of a request that the API cannot fetch.

    Free; blocks, as it may ask a name server. Without a bucket, only the user's own links are
    looked at. Raises `InputUnusable` for an address in the archive that is no input.
    """
    found = []
    for link in links_of(request):
        path = archive_path(link)
        if path is not None:
            if access.uploads or bucket is None:
                continue
            link = bucket.sign(path, 1)
        if not access.reaches(link):
            found.append(UnreachableInput(host_of(link), path is not None, access.api_url))
    return found


def require_reachable(unreachable: list[UnreachableInput]) -> None:
    """Raise `InputUnreachable` if there is any input that the API cannot fetch."""
    if unreachable:
        told = dict.fromkeys(str(each) for each in unreachable)
        raise InputUnreachable("; ".join(told))


@dataclass(frozen=True)
class _Upload:
    address: str
    at: float


class UploadedInputs:
    """The inputs that this process has uploaded to the API, by their content.

    **Uploading publishes a file**: whoever knows its address can fetch it for 7 days. Addresses are
    kept in memory only. A file is uploaded again after `RENEW_SECONDS`.
    """

    def __init__(
        self, get_client: Callable[[], KlingClient], clock: Callable[[], float] = time.time
    ) -> None:
        self._get_client = get_client
        # By the wall clock, which goes on while a machine sleeps.
        self._clock = clock
        self._uploads: dict[str, _Upload] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def address(self, bucket: Bucket, path: str) -> str:
        """Return a public address of an object of the archive, uploading it if need be.

        Free, safe to repeat. Blocks, and must not be called in the thread of an event loop. Raises
        storage errors and those of `KlingClient.upload`.
        """
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            file = cast("BinaryIO", spool)
            bucket.fetch(path, file)
            return self.address_of(file, path.rpartition(".")[2])

    def address_of(self, file: BinaryIO, ending: str) -> str:
        """Return a public address of an open file; everything else is as in `address`."""
        file.seek(0)
        sha256 = hashlib.file_digest(cast("io.BytesIO", file), "sha256").hexdigest()
        with self._locks[sha256]:
            known = self._uploads.get(sha256)
            if known is not None and self._clock() - known.at < RENEW_SECONDS:
                return known.address
            # Noted before the upload: the API counts its 7 days from some moment after this one.
            began = self._clock()
            # No name of the user's is told.
            address = asyncio.run(self._upload(file, f"{sha256[:32]}.{ending}"))
            self._uploads[sha256] = _Upload(address, began)
            return address

    def prove(self) -> str:
        """Upload a small grey picture, to see that the API takes uploads, and return its address.

        Once in a process and 6 days. Raises what `KlingClient.upload` raises.
        """
        picture = io.BytesIO()
        Image.new("L", (300, 300), 128).save(picture, "PNG")
        return self.address_of(picture, "png")

    async def _upload(self, file: BinaryIO, name: str) -> str:
        # A client of its own: those of the run belong to the event loop of the run.
        async with self._get_client() as client:
            return await client.upload(file, name, MEDIA_TYPES[name.rpartition(".")[2]])
