"""What a film will cost now: what is archived already, what is under way, and what is still to be paid."""

import asyncio
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import NOTHING, EntryState
from prefect_kling.studio.storage.bucket import in_thread


class Standing(StrEnum):
    """Where a clip stands before a film is made."""

    ARCHIVED = "archived"
    BEING_SENT = "being sent"
    UNDER_WAY = "under way"
    HELD = "held"
    TO_PAY = "to be paid"


_STANDINGS = {
    EntryState.ARCHIVED: Standing.ARCHIVED,
    EntryState.SUBMITTED: Standing.UNDER_WAY,
    EntryState.INTENT: Standing.BEING_SENT,
    EntryState.HELD: Standing.HELD,
}


class FilmQuote(BaseModel):
    """A plan, and how much of it is paid; `usd` is expected, `at_most_usd` the worst case that budgets reckon with."""

    model_config = ConfigDict(frozen=True)

    plan: FilmPlan
    standings: dict[str, Standing]

    @property
    def usd(self) -> Decimal:
        """What is still to be paid, as expected."""
        return sum((self.plan.by_key[key].price.usd for key in self._unpaid), NOTHING)

    @property
    def at_most_usd(self) -> Decimal:
        """What is still to be paid, at worst."""
        return sum((self.plan.by_key[key].at_most_usd for key in self._unpaid), NOTHING)

    def count(self, standing: Standing) -> int:
        """How many clips stand so."""
        return list(self.standings.values()).count(standing)

    @property
    def _unpaid(self) -> list[str]:
        return [key for key, standing in self.standings.items() if standing is Standing.TO_PAY]


async def quote_film(
    plan: FilmPlan, archive: Archive | None, *, resubmit: bool = False
) -> FilmQuote:
    """Look up every clip of a plan; without an archive all of it is to be paid. Free.

    `resubmit`: held clips, and intents whose sender may be dead, would be sent and paid again, so they count as such.

    Raises `LedgerUnreadable` or a storage error rather than call a clip unpaid that may not be.
    """
    keys = list(plan.by_key)
    if archive is None:
        return FilmQuote(plan=plan, standings=dict.fromkeys(keys, Standing.TO_PAY))
    found = await asyncio.gather(*(in_thread(_look_up, key, archive) for key in keys))
    if resubmit:
        found = [
            Standing.TO_PAY if each in (Standing.HELD, Standing.BEING_SENT) else each
            for each in found
        ]
    return FilmQuote(plan=plan, standings=dict(zip(keys, found, strict=True)))


def _look_up(clip_key: str, archive: Archive) -> Standing:
    page = archive.ledger.read(clip_key)
    return Standing.TO_PAY if page is None else _STANDINGS.get(page.entry.state, Standing.TO_PAY)
