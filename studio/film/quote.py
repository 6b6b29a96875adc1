"""Quote a film: which of its clips are archived, which are under way, and which must be paid."""

import asyncio
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.retakes import most_for_retakes, retakable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import (
    InputAccess,
    UnreachableInput,
    has_archive_inputs,
    unreachable_inputs,
)
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.standing import Standing, standing_of
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.concurrency import in_thread


class VersionCost(BaseModel):
    """What one of several versions has, and what it adds to the price of those before it."""

    model_config = ConfigDict(frozen=True)

    version: str
    seconds: float
    """Of what is shown."""
    clips: int
    shared: int
    """How many of its clips a version before it has, too."""
    usd: Decimal
    """What is still to be paid for its other clips."""


class FilmQuote(BaseModel):
    """A plan, and the standing of each of its clips by clip key.

    `usd` is the expected price of what is still to be paid. `at_most_usd` is its highest price,
    which budgets are checked against.
    """

    model_config = ConfigDict(frozen=True)

    plan: FilmPlan
    standings: dict[str, Standing]
    unreachable: tuple[UnreachableInput, ...] = ()
    """Inputs of clips to be paid that the API cannot fetch: the film is refused."""
    retakes_usd: Decimal = NOTHING
    """What further takes of suspect clips may cost at worst; part of `at_most_usd`."""

    @property
    def usd(self) -> Decimal:
        """Expected price, in US dollars, of the clips that are still to be paid."""
        return sum((self.plan.by_key[key].price.usd for key in self._unpaid), NOTHING)

    @property
    def at_most_usd(self) -> Decimal:
        """Highest price, in US dollars, of the clips that are still to be paid, and retaken."""
        once = sum((self.plan.by_key[key].at_most_usd for key in self._unpaid), NOTHING)
        return once + self.retakes_usd

    def count(self, standing: Standing) -> int:
        """Return how many clips have this standing."""
        return list(self.standings.values()).count(standing)

    @property
    def by_version(self) -> list[VersionCost]:
        """What each version adds, in order; nothing for the plan of a single film."""
        costs = []
        before: set[str] = set()
        for version in self.plan.versions:
            clips = [clip for clip in self.plan.clips if clip.version == version]
            keys = {clip.clip_key for clip in clips}
            added = keys - before
            unpaid = [self.plan.by_key[key].price.usd for key in self._unpaid if key in added]
            cost = VersionCost(
                version=version,
                seconds=sum(clip.seconds - clip.crossfade for clip in clips if clip.shown),
                clips=len(keys),
                shared=len(keys & before),
                usd=sum(unpaid, NOTHING),
            )
            costs.append(cost)
            before |= keys
        return costs

    @property
    def obstacles(self) -> list[str]:
        """Why the film cannot be made, one sentence each; it is refused before anything is paid."""
        return list(dict.fromkeys(str(each) for each in self.unreachable))

    @property
    def needs_archive_inputs(self) -> bool:
        """Whether a clip that is still to be paid is made from anything in the archive."""
        requests = (self.plan.by_key[key].order.request for key in self._unpaid)
        return any(has_archive_inputs(request) for request in requests)

    @property
    def _unpaid(self) -> list[str]:
        return [key for key, standing in self.standings.items() if standing is Standing.TO_PAY]


async def quote_film(
    plan: FilmPlan,
    archive: Archive | None,
    *,
    resubmit: bool = False,
    access: InputAccess | None = None,
    retake_suspect: int = 0,
) -> FilmQuote:
    """Look up every clip of a plan in the archive. Free.

    Without an archive every clip is to be paid.

    With `resubmit`, held clips, and clips being sent whose sender may be dead, count as to be
    paid: they would be sent and paid again.

    With `retake_suspect`, so many further takes of each clip that may be retaken count as well.

    With `access`, the inputs of clips to be paid are checked: can the API fetch them?

    Raises `LedgerUnreadable` or a storage error rather than report a wrong standing.
    """
    keys = list(plan.by_key)
    if archive is None:
        standings = dict.fromkeys(keys, Standing.TO_PAY)
        retakes_usd = await _retakes_usd(plan, None, retake_suspect, resubmit=resubmit)
        found_none = FilmQuote(plan=plan, standings=standings, retakes_usd=retakes_usd)
        return await _checked(found_none, None, access)

    lookups = [in_thread(standing_of, key, archive.ledger) for key in keys]
    found = await asyncio.gather(*lookups)
    standings = dict(zip(keys, found, strict=True))

    if resubmit:
        for key, standing in standings.items():
            if standing in (Standing.HELD, Standing.BEING_SENT):
                standings[key] = Standing.TO_PAY
    retakes_usd = await _retakes_usd(plan, archive, retake_suspect, resubmit=resubmit)
    made = FilmQuote(plan=plan, standings=standings, retakes_usd=retakes_usd)
    return await _checked(made, archive.bucket, access)


async def _retakes_usd(
    plan: FilmPlan, archive: Archive | None, count: int, *, resubmit: bool
) -> Decimal:
    if not count:
        return NOTHING
    lookups = []
    for key in retakable(plan.clips):
        order = plan.by_key[key].order
        lookups.append(in_thread(most_for_retakes, order, count, archive, resubmit=resubmit))
    return sum(await asyncio.gather(*lookups), NOTHING)


async def _checked(
    quote: FilmQuote, bucket: Bucket | None, access: InputAccess | None
) -> FilmQuote:
    """Return the quote with the inputs that the API cannot fetch."""
    if access is None:
        return quote
    unreachable = await in_thread(_unreachable, quote, bucket, access)
    return quote.model_copy(update={"unreachable": tuple(unreachable)})


def _unreachable(
    quote: FilmQuote, bucket: Bucket | None, access: InputAccess
) -> list[UnreachableInput]:
    found: dict[UnreachableInput, None] = {}
    for key, standing in quote.standings.items():
        if standing is Standing.TO_PAY:
            request = quote.plan.by_key[key].order.request
            found.update(dict.fromkeys(unreachable_inputs(request, bucket, access)))
    return list(found)
