"""Assemble a film from its clips: the video, the contact sheet and the manifest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import STORED
from prefect_kling.studio.film.continuation import pictures_shown
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.media.contact_sheet import Caption, contact_sheet
from prefect_kling.studio.media.join import Chapter, JoinReport, Part, join
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive, Clip
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.orders import KEY_LENGTH
from prefect_kling.studio.storage import layout


class FilmChapter(BaseModel):
    """One shot as it stands in a film, in seconds from its beginning."""

    model_config = ConfigDict(frozen=True)

    name: str
    begins_at: float


class FilmClip(BaseModel):
    """One clip as it stands in a film.

    `begins_at` and `seconds` say which part of the film it fills. `inputs` maps each address that
    its request names to where that input really is. `made_from` are the keys of the clips among
    its inputs.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    begins_at: float
    seconds: float
    chapters: tuple[FilmChapter, ...]
    made_from: tuple[str, ...]
    inputs: dict[str, str]
    clip: Clip


class Film(BaseModel):
    """A finished film and everything it is made of. Stored as its `manifest.json`.

    `unshown` are clips that only served others. `usd` is what all these clips cost, whenever they
    were made; takes that were not picked are no part of the film.
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
    """One clip's place in the film. At most `pictures` of its pictures are shown."""

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
    """Join a film's clips as planned, and store the film, its contact sheet and its manifest.

    `clips` are given by clip key.

    Free, blocking, and safe to repeat: an unchanged film is found and returned. Needs disk space
    for the clips and the film, and little memory (the contact sheet of a thousand shots takes
    480 MiB).

    Raises `NotAVideo` or a storage error. Then no manifest is written.
    """
    cuts = _cut(plan, clips, archive)
    key = _film_key(plan, cuts)
    manifest = layout.film_manifest(plan.slug, key)
    for slug in (plan.slug, plan.earlier_slug):
        if not slug:
            continue
        stored = archive.bucket.read_model(layout.film_manifest(slug, key), Film, STORED)
        if stored is not None:
            return stored
    with TemporaryDirectory(prefix="film-") as disk:
        film = _make(plan, cuts, clips, archive, Path(disk))
    archive.bucket.put(manifest, film.model_dump_json(indent=1).encode(), "application/json")
    return film


def _cut(plan: FilmPlan, clips: Mapping[str, Clip], archive: Archive) -> list[_Cut]:
    """Leave out what is not shown, and end each clip where the next one takes over."""
    shown = [planned for planned in plan.used if planned.shown]
    followers = [*shown[1:], None]

    cuts = []
    for planned, follower in zip(shown, followers, strict=True):
        clip = clips[planned.clip_key]
        pictures = None
        if follower is not None and follower.needs is not None:
            pictures = pictures_shown(clip, follower.needs, archive)
        cuts.append(_Cut(planned, clip, pictures))
    return cuts


def _chapters(planned: PlannedClip) -> list[Chapter]:
    """Return the shots of a clip, and where in it they begin."""
    if len(planned.shots) == 1:
        return [Chapter(planned.shot_name, 0.0)]

    marks = []
    start = 0.0
    for shot in planned.shots:
        name = f"{planned.scene}.{shot.number} {shot.title}".rstrip()
        marks.append(Chapter(name, start))
        start += shot.seconds
    return marks


def _film_key(plan: FilmPlan, cuts: Sequence[_Cut]) -> str:
    """Return the key of this cut: a hash of the title, and of the clips and their cuts."""
    clips = [cut.identity for cut in cuts]
    canonical = json.dumps({"version": 2, "title": plan.title, "clips": clips})
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]


def _make(
    plan: FilmPlan, cuts: Sequence[_Cut], clips: Mapping[str, Clip], archive: Archive, disk: Path
) -> Film:
    key = _film_key(plan, cuts)
    video = layout.film_video(plan.slug, key)
    sheet = layout.film_contact_sheet(plan.slug, key)

    parts = []
    for number, cut in enumerate(cuts):
        path = disk / f"{number:04}.mp4"
        with path.open("w+b") as file:
            archive.copy_out(cut.clip, file)
        parts.append(Part(path, _chapters(cut.planned), cut.pictures, cut.planned.crossfade))

    target = disk / "film.mp4"
    joined = join(parts, target)
    placed = []
    for cut, start, length in zip(cuts, joined.starts, joined.lengths, strict=True):
        placed.append(_place(cut, start, length, archive))

    used = {planned.clip_key for planned in plan.used}
    usd = sum((clips[clip_key].usd for clip_key in used), NOTHING)
    archive.bucket.put(sheet, _sheet(plan, placed, joined, usd, target), "image/jpeg")
    unshown = [clips[planned.clip_key] for planned in plan.used if not planned.shown]
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
        unshown=tuple(unshown),
    )


def _place(cut: _Cut, start: float, length: float, archive: Archive) -> FilmClip:
    """Describe a clip as it stands in the film, from `start` on, `length` seconds long."""
    planned = cut.planned

    chapters = [
        FilmChapter(name=chapter.title, begins_at=start + chapter.start)
        for chapter in _chapters(planned)
    ]

    request = planned.order.request
    urls = [image.image_url for image in request.image_list]
    urls.extend(video.video_url for video in request.video_list)
    inputs = {}
    for url in urls:
        inputs[url] = url
        if url.startswith(ARCHIVE_URL):
            inputs[url] = archive.bucket.uri(url.removeprefix(ARCHIVE_URL))

    made_from: tuple[str, ...] = ()
    if planned.needs is not None:
        made_from = (planned.needs.clip_key,)

    return FilmClip(
        name=planned.name,
        begins_at=start,
        seconds=length,
        chapters=tuple(chapters),
        made_from=made_from,
        inputs=inputs,
        clip=cut.clip,
    )


def _sheet(
    plan: FilmPlan, placed: Sequence[FilmClip], joined: JoinReport, usd: Decimal, film: Path
) -> bytes:
    """Return the contact sheet as JPEG: a picture of every shot, with its length and price."""
    captions = []
    for each in placed:
        ends = [chapter.begins_at for chapter in each.chapters[1:]]
        ends.append(each.begins_at + each.seconds)
        for chapter, end in zip(each.chapters, ends, strict=True):
            seconds = end - chapter.begins_at
            text = f"{seconds:.1f} s"
            # The price of a clip with several shots belongs to none of them alone.
            if len(each.chapters) == 1:
                text = f"{text} · ${each.clip.usd:.2f}"
            mark = each.clip.suspect
            captions.append(Caption(chapter.begins_at, seconds, chapter.name, text, mark))

    count = f"{len(captions)} shots"
    if len(captions) == 1:
        count = "1 shot"
    summary = f"{count} · {joined.seconds:.1f} s · ${usd:.2f}"
    return contact_sheet(film, captions, plan.title, summary)


def _store(film: Path, path: str, archive: Archive) -> str:
    """Store the film and return its SHA-256.

    A run that was killed before its manifest has left an equal film. Then that one's hash counts.
    """
    with film.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if archive.bucket.put_file(path, file, film.stat().st_size, sha256, "video/mp4"):
            return sha256
    return archive.bucket.head(path).metadata["sha256"]
