"""From clips to a film: joined, pictured and written down, under a key that names exactly this cut."""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import STORED
from prefect_kling.studio.archive import Archive, Clip
from prefect_kling.studio.assembly import join
from prefect_kling.studio.budget import FilmCap
from prefect_kling.studio.contact_sheet import Caption, contact_sheet
from prefect_kling.studio.ledger import NOTHING, EntryState
from prefect_kling.studio.orders import KEY_LENGTH
from prefect_kling.studio.plan import FilmPlan


class FilmShot(BaseModel):
    """One shot as it stands in a film: where it begins, and the clip it is."""

    model_config = ConfigDict(frozen=True)

    name: str
    begins_at: float
    begins_from: str | None
    clip: Clip


class Film(BaseModel):
    """A finished film and everything it is made of; this is also its `manifest.json`."""

    model_config = ConfigDict(frozen=True)

    title: str
    slug: str
    film_key: str
    uri: str
    contact_sheet_uri: str
    manifest_uri: str
    sha256: str
    seconds: float
    re_encoded: bool
    usd: Decimal
    shots: tuple[FilmShot, ...]


def check_budget(plan: FilmPlan, archive: Archive, film: FilmCap | None) -> Decimal:
    """Return what a film's unpaid shots may cost at worst. Raises `OverBudget` when that would pass a cap.

    Free and blocking; sends nothing, so that a film that cannot be finished within its budget is not begun.
    """
    unpaid = NOTHING
    for clip_key, price in plan.prices.items():
        page = archive.ledger.read(clip_key)
        if page is None or page.entry.state in (EntryState.RELEASED, EntryState.FAILED):
            unpaid += price.at_most_usd
    archive.budget.check(unpaid, film)
    return unpaid


def assemble(plan: FilmPlan, clips: Sequence[Clip], archive: Archive) -> Film:
    """Join a film's clips in the order of its plan and store film, contact sheet and manifest.

    Free, blocking, and safe to repeat: an unchanged film is found and returned. Needs disk space for the clips and
    the film, hardly any memory. Raises `NotAVideo` or a storage error; then no manifest is written.
    """
    key = film_key(plan, clips)
    folder = f"films/{plan.slug}/{key}"
    stored = archive.bucket.read(f"{folder}/manifest.json")
    if stored is not None:
        return Film.model_validate_json(stored.body, context=STORED)
    with TemporaryDirectory(prefix="film-") as disk:
        film = _make(plan, clips, archive, key, Path(disk))
    archive.bucket.put(f"{folder}/manifest.json", film.model_dump_json(indent=1).encode(), "application/json")
    return film


def _make(plan: FilmPlan, clips: Sequence[Clip], archive: Archive, key: str, disk: Path) -> Film:
    folder = f"films/{plan.slug}/{key}"
    files = [disk / f"{number:04}.mp4" for number in range(len(clips))]
    for clip, path in zip(clips, files, strict=True):
        with path.open("w+b") as file:
            archive.copy_out(clip, file)
    target = disk / "film.mp4"
    joined = join(files, target, titles=[shot.name for shot in plan.shots])
    shots = [
        FilmShot(name=shot.name, begins_at=start, begins_from=shot.begins_from, clip=clip)
        for shot, clip, start in zip(plan.shots, clips, joined.starts, strict=True)
    ]
    sheet = contact_sheet(target, [Caption(shot.begins_at, shot.clip.media.seconds, shot.name) for shot in shots])
    archive.bucket.put(f"{folder}/contact-sheet.jpg", sheet, "image/jpeg")
    return Film(
        title=plan.title,
        slug=plan.slug,
        film_key=key,
        uri=archive.bucket.uri(f"{folder}/film.mp4"),
        contact_sheet_uri=archive.bucket.uri(f"{folder}/contact-sheet.jpg"),
        manifest_uri=archive.bucket.uri(f"{folder}/manifest.json"),
        sha256=_store(target, f"{folder}/film.mp4", archive),
        seconds=joined.seconds,
        re_encoded=joined.re_encoded,
        usd=sum({clip.clip_key: clip.usd for clip in clips}.values(), NOTHING),
        shots=tuple(shots),
    )


def _store(film: Path, path: str, archive: Archive) -> str:
    """Store the film; a run that was killed before its manifest has left an equal one, whose hash counts."""
    with film.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if archive.bucket.put_file(path, file, film.stat().st_size, sha256, "video/mp4"):
            return sha256
    return archive.bucket.head(path).metadata["sha256"]


def film_key(plan: FilmPlan, clips: Sequence[Clip]) -> str:
    """Name this cut: a hash of its title, and of its clips' names, keys and contents in order."""
    shots = [[shot.name, clip.clip_key, clip.sha256] for shot, clip in zip(plan.shots, clips, strict=True)]
    canonical = json.dumps({"version": 1, "title": plan.title, "shots": shots})
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]
