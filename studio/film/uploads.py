"""Check local pictures and videos, and store them in the archive under a hash of their content."""

import functools
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from prefect_kling.kling.links import is_link
from prefect_kling.studio.errors import InputUnusable, NotAVideo
from prefect_kling.studio.film.storyboard import Reference, Storyboard
from prefect_kling.studio.media.frames import decode_all
from prefect_kling.studio.media.oddities import oddities
from prefect_kling.studio.media.probe import read_facts
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive
from prefect_kling.studio.money.inputs import MEDIA_TYPES
from prefect_kling.studio.money.orders import KEY_LENGTH
from prefect_kling.studio.storage import layout

# Limits of Kling's own documentation; the API's page is silent about them.
PICTURE_BYTES = 10_000_000
PICTURE_PIXELS = 300
PICTURE_RATIO = 2.5
VIDEO_BYTES = 200_000_000
VIDEO_SECONDS = (3.0, 10.0)
VIDEO_PIXELS = (720, 2160)
VIDEO_FPS = (24.0, 60.0)

# 24 pictures a second may be written as 23.976, and a length may miss its last picture.
SLACK = 0.05

_AS_IT_IS = "the API gets it as it is, and may show it otherwise"
_ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned; 1 for not at all."""


@dataclass(frozen=True)
class _Checked:
    """A file that the API would take."""

    ending: str
    notes: tuple[str, ...] = ()
    """What is unusual about how it is to be shown."""


@dataclass(frozen=True)
class _Input:
    """A checked file, and where it stands in the archive."""

    path: str
    sha256: str
    notes: tuple[str, ...]

    @property
    def address(self) -> str:
        return ARCHIVE_URL + self.path


def local_file(reference: Reference) -> Path | None:
    """Return the local file that a reference names, or None."""
    source = reference.image or reference.video
    if source is None or is_link(source):
        return None
    try:
        return Path(source).expanduser()
    except RuntimeError:
        # There is no such user: a path like any other, which will not be found.
        return Path(source)


def has_files(storyboard: Storyboard) -> bool:
    """Whether any reference names a local file."""
    return any(local_file(reference) is not None for reference in storyboard.references.values())


def located(storyboard: Storyboard) -> Storyboard:
    """Return the storyboard with local files replaced by the addresses they have in the archive.

    Free. Reads and checks the files, and uploads nothing. What is unusual about how a file is to be
    shown is told in the storyboard's remarks.

    Raises `InputUnusable`, which names the reference and the rule.
    """
    return _replaced(storyboard, lambda path, is_video: _examine(path, is_video=is_video))


def upload_files(storyboard: Storyboard, archive: Archive) -> Storyboard:
    """Upload the local files of a storyboard, and return it with their addresses. See `upload`."""
    return _replaced(storyboard, lambda path, is_video: _upload(path, archive, is_video=is_video))


def _replaced(storyboard: Storyboard, placed: Callable[[Path, bool], _Input]) -> Storyboard:
    """Return the storyboard with an address in place of every local file."""
    references = dict(storyboard.references)
    remarks = list(storyboard.remarks)
    for name, reference in storyboard.references.items():
        path = local_file(reference)
        if path is None:
            continue
        try:
            file = placed(path, reference.video is not None)
        except InputUnusable as error:
            raise InputUnusable(f"reference {name}: {error.message}") from None
        if reference.video is None:
            references[name] = Reference(image=file.address)
        else:
            references[name] = Reference(video=file.address)
        remarks += [f"reference {name}: {note}" for note in file.notes]
    board = storyboard.model_copy(update={"references": references})
    return board.with_remarks(dict.fromkeys(remarks))


def upload(path: Path, archive: Archive, *, is_video: bool) -> str:
    """Store a file in the archive and return its address.

    Free, blocking, safe to repeat: a file that is there already is not written again.

    Raises `InputUnusable` when the API would not take the file, or a storage error.
    """
    return _upload(path, archive, is_video=is_video).address


def _upload(path: Path, archive: Archive, *, is_video: bool) -> _Input:
    found = _examine(path, is_video=is_video)
    if found.path not in archive.bucket.names(found.path):
        with _reading(path), path.open("rb") as file:
            media_type = MEDIA_TYPES[found.path.rpartition(".")[2]]
            size = path.stat().st_size
            archive.bucket.put_file(found.path, file, size, found.sha256, media_type)
    return found


def input_path(path: Path, *, is_video: bool) -> str:
    """Check a file and return its path in the archive, which is named by a hash of its content.

    Free. Raises `InputUnusable` when the API would not take the file.
    """
    return _examine(path, is_video=is_video).path


def _examine(path: Path, *, is_video: bool) -> _Input:
    """Check a file and find its place in the archive."""
    with _reading(path):
        _check_size(path, is_video=is_video)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        checked = _check(path, is_video, sha256)
        place = layout.input_file(sha256[:KEY_LENGTH], checked.ending)
        return _Input(place, sha256, checked.notes)


@functools.lru_cache(maxsize=1024)
def _check(path: Path, is_video: bool, sha256: str) -> _Checked:
    """Check a file, once for each content. A film is planned several times."""
    if is_video:
        return _check_video(path)
    return _check_picture(path)


def _check_size(path: Path, *, is_video: bool) -> None:
    """Raise `InputUnusable` for what is no file, or a larger one than the API takes."""
    size = path.stat().st_size
    if not path.is_file() and not path.is_dir():
        # A device or a pipe may have no end.
        raise InputUnusable(f"{path} is no file")
    if is_video and size > VIDEO_BYTES:
        raise InputUnusable(f"{path} is larger than 200 MB")
    if not is_video and size > PICTURE_BYTES:
        raise InputUnusable(f"{path} is larger than 10 MB")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into `InputUnusable` with its name.

    A `ValueError` comes from a path that makes no sense.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputUnusable(f"{path} cannot be read: {reason}") from None


def _check_picture(path: Path) -> _Checked:
    """Check a picture. Raises `InputUnusable` when the API would not take the picture."""
    try:
        with Image.open(path) as picture:
            kind = picture.format
            width, height = picture.size
            is_turned = _is_turned(picture)
    except UnidentifiedImageError:
        raise InputUnusable(
            f"{path} is no picture that can be read; the API takes JPG and PNG"
        ) from None
    except Image.DecompressionBombError as error:
        raise InputUnusable(f"{path} is no picture that can be read ({error})") from None

    # MPO is a JPEG with further pictures behind the first one: what many phones write.
    if kind not in ("PNG", "JPEG", "MPO"):
        raise InputUnusable(f"{path} is a {kind} picture; the API takes JPG and PNG")
    if min(width, height) < PICTURE_PIXELS:
        raise InputUnusable(f"{path} is {width}x{height}; each side needs at least 300 pixels")
    if max(width, height) > PICTURE_RATIO * min(width, height):
        raise InputUnusable(f"{path} is {width}x{height}; the limit is 1:2.5, no narrower")
    _decode_picture(path, kind)

    notes: tuple[str, ...] = ()
    if is_turned:
        notes = (f"its EXIF data turn or mirror it: {_AS_IT_IS}",)
    if kind == "PNG":
        return _Checked("png", notes)
    return _Checked("jpg", notes)


def _is_turned(picture: Image.Image) -> bool:
    """Whether a picture's EXIF data turn or mirror it. Data that cannot be read do not."""
    try:
        return picture.getexif().get(_ORIENTATION) in range(2, 9)
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, struct.error):
        return False


