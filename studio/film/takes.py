"""Takes: one request made several times, of which the film shows one."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.prompts import ShotInvalid
from prefect_kling.studio.film.storyboard import Scene, Shot, ShotSettings, Storyboard
from prefect_kling.studio.film.versions import Story
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import map_in_threads


def with_takes(
    planned: PlannedClip, part: Shot | Scene, settings: ShotSettings, picks: Mapping[str, int]
) -> PlannedClip:
    """Return the take of a planned clip that counts; it knows how many there are.

    `part` is the shot, or the scene that is one clip. Raises `ShotInvalid` for a pick of a take
    that is not made, and for takes beside `take`.
    """
    take = planned.order.take
    if take != 1:
        for field in ("takes", "pick"):
            if getattr(part, field) is not None:
                raise ShotInvalid("take_with_takes", field=field, limit=take)
        # The nearest word counts: this shot has the one take that it names.
        return planned

    takes = settings.takes or 1
    if part.pick is not None:
        if settings.takes is None:
            raise ShotInvalid(
                "pick_without_takes", field="pick", value=part.pick, limit=max(2, part.pick)
            )
        if part.pick > takes:
            raise ShotInvalid("pick_beyond_takes", field="pick", value=part.pick, limit=takes)
    if takes == 1:
        return planned

    pick = part.pick or picks.get(planned.clip_key)
    notes = planned.notes
    if pick is not None and pick > takes:
        notes = (*notes, f"take {pick} was picked, and there are {takes}: the pick does not count")
        pick = None
    order = ClipOrder(request=planned.order.request, take=pick or 1)
    return planned.model_copy(update={"order": order, "takes": takes, "pick": pick, "notes": notes})


class Pick(BaseModel):
    """A take that somebody has picked outside of the storyboard, as it is kept in the archive."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    take: int = Field(ge=1)
    """The take that the film shows."""
    shot: str
    """What the shot was called then."""
    picked_at: datetime
    """When it was picked."""


def has_takes(board: Storyboard) -> bool:
    """Whether any part of a storyboard asks for several takes."""
    parts: Iterator[ShotSettings] = (
        part for scene in board.scenes for part in (scene, *scene.shots)
    )
    return any((part.takes or 1) > 1 for part in (board.defaults, *parts))


def read_picks(board: Storyboard, archive: Archive) -> dict[str, int]:
    """Return the takes that were picked outside of a storyboard, by the clip key of take 1.

    Free but for the store's calls: none for a storyboard without takes. Blocking. Raises
    `LedgerUnreadable` for a pick that cannot be read, and storage errors.
    """
    if not has_takes(board):
        return {}
    folder = layout.picks(board.slug)

    def read(path: str) -> Pick | None:
        return archive.bucket.read_model(path, Pick)

    paths = [path for path in archive.bucket.names(folder) if path.endswith(".json")]
    found = {}
    for path, pick in zip(paths, map_in_threads(read, paths), strict=True):
        if pick is not None:
            found[path.removeprefix(folder).removesuffix(".json")] = pick.take
    return found


def read_story_picks(story: Story, archive: Archive) -> dict[str, dict[str, int]]:
    """Return what `read_picks` returns for each film of a story, by version."""
    return {film.name: read_picks(film.board, archive) for film in story.films}


def keep_pick(planned: PlannedClip, take: int, slug: str, archive: Archive) -> None:
    """Keep a pick in the archive in place of an earlier one. Free, blocking, safe to repeat."""
    archive.bucket.put(*_stored(planned, take, slug), "application/json")


def keep_first_pick(planned: PlannedClip, take: int, slug: str, archive: Archive) -> None:
    """Keep a pick in the archive unless there is one already. Free, blocking, safe to repeat."""
    archive.bucket.create(*_stored(planned, take, slug))


def _stored(planned: PlannedClip, take: int, slug: str) -> tuple[str, bytes]:
    pick = Pick(take=take, shot=planned.shot_name, picked_at=datetime.now(UTC))
    path = layout.pick(slug, planned.first_take_key)
    return path, pick.model_dump_json(indent=1).encode()
