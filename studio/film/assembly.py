"""From clips to a film: joined, pictured and written down, under a key that names exactly this cut."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import STORED
from prefect_kling.studio.film.continuation import ending_of
from prefect_kling.studio.film.plan import FilmPlan, Handover, PlannedClip
from prefect_kling.studio.media.contact_sheet import Caption, contact_sheet
from prefect_kling.studio.media.join import Chapter as Mark
from prefect_kling.studio.media.join import JoinReport, Part, join
from prefect_kling.studio.money.archive import STANDIN, Archive, Clip
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.orders import KEY_LENGTH
from prefect_kling.studio.storage import layout


class Chapter(BaseModel):
    """One shot as it stands in a film, in seconds from its beginning."""

    model_config = ConfigDict(frozen=True)

    name: str
    begins_at: float


class FilmClip(BaseModel):
    """One clip as it stands in a film: where, how much of it is shown, and what it was made from.

    `inputs` maps each address its request names to where that input really is; `made_from` are the keys of the clips
    among them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    begins_at: float
    seconds: float
    chapters: tuple[Chapter, ...]
    made_from: tuple[str, ...]
    inputs: dict[str, str]
    clip: Clip


class Film(BaseModel):
    """A finished film and everything it is made of; this is also its `manifest.json`.

    `unshown` are clips that only served others. `usd` is what all of it cost, whenever that was.
    """

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
    clips: tuple[FilmClip, ...]
    unshown: tuple[Clip, ...] = ()


@dataclass(frozen=True)
class _Cut:
    """One clip's place in the film: at most so many of its pictures are shown, after so long a crossfade."""

    planned: PlannedClip
    clip: Clip
    pictures: int | None

    @property
    def identity(self) -> list[object]:
        """What the film's key depends on."""
        planned = self.planned
        chapters = [[chapter.title, chapter.start] for chapter in _chapters(planned)]
        return [planned.clip_key, self.clip.sha256, self.pictures, planned.crossfade, chapters]


def assemble(plan: FilmPlan, clips: Mapping[str, Clip], archive: Archive) -> Film:
    """Join a film's clips (given by key) as planned, and store film, contact sheet and manifest.

    Free, blocking, and safe to repeat: an unchanged film is found and returned. Needs disk space for the clips and
    the film, and little memory (the contact sheet of a thousand shots takes 480 MiB). Raises `NotAVideo` or a storage
    error; then no manifest is written.
    """
    cuts = _cut(plan, clips, archive)
    key = _film_key(plan, cuts)
    manifest = layout.film_manifest(plan.slug, key)
    stored = archive.bucket.read_model(manifest, Film, STORED)
    if stored is not None:
        return stored
    with TemporaryDirectory(prefix="film-") as disk:
        film = _make(plan, cuts, clips, archive, Path(disk))
    archive.bucket.put(manifest, film.model_dump_json(indent=1).encode(), "application/json")
    return film


def _cut(plan: FilmPlan, clips: Mapping[str, Clip], archive: Archive) -> list[_Cut]:
    """Leave out what is not shown, and end each clip where the next one takes over."""
    shown = [planned for planned in plan.clips if planned.shown]
    cuts = []
    for planned, follower in zip(shown, [*shown[1:], None], strict=True):
        clip, pictures = clips[planned.clip_key], None
        if follower and follower.needs == Handover(
            kind="sharpest_frame", clip_key=planned.clip_key
        ):
            ending = ending_of(clip, archive)
            pictures = ending.pictures if ending else None
        cuts.append(_Cut(planned, clip, pictures))
    return cuts


def _chapters(planned: PlannedClip) -> list[Mark]:
    """The shots of a clip, and where in it they begin."""
    starts = accumulate((shot.seconds for shot in planned.shots), initial=0.0)
    if len(planned.shots) == 1:
        return [Mark(planned.name, 0.0)]
    names = [f"{planned.scene}.{shot.number} {shot.title}".rstrip() for shot in planned.shots]
    return [Mark(name, start) for name, start in zip(names, starts, strict=False)]


