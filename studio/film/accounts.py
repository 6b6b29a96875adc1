"""The report of an archive: what its records, clips and films say about money."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prefect_kling.kling.request import STORED
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.record import Entry, EntryState
from prefect_kling.studio.money.report import (
    ALL_DAYS,
    Period,
    Report,
    Reported,
    make_report,
)
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import map_in_threads

_MANIFEST = "/manifest.json"


def report_archive(archive: Archive, by: Sequence[str], period: Period = ALL_DAYS) -> Report:
    """Return what the requests of a period have cost, by dimensions of `parse_dimensions`.

    Free but for the store's calls: one read a record, one more for each archived clip, and one for
    each cut of a film. Blocking, safe beside anything else; what changes meanwhile is counted as it
    was before or as it is after. Memory grows with the groups, and by a key for each clip of a
    film. Raises `LedgerUnreadable` rather than leave out what cannot be read, and storage errors.
    """
    films = _read_films(archive)

    def read(clip_key: str) -> Reported | None:
        version = archive.ledger.read(clip_key)
        if version is None:
            return None
        clip = None
        if version.entry.state is EntryState.ARCHIVED:
            clip = archive.find(clip_key)
        return Reported(version.entry, clip, films.have_left_out(version.entry, clip))

    found = map_in_threads(read, archive.ledger.all_keys())
    return make_report((each for each in found if each is not None), by, period)


@dataclass
class _JoinedFilms:
    """Which clips are in any cut of any film, and when each film was joined last, by slug."""

    used: set[str] = field(default_factory=set)
    joined_at: dict[str, datetime] = field(default_factory=dict)

    def have_left_out(self, entry: Entry, clip: Clip | None) -> bool:
        """Whether a clip's film was joined after it was made, and no film has it."""
        if clip is None or clip.clip_key in self.used:
            return False
        joined_at = self.joined_at.get(entry.film)
        return joined_at is not None and clip.archived_at < joined_at


def _read_films(archive: Archive) -> _JoinedFilms:
    films = _JoinedFilms()

    def read(manifest: tuple[str, float]) -> tuple[Film | None, datetime]:
        path, age_seconds = manifest
        # Stores tell whole seconds.
        joined_at = datetime.now(UTC) - timedelta(seconds=age_seconds - 1)
        return archive.bucket.read_model(path, Film, STORED), joined_at

    for film, joined_at in map_in_threads(read, _manifests(archive)):
        if film is None:
            continue
        films.used.update(each.clip.clip_key for each in film.clips)
        films.used.update(clip.clip_key for clip in film.unshown)
        earlier = films.joined_at.get(film.slug, joined_at)
        films.joined_at[film.slug] = max(earlier, joined_at)
    return films


def _manifests(archive: Archive) -> Iterator[tuple[str, float]]:
    for path, age_seconds in archive.bucket.ages(layout.FILMS):
        if path.endswith(_MANIFEST):
            yield path, age_seconds
