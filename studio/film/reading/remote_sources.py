"""Texts that lie elsewhere, behind a link or in the archive's bucket; storyboards with the files they name."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from prefect_kling.studio.errors import InputUnusable, LinkExpired, StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.yaml_text import parse
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.uploads import VIDEO_BYTES, is_link, local_file, upload_files
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.download import download

STORYBOARD_BYTES, TABLE_BYTES = 1_000_000, 20_000_000
_PATH = re.compile(r"s3://\S+|[^{}\[\]:]+\.(ya?ml|jsonl?|csv|tsv)", re.IGNORECASE)


def is_address(given: str) -> bool:
    """Whether a text says where the thing itself is, rather than being it: a link, an `s3://` address, a path."""
    words = given.strip()
    return "\n" not in words and (is_link(words) or bool(_PATH.fullmatch(words)))


def shown(address: str) -> str:
    """Return an address without what may be secret in it: a signature in its query, a password before its host."""
    parts = urlsplit(address.strip())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def fetch_storyboard(address: str, archive: Archive) -> Storyboard:
    """Read a storyboard, and keep the files it names that lie beside it in the archive.

    `address`: a link, an `s3://` address in the archive, or a path there such as `boards/film.yaml`. Free, blocking,
    repeatable. Raises `StoryboardInvalid` with line and rule, or because there is nothing to be had there;
    `InputUnusable` for a file the API would not take; and storage errors.
    """
    place, name = _Place(address.strip(), archive.bucket), shown(address)
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        folder = Path(disk).resolve() / "files"
        folder.mkdir()
        text = place.text(Path(disk) / "text", STORYBOARD_BYTES)
        for file_name in _files_named(text, name):
            place.fetch_beside(file_name, folder)
        board = read_storyboard(text, name, folder)
        _require_within(board, folder, name)
        return upload_files(board, archive)


def fetch_table(address: str, archive: Archive) -> str:
    """Read the table at an address, as `fetch_storyboard` does; raises `TableInvalid` in its place."""
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        try:
            return _Place(address.strip(), archive.bucket).text(Path(disk) / "text", TABLE_BYTES)
        except StoryboardInvalid as error:
            raise TableInvalid(error.message) from None


def _files_named(text: str, name: str) -> Iterator[str]:
    """Yield the names of files beside the storyboard; whatever else is wrong with it is the reader's to tell."""
    data = parse(text, name).data
    references = data.get("references") if isinstance(data, dict) else None
    for reference in references.values() if isinstance(references, dict) else ():
        for source in (
            [reference.get(kind) for kind in ("image", "video")]
            if isinstance(reference, dict)
            else ()
        ):
            if source is not None and not (isinstance(source, str) and is_link(source)):
                yield _require_beside(source, name)


def _require_beside(source: object, name: str) -> str:
    """Raise for a name that leads out of the storyboard's folder, or to files of the machine a run happens on."""
    path = PurePosixPath(source) if isinstance(source, str) else PurePosixPath("/")
    if (
        not path.name
        or path.is_absolute()
        or ".." in path.parts
        or str(path).startswith("~")
        or ":" in str(path)
    ):
        told = f"{name} names {source!r}, which is neither a link nor a file beside it or in a folder below"
        raise StoryboardInvalid(told)
    return str(source)


def _require_within(board: Storyboard, folder: Path, name: str) -> None:
    """Make sure of the same once it is read, however it was written."""
    paths = [
        path
        for reference in board.references.values()
        if (path := local_file(reference)) is not None
    ]
    if not all(path.resolve().is_relative_to(folder) for path in paths):
        raise StoryboardInvalid(f"{name} names a file that is not beside it")


class _Place:
    """Where a text lies, and how to get it and what lies beside it."""

    def __init__(self, address: str, bucket: Bucket) -> None:
        self.address, self._bucket = address, bucket
        if address.startswith("s3://") and not address.startswith(bucket.uri("")):
            told = f"{address} is not in the archive; its addresses begin with {bucket.uri('')}"
            raise StoryboardInvalid(told)

    def text(self, path: Path, most_bytes: int) -> str:
        """Return the text that lies here; a copy of it is left at a path."""
        try:
            with path.open("w+b") as file:
                is_there = self._fetch(self.address, file, most_bytes)
            if not is_there:
                raise StoryboardInvalid(f"there is nothing at {self._in_full()}")
            return path.read_text(encoding="utf-8-sig")
        except InputUnusable as error:
            raise StoryboardInvalid(
                f"{shown(self.address)} is too long to be read: {error.message}"
            ) from None
        except UnicodeDecodeError:
            raise StoryboardInvalid(f"{shown(self.address)} is no UTF-8 text") from None

    def _in_full(self) -> str:
        is_path = not is_link(self.address) and not self.address.startswith("s3://")
        return self._bucket.uri(self.address) if is_path else shown(self.address)

    def fetch_beside(self, name: str, folder: Path) -> None:
        """Put the file of that name into a folder, if there is one."""
        in_folder = posixpath.join(posixpath.dirname(self.address), name)
        address = urljoin(self.address, name) if is_link(self.address) else in_folder
        try:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w+b") as file:
                is_there = self._fetch(address, file, VIDEO_BYTES)
            if not is_there:
                path.unlink()
        except (OSError, ValueError):
            raise StoryboardInvalid(
                f"{shown(self.address)}: {name!r} is no name a file can have"
            ) from None
        except InputUnusable as error:
            raise InputUnusable(f"{name}: {error.message}") from None

    def _fetch(self, address: str, file: BinaryIO, most_bytes: int) -> bool:
        """Copy what is at an address into an open file; False if nothing is. Raises `InputUnusable` if it is longer."""
        if is_link(address):
            try:
                download(address, file, most_bytes=most_bytes)
            except LinkExpired:
                return False
            return True
        path = address.removeprefix(self._bucket.uri(""))
        if path not in self._bucket.names(path):
            return False
        if self._bucket.head(path).size > most_bytes:
            raise InputUnusable(f"it holds more than {most_bytes:,} bytes")
        self._bucket.fetch(path, file)
        return True