def _film_key(plan: FilmPlan, cuts: Sequence[_Cut]) -> str:
    """Name this cut: a hash of its title, and of its clips' names, contents and cuts in order."""
    canonical = json.dumps(
        {"version": 2, "title": plan.title, "clips": [cut.identity for cut in cuts]}
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]


def _make(
    plan: FilmPlan, cuts: Sequence[_Cut], clips: Mapping[str, Clip], archive: Archive, disk: Path
) -> Film:
    key = _film_key(plan, cuts)
    video = layout.film_video(plan.slug, key)
    sheet = layout.film_contact_sheet(plan.slug, key)
    target = disk / "film.mp4"
    joined = join([_part(cut, number, archive, disk) for number, cut in enumerate(cuts)], target)
    placed = [
        _place(cut, start, length, archive)
        for cut, start, length in zip(cuts, joined.starts, joined.lengths, strict=True)
    ]
    usd = sum((clip.usd for clip in clips.values()), NOTHING)
    archive.bucket.put(sheet, _sheet(plan, placed, joined, usd, target), "image/jpeg")
    return Film(
        title=plan.title,
        slug=plan.slug,
        film_key=key,
        uri=archive.bucket.uri(video),
        contact_sheet_uri=archive.bucket.uri(sheet),
        manifest_uri=archive.bucket.uri(layout.film_manifest(plan.slug, key)),
        sha256=_store(target, video, archive),
        seconds=joined.seconds,
        re_encoded=joined.re_encoded,
        usd=usd,
        clips=tuple(placed),
        unshown=tuple(clips[planned.clip_key] for planned in plan.clips if not planned.shown),
    )


def _part(cut: _Cut, number: int, archive: Archive, disk: Path) -> Part:
    path = disk / f"{number:04}.mp4"
    with path.open("w+b") as file:
        archive.copy_out(cut.clip, file)
    return Part(path, _chapters(cut.planned), cut.pictures, cut.planned.crossfade)


def _place(cut: _Cut, start: float, length: float, archive: Archive) -> FilmClip:
    planned, request = cut.planned, cut.planned.order.request
    named = [image.image_url for image in request.image_list] + [
        video.video_url for video in request.video_list
    ]
    inside = {
        url: archive.bucket.uri(url.removeprefix(STANDIN))
        for url in named
        if url.startswith(STANDIN)
    }
    return FilmClip(
        name=planned.name,
        begins_at=start,
        seconds=length,
        chapters=tuple(
            Chapter(name=mark.title, begins_at=start + mark.start) for mark in _chapters(planned)
        ),
        made_from=(planned.needs.clip_key,) if planned.needs else (),
        inputs={url: inside.get(url, url) for url in named},
        clip=cut.clip,
    )


def _sheet(
    plan: FilmPlan, placed: Sequence[FilmClip], joined: JoinReport, usd: Decimal, film: Path
) -> bytes:
    captions = []
    for each in placed:
        ends = [
            *(chapter.begins_at for chapter in each.chapters[1:]),
            each.begins_at + each.seconds,
        ]
        price = f" · ${each.clip.usd:.2f}" if len(each.chapters) == 1 else ""
        for chapter, end in zip(each.chapters, ends, strict=True):
            seconds = end - chapter.begins_at
            captions.append(
                Caption(chapter.begins_at, seconds, chapter.name, f"{seconds:.1f} s{price}")
            )
    count = f"{len(captions)} {'shot' if len(captions) == 1 else 'shots'}"
    return contact_sheet(
        film, captions, plan.title, f"{count} · {joined.seconds:.1f} s · ${usd:.2f}"
    )


def _store(film: Path, path: str, archive: Archive) -> str:
    """Store the film; a run that was killed before its manifest has left an equal one, whose hash counts."""
    with film.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if archive.bucket.put_file(path, file, film.stat().st_size, sha256, "video/mp4"):
            return sha256
    return archive.bucket.head(path).metadata["sha256"]
