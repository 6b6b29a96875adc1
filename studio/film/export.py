"""Bring a film and everything it is made of to disk: verified, and resumable."""

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from prefect_kling.kling.request import STORED
from prefect_kling.studio.errors import DownloadBroken, WrongFilm
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.storyboard import latin_words, slug_of
from prefect_kling.studio.film.timeline import to_edl, to_otio
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage import layout

_PARTIAL = ".partial"
_NAMED = 5
"""So many films are named where one is not found."""


@dataclass(frozen=True)
class Exported:
    """One file on disk, and whether this call has brought it."""

    path: Path
    is_new: bool


def find_film(name: str, archive: Archive) -> Film:
    """Return a film by its title, its name (slug), its `s3://` address, or that of its manifest.

    Of several cuts of one name, the one that was joined last. Free, blocking. Raises `WrongFilm`,
    which names films that there are.
    """
    bucket = archive.bucket
    path = name.strip()
    if path.startswith("s3://"):
        try:
            path = bucket.path_of(path)
        except ValueError as error:
            raise WrongFilm(str(error)) from None
    if path.startswith(layout.FILMS):
        folder = path.removesuffix("/film.mp4").removesuffix("/manifest.json").removesuffix("/")
        manifests = [f"{folder}/manifest.json"]
    else:
        manifests = _manifests(path, archive) or _manifests(slug_of(path), archive)
    for manifest in manifests[:1]:
        film = bucket.read_model(manifest, Film, STORED)
        if film is not None:
            return film
    # Before 0.3, titles that ASCII cannot write shared a name.
    for manifest in _manifests(latin_words(path), archive):
        film = bucket.read_model(manifest, Film, STORED)
        if film is not None and film.title == path:
            return film
    raise WrongFilm(
        f"there is no film {name} in {bucket.uri(layout.FILMS)}{_others(path, archive)}"
    )


def _manifests(slug: str, archive: Archive) -> list[str]:
    """Return the manifests of all cuts of a film, the last one first."""
    found = [
        (age, path)
        for path, age in archive.bucket.ages(f"{layout.film_cuts(slug)}/")
        if path.endswith("/manifest.json")
    ]
    return [path for _, path in sorted(found)]


def _others(name: str, archive: Archive) -> str:
    """Say which films there are, those of a similar name first."""
    manifests = archive.bucket.names(layout.FILMS)
    slugs = sorted({path.split("/")[1] for path in manifests if path.endswith("/manifest.json")})
    similar = difflib.get_close_matches(slug_of(name), slugs, cutoff=0.4)
    named = list(dict.fromkeys([*similar, *slugs]))
    if not named:
        return ""
    told = ", ".join(named[:_NAMED])
    if len(named) > _NAMED:
        told += f" and {len(named) - _NAMED} more"
    return f"; there are {told}"


def export_film(film: Film, folder: Path, archive: Archive) -> Iterator[Exported]:
    """Write film, clips, contact sheet, manifest and timelines into a folder, and yield each file.

    Free but for the traffic of the store; blocking. What is there already and right is left as it
    is, so a call that was interrupted is gone on with. A file appears under its name only when it
    is whole and its hash is that of the manifest. Raises `DownloadBroken` for a file that is not,
    and storage errors.
    """
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    bucket = archive.bucket
    names = {}
    for number, each in enumerate(film.clips, 1):
        names[each.clip.clip_key] = f"{number:03} {_file_name(each.name)}.mp4"
    for clip in film.unshown:
        names[clip.clip_key] = f"unshown {clip.clip_key[:8]}.mp4"

    every = {each.clip.clip_key: each.clip for each in film.clips}
    every |= {clip.clip_key: clip for clip in film.unshown}
    for key, clip in every.items():
        yield _fetch(clips / names[key], clip.sha256, bucket.path_of(clip.uri), bucket.fetch)
    yield _fetch(folder / "film.mp4", film.sha256, bucket.path_of(film.uri), bucket.fetch)

    sheet = bucket.read(bucket.path_of(film.contact_sheet_uri))
    if sheet is not None:
        yield _write(folder / "contact-sheet.jpg", sheet.body)
    yield _write(folder / "manifest.json", film.model_dump_json(indent=1).encode())
    beside = {key: f"clips/{name}" for key, name in names.items()}
    yield _write(folder / "timeline.otio", to_otio(film, beside).encode())
    yield _write(folder / "timeline.edl", to_edl(film, beside).encode())


def _file_name(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^\w .,()+-]+", "-", name).strip(" .-")[:80] or "clip"


def _fetch(
    target: Path, sha256: str, path: str, fetch: Callable[[str, BinaryIO], None]
) -> Exported:
    if target.exists() and _hash(target) == sha256:
        return Exported(target, is_new=False)
    partial = target.with_name(target.name + _PARTIAL)
    with partial.open("wb") as file:
        fetch(path, cast("BinaryIO", file))
        file.flush()
        os.fsync(file.fileno())
    found = _hash(partial)
    if found != sha256:
        partial.unlink()
        raise DownloadBroken(f"{path} arrived with the hash {found}, its manifest says {sha256}")
    partial.replace(target)
    return Exported(target, is_new=True)


def _write(target: Path, content: bytes) -> Exported:
    if target.exists() and target.read_bytes() == content:
        return Exported(target, is_new=False)
    partial = target.with_name(target.name + _PARTIAL)
    partial.write_bytes(content)
    partial.replace(target)
    return Exported(target, is_new=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
