"""Films that were sent and left: what is to be made of clips that nobody waits for."""

import hashlib
from collections.abc import Iterator
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import KEY_LENGTH
from prefect_kling.studio.storage import layout

_LATER_FIELDS = ("variables", "versions")


class PendingFilm(BaseModel):
    """A film to be completed when its clips have landed, and what it may cost."""

    model_config = ConfigDict(frozen=True)

    storyboard: Storyboard
    budget_usd: Decimal | None = None
    tags: dict[str, str] = {}
    """Who pays, where the storyboard does not say it."""

    @property
    def path(self) -> str:
        """Where it is kept; the same film is pending once."""
        return self._path(self.storyboard.slug)

    def _path(self, slug: str) -> str:
        # Who pays is no part of what is made. What earlier versions of this package did not know
        # counts only where it is said.
        left_out = {"tags"}
        left_out.update(name for name in _LATER_FIELDS if not getattr(self.storyboard, name))
        content = self.storyboard.model_dump_json(exclude=left_out).encode()
        content_hash = hashlib.sha256(content).hexdigest()[:KEY_LENGTH]
        return layout.pending_film(slug, content_hash)

    def keep(self, archive: Archive) -> None:
        """Write it down. Safe to repeat."""
        archive.bucket.put(self.path, self.model_dump_json(indent=1).encode(), "application/json")

    def drop(self, archive: Archive) -> None:
        """Forget it: it is made. Safe to repeat."""
        archive.bucket.delete(self.path)
        if self.storyboard.earlier_slug:
            archive.bucket.delete(self._path(self.storyboard.earlier_slug))


def pending_films(archive: Archive) -> Iterator[PendingFilm]:
    """Yield every film that is to be completed.

    Raises `LedgerUnreadable` for one that cannot be read.
    """
    for name in pending_names(archive):
        film = read_pending(name, archive)
        if film is not None:
            yield film


def pending_names(archive: Archive) -> Iterator[str]:
    """Yield the paths of all films that are to be completed."""
    yield from archive.bucket.names(layout.PENDING_FILMS)


def read_pending(name: str, archive: Archive) -> PendingFilm | None:
    """Return one of them; None if it is completed by now. Raises `LedgerUnreadable`."""
    return archive.bucket.read_model(name, PendingFilm)
