"""Texts that lie elsewhere, behind a link or in the archive's bucket; storyboards with the files they name."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import urljoin

from prefect_kling.studio.archive import Archive
from prefect_kling.studio.bucket import Bucket
from prefect_kling.studio.download import download
from prefect_kling.studio.errors import LinkExpired, StoryboardInvalid, TableInvalid
from prefect_kling.studio.script.inputs import is_link, upload_files
from prefect_kling.studio.script.reader import read_storyboard
from prefect_kling.studio.script.storyboard import Storyboard
from prefect_kling.studio.script.yaml_text import parse

LONGEST_BYTES = 20_000_000
_PATH = re.compile(r"s3://\S+|[^{}\[\]:]+\.(ya?ml|jsonl?|csv|tsv)", re.IGNORECASE)


def is_address(given: str) -> bool:
    """Whether a text says where the thing itself is, rather than being it: a link, an `s3://` address, a path."""
    words = given.strip()
    return "\n" not in words and (is_link(words) or bool(_PATH.fullmatch(words)))


def fetch_storyboard(address: str, archive: Archive) -> Storyboard:
    """Read a storyboard, and keep the files it names that lie beside it in the archive.

    `address`: a link, an `s3://` address in the archive, or a path there such as `boards/film.yaml`. Free,
    blocking, repeatable. Raises `StoryboardInvalid` with line and rule, or because there is nothing to be had there;
    `InputUnusable` for a file the API would not take; and storage errors.
    """
    address = address.strip()
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        folder, place = Path(disk), _Place(address, archive.bucket)
        text = place.text(folder / "storyboard")
        for name in _files_named(text, address):
            place.fetch_beside(name, folder)
        return upload_files(read_storyboard(text, address, folder), archive)


def fetch_table(address: str, archive: Archive) -> str:
    """Read the table at an address, as `fetch_storyboard` does; raises `TableInvalid` in its place."""
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        try:
            return _Place(address.strip(), archive.bucket).text(Path(disk) / "table")
        except StoryboardInvalid as error:
            raise TableInvalid(error.what) from None


def _files_named(text: str, address: str) -> Iterator[str]:
    """Yield the names of files beside the storyboard; whatever else is wrong with it is the reader's to tell."""
    data = parse(text, address).data
    references = data.get("references") if isinstance(data, dict) else None
    for reference in references.values() if isinstance(references, dict) else ():
        sources = [reference.get(kind) for kind in ("image", "video")] if isinstance(reference, dict) else ()
        for name in sources:
            if isinstance(name, str) and not is_link(name):
                _require_beside(name, address)
                yield name


def _require_beside(name: str, address: str) -> None:
    """Raise for a name that leads out of the storyboard's folder, or to files of the machine a run happens on."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or name.startswith("~") or ":" in name:
        told = f"{address} names {name!r}, which is neither a link nor a file beside it or in a folder below"
        raise StoryboardInvalid(told)


class _Place:
    """Where a text lies, and how to get it and what lies beside it."""

    def __init__(self, address: str, bucket: Bucket) -> None:
        self.address, self._bucket = address, bucket
        if address.startswith("s3://") and not address.startswith(bucket.uri("")):
            told = f"{address} is not in the archive; its addresses begin with {bucket.uri('')}"
            raise StoryboardInvalid(told)

    def text(self, path: Path) -> str:
        """Return the text that lies here; a copy of it is left at a path."""
        with path.open("w+b") as file:
            if not self.fetch(self.address, file):
                raise StoryboardInvalid(f"there is nothing at {self.address}")
        if path.stat().st_size > LONGEST_BYTES:
            raise StoryboardInvalid(f"{self.address} is too long to be read: it holds {path.stat().st_size:,} bytes")
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise StoryboardInvalid(f"{self.address} is no UTF-8 text") from None

    def fetch(self, address: str, file: BinaryIO) -> bool:
        """Copy what is at an address into an open file; False if nothing is."""
        if is_link(address):
            try:
                download(address, file)
            except LinkExpired:
                return False
            return True
        path = address.removeprefix(self._bucket.uri(""))
        if path not in self._bucket.names(path):
            return False
        self._bucket.fetch(path, file)
        return True

    def fetch_beside(self, name: str, folder: Path) -> None:
        """Put the file of that name into a folder, if there is one."""
        in_folder = posixpath.join(posixpath.dirname(self.address), name)
        address = urljoin(self.address, name) if is_link(self.address) else in_folder
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            is_there = self.fetch(address, file)
        if not is_there:
            path.unlink()
