"""Pictures and videos of one's own: checked, named by their content, and kept in the archive."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from prefect_kling.studio.errors import InputUnusable, NotAVideo
from prefect_kling.studio.film.storyboard import Reference, Storyboard
from prefect_kling.studio.media.frames import check_playable
from prefect_kling.studio.media.probe import read_facts
from prefect_kling.studio.money.archive import STANDIN, Archive
from prefect_kling.studio.money.orders import KEY_LENGTH
from prefect_kling.studio.storage import layout

# Limits of Kling's own documentation; the API's page is silent about them.
PICTURE_BYTES, PICTURE_PIXELS, PICTURE_RATIO = 10_000_000, 300, 2.5
VIDEO_BYTES, VIDEO_SECONDS, VIDEO_PIXELS, VIDEO_FPS = (
    200_000_000,
    (3.0, 10.0),
    (720, 2160),
    (24.0, 60.0),
)
# What is 24 pictures a second may be written as 23.976, and a length may miss its last picture.
SLACK = 0.05
MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
}


def is_link(source: str) -> bool:
    """Whether a source is a link, and not a file of this machine."""
    return re.match(r"https?://", source, re.IGNORECASE) is not None


def local_file(reference: Reference) -> Path | None:
    """Return the file of this machine a reference names, if it does."""
    source = reference.image or reference.video
    if source is None or is_link(source):
        return None
    try:
        return Path(source).expanduser()
    except RuntimeError:
        # There is no such user: a path like any other, which will not be found.
        return Path(source)


def has_files(storyboard: Storyboard) -> bool:
    """Whether any reference is a file of this machine."""
    return any(local_file(reference) is not None for reference in storyboard.references.values())


def located(storyboard: Storyboard) -> Storyboard:
    """Return the storyboard with files of this machine replaced by the addresses they have in the archive.

    Free; reads and checks the files, uploads nothing. Raises `InputUnusable` naming the reference and the rule.
    """
    return _replaced(
        storyboard, lambda path, is_video: STANDIN + input_path(path, is_video=is_video)
    )


def upload_files(storyboard: Storyboard, archive: Archive) -> Storyboard:
    """Put the files a storyboard names into the archive and return it with their addresses; see `upload`."""
    return _replaced(storyboard, lambda path, is_video: upload(path, archive, is_video=is_video))


def _replaced(storyboard: Storyboard, address: Callable[[Path, bool], str]) -> Storyboard:
    """Return the storyboard with an address for every file."""
    replaced = {}
    for name, reference in storyboard.references.items():
        path = local_file(reference)
        if path is not None:
            kind = "image" if reference.video is None else "video"
            with _naming(f"reference {name}"):
                replaced[name] = Reference.model_validate({kind: address(path, kind == "video")})
    return storyboard.model_copy(update={"references": storyboard.references | replaced})


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except InputUnusable as error:
        raise InputUnusable(f"{what}: {error.message}") from None


def upload(path: Path, archive: Archive, *, is_video: bool) -> str:
    """Put a file into the archive and return its address; one that is there already is left alone. Free, blocking.

    Raises `InputUnusable` when the API would not take it, or a storage error.
    """
    target, sha256 = _examine(path, is_video=is_video)
    if target not in archive.bucket.names(target):
        with _reading(path), path.open("rb") as file:
            media_type = MEDIA_TYPES[target.rpartition(".")[2]]
            archive.bucket.put_file(target, file, path.stat().st_size, sha256, media_type)
    return STANDIN + target


def input_path(path: Path, *, is_video: bool) -> str:
    """Check a file and return where it belongs in the archive: named by a hash of its content.

    Raises `InputUnusable` when the API would not take it.
    """
    return _examine(path, is_video=is_video)[0]


def _examine(path: Path, *, is_video: bool) -> tuple[str, str]:
    """Check a file; return where it belongs, and the hash of its content."""
    with _reading(path):
        ending = _check_video(path) if is_video else _check_picture(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return layout.input_file(sha256[:KEY_LENGTH], ending), sha256


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file that cannot be read; a `ValueError` is a path or a picture that makes no sense."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputUnusable(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _check_picture(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            kind, (width, height) = picture.format, picture.size
    except UnidentifiedImageError:
        raise InputUnusable(
            f"{path} is no picture that can be read; the API takes JPG and PNG"
        ) from None
    except Image.DecompressionBombError as error:
        raise InputUnusable(f"{path} is no picture that can be read ({error})") from None
    # MPO is a JPEG with further pictures behind the first one: what many phones write.
    _demand(kind in ("PNG", "JPEG", "MPO"), path, f"is a {kind} picture; the API takes JPG and PNG")
    _demand(path.stat().st_size <= PICTURE_BYTES, path, "is larger than 10 MB")
    _demand(
        min(width, height) >= PICTURE_PIXELS,
        path,
        f"is {width}x{height}; each side needs at least 300 pixels",
    )
    _demand(
        max(width, height) <= PICTURE_RATIO * min(width, height),
        path,
        f"is {width}x{height}; the limit is 1:2.5, no narrower",
    )
    return "png" if kind == "PNG" else "jpg"


def _check_video(path: Path) -> str:
    try:
        with path.open("rb") as file:
            kind = file.read(12)[4:]
            facts = read_facts(file)
            check_playable(file)
    except NotAVideo as error:
        raise InputUnusable(f"{path} is no MP4 or MOV that can be read ({error.summary})") from None
    (shortest, longest), (low, high), (slow, fast) = VIDEO_SECONDS, VIDEO_PIXELS, VIDEO_FPS
    length = shortest - SLACK <= facts.seconds <= longest + SLACK
    _demand(length, path, f"lasts {facts.seconds:.2f} s; the API takes 3 to 10 s")
    size = low <= min(facts.width, facts.height) and max(facts.width, facts.height) <= high
    _demand(size, path, f"is {facts.width}x{facts.height}; sides must be 720 to 2160 pixels")
    _demand(
        slow - SLACK <= facts.fps <= fast + SLACK,
        path,
        f"has {facts.fps:.2f} pictures a second; 24 to 60 are taken",
    )
    _demand(facts.bytes <= VIDEO_BYTES, path, "is larger than 200 MB")
    # By its content, not by its name: the same file is the same input, whatever it is called.
    return "mp4" if kind.startswith(b"ftyp") and kind != b"ftypqt  " else "mov"


def _demand(holds: bool, path: Path, told: str) -> None:
    if not holds:
        raise InputUnusable(f"{path} {told}")
