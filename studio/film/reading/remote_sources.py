"""Fetch storyboards, their files, and tables from a link or from the archive's bucket."""

import posixpath
import re
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from pydantic import ValidationError

from prefect_kling.kling.links import is_link
from prefect_kling.studio.errors import InputUnusable, LinkExpired, StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.plain_text import decoded, spellings
from prefect_kling.studio.film.reading.reader import read_story
from prefect_kling.studio.film.reading.version_table import VersionTable
from prefect_kling.studio.film.reading.yaml_text import Document, parse
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.uploads import VIDEO_BYTES, local_file, upload_files
from prefect_kling.studio.film.variables import values_of
from prefect_kling.studio.film.versions import Story
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.download import download

STORYBOARD_BYTES = 1_000_000
TABLE_BYTES = 100_000_000
_PATH = re.compile(r"s3://\S+|[^{}\[\]:]+\.(ya?ml|jsonl?|csv|tsv|txt|parquet)", re.IGNORECASE)
_IN_FRONT = re.compile(r"^(\.?/)+")


def is_address(given: str) -> bool:
    """Whether a text is a link, an `s3://` address or a path, and not the content itself."""
    words = given.strip()
    if "\n" in words:
        return False
    return is_link(words) or _PATH.fullmatch(words) is not None


def redacted(address: str) -> str:
    """Return an address without what may be secret: query, fragment, user name and password."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        # Half an address, such as `https://[::1`: what of it is secret is not known.
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def fetch_storyboard(
    address: str, archive: Archive, most_bytes: int = STORYBOARD_BYTES
) -> Storyboard:
    """Read a storyboard of one film. See `fetch_story`; raises `StoryboardInvalid` for several."""
    return fetch_story(address, archive, most_bytes=most_bytes).single()


def fetch_story(
    address: str,
    archive: Archive,
    table: VersionTable | None = None,
    most_bytes: int = STORYBOARD_BYTES,
) -> Story:
    """Read the films of a storyboard, and store the files beside it that they name in the archive.

    `address` is a link, an `s3://` address in the archive, or a path there such as
    `boards/film.yaml`. A text of more than `most_bytes` is not read.

    Free, blocking, safe to repeat. Raises `StoryboardInvalid` with line and rule, or because
    nothing is there; `InputUnusable` for a file that the API would not take; and storage errors.
    """
    name = redacted(address)
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        folder = Path(disk).resolve() / "files"
        folder.mkdir()
        try:
            place = Source(address.strip(), archive.bucket)
            text = place.text(Path(disk) / "text", most_bytes)
            for file_name in _files_named(text, name, table):
                place.fetch_beside(file_name, folder)
        except SourceUnusable as error:
            raise StoryboardInvalid(str(error)) from None
        story = read_story(text, name, folder, table)
        for film in story.films:
            _require_within(film.board, folder, name)
        return story.changed(lambda board: upload_files(board, archive))


def fetch_table(address: str, archive: Archive) -> str:
    """Read the table at an address, which `fetch_storyboard` describes.

    Free, blocking, safe to repeat. Raises `TableInvalid`, and storage errors.
    """
    if address.strip().lower().endswith(".parquet"):
        # Nothing that Prefect brings along reads it, and pyarrow is larger than all the rest.
        raise TableInvalid(
            f"{redacted(address)}: export it as JSON Lines or CSV, Parquet is not read"
        )
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        try:
            place = Source(address.strip(), archive.bucket)
            return place.text(Path(disk) / "text", TABLE_BYTES)
        except SourceUnusable as error:
            raise TableInvalid(str(error)) from None


def _files_named(text: str, name: str, table: VersionTable | None) -> list[str]:
    """Return the names of files beside the storyboard, in any of its versions.

    Raises `StoryboardInvalid` for names that lead elsewhere. Other mistakes are the reader's.
    """
    document = parse(text, name)
    references = document.data.get("references") if isinstance(document.data, dict) else None
    if not isinstance(references, dict):
        return []

    files = []
    mistakes = []
    for key, reference in references.items():
        if not isinstance(reference, dict):
            continue
        for field in ("image", "video"):
            for source in _sources(reference.get(field), document, table):
                if source is None or (isinstance(source, str) and is_link(source)):
                    continue
                if isinstance(source, str) and _is_beside(source):
                    files.append(source)
                else:
                    place = ("references", key, field)
                    mistakes.append(Mistake("file_elsewhere", place, value=source))
    if mistakes:
        raise StoryboardInvalid.of(document.located(mistakes, name))
    return files


def _sources(written: object, document: Document, table: VersionTable | None) -> list[object]:
    """Return what is written for a picture or video, with each version's variables filled in."""
    if not isinstance(written, str) or "{{" not in written:
        return [written]
    try:
        board = Storyboard.model_validate(document.data)
        if table is not None:
            board = table.applied_to(board)
    except (ValidationError, StoryboardInvalid):
        # Its mistakes are told when it is read, with their lines.
        return [written]
    return [*values_of(written, board)]