def _decode_picture(path: Path, kind: str | None) -> None:
    """Decode all of a picture: a header may be whole where the rest is cut or damaged.

    Raises `InputUnusable`.
    """
    try:
        if kind == "PNG":
            with Image.open(path) as picture:
                # The checksums of all parts, which decoding does not look at.
                picture.verify()
        with Image.open(path) as picture:
            # A JPEG is read whole and decoded small: that takes a fraction of time and memory.
            picture.draft(None, (picture.width // 8, picture.height // 8))
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise InputUnusable(
            f"{path} is cut or damaged: its picture cannot be decoded ({error})"
        ) from None


def _check_video(path: Path) -> _Checked:
    """Check a video. Raises `InputUnusable` when the API would not take the video."""
    try:
        with path.open("rb") as file:
            kind = file.read(12)[4:]
            facts = read_facts(file)
            decode_all(file)
            notes = tuple(f"it {each.what}: {_AS_IT_IS}" for each in oddities(file))
    except NotAVideo as error:
        raise InputUnusable(f"{path} is no MP4 or MOV that can be read ({error.summary})") from None

    shortest, longest = VIDEO_SECONDS
    if not shortest - SLACK <= facts.seconds <= longest + SLACK:
        raise InputUnusable(f"{path} lasts {facts.seconds:.2f} s; the API takes 3 to 10 s")

    low, high = VIDEO_PIXELS
    if min(facts.width, facts.height) < low or max(facts.width, facts.height) > high:
        size = f"{facts.width}x{facts.height}"
        raise InputUnusable(f"{path} is {size}; sides must be 720 to 2160 pixels")

    slow, fast = VIDEO_FPS
    if not slow - SLACK <= facts.fps <= fast + SLACK:
        raise InputUnusable(f"{path} has {facts.fps:.2f} pictures a second; 24 to 60 are taken")

    # By its content, not by its name: the same file is the same input, whatever it is called.
    if kind.startswith(b"ftyp") and kind != b"ftypqt  ":
        return _Checked("mp4", notes)
    return _Checked("mov", notes)