def _is_beside(source: str) -> bool:
    """Whether a name is that of a file in the storyboard's folder, or in a folder below."""
    path = PurePosixPath(source)
    if not path.name or path.is_absolute() or ".." in path.parts:
        return False
    # Home folders, and addresses with a scheme or a drive.
    return not str(path).startswith("~") and ":" not in str(path)


def _require_within(board: Storyboard, folder: Path, name: str) -> None:
    """Raise `StoryboardInvalid` for a file outside the folder, however its name was written."""
    for reference in board.references.values():
        path = local_file(reference)
        if path is not None and not path.resolve().is_relative_to(folder):
            raise StoryboardInvalid(f"{name} names a file that is not beside it")


class SourceUnusable(Exception):
    """Nothing that can be read is at an address, whatever was to be read there."""


class Source:
    """Where a text lies, and how to get it and what lies beside it."""

    def __init__(self, address: str, bucket: Bucket) -> None:
        if not is_link(address) and not address.startswith("s3://"):
            # Keys in the archive begin with neither `/` nor `./`.
            address = _IN_FRONT.sub("", address)
        self.address = address
        self._bucket = bucket
        if is_link(address):
            try:
                urlsplit(address)
            except ValueError as error:
                raise SourceUnusable(f"this link cannot be read: {error}") from None
        if address.startswith("s3://") and not address.startswith(bucket.uri("")):
            told = f"{address} is not in the archive; its addresses begin with {bucket.uri('')}"
            raise SourceUnusable(told)

    def text(self, path: Path, most_bytes: int) -> str:
        """Return the text that lies here. Leaves a copy of it at `path`.

        Raises `SourceUnusable` when nothing is here, or no UTF-8 text of up to `most_bytes`.
        """
        try:
            with path.open("w+b") as file:
                is_there = self._fetch(self.address, file, most_bytes)
            if not is_there:
                raise SourceUnusable(f"there is nothing at {self._in_full()}")
            return decoded(path.read_bytes())
        except InputUnusable as error:
            raise SourceUnusable(
                f"{redacted(self.address)} is too long to be read: {error.message}"
            ) from None
        except UnicodeDecodeError:
            raise SourceUnusable(
                f"{redacted(self.address)} is no UTF-8 text; save it as UTF-8"
            ) from None

    def _in_full(self) -> str:
        if is_link(self.address) or self.address.startswith("s3://"):
            return redacted(self.address)
        return self._bucket.uri(self.address)

    def fetch_beside(self, name: str, folder: Path) -> None:
        """Copy the file of that name into a folder, if there is one; `ü` has two spellings."""
        try:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w+b") as file:
                is_there = any(
                    self._fetch(self._beside(spelled), file, VIDEO_BYTES)
                    for spelled in spellings(name)
                )
            if not is_there:
                path.unlink()
        except (OSError, ValueError):
            raise SourceUnusable(
                f"{redacted(self.address)}: {name!r} is no name a file can have"
            ) from None
        except InputUnusable as error:
            raise InputUnusable(f"{name}: {error.message}") from None

    def _beside(self, name: str) -> str:
        if is_link(self.address):
            return urljoin(self.address, name)
        # In an archive `./` would be a folder of that name.
        return posixpath.join(posixpath.dirname(self.address), posixpath.normpath(name))

    def _fetch(self, address: str, file: BinaryIO, most_bytes: int) -> bool:
        """Copy what is at an address into an open file. Return whether anything is there.

        Raises `InputUnusable` if it is longer than `most_bytes`.
        """
        if is_link(address):
            try:
                download(address, file, most_bytes=most_bytes, access=None)
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
