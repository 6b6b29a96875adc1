"""Further takes of clips that the checks of pictures and sound suspect."""

from collections.abc import Iterable
from decimal import Decimal

from prefect_kling.kling.prices import quote
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.standing import Standing, standing_of

MOST_RETAKES = 5


def retakes_of(order: ClipOrder, count: int) -> list[ClipOrder]:
    """Return the orders of the next so many takes."""
    first = order.take + 1
    return [ClipOrder(request=order.request, take=take) for take in range(first, first + count)]


def retakable(clips: Iterable[PlannedClip]) -> set[str]:
    """Return the keys of clips that may be retaken; `clips` are all those of a film.

    These are the clips from which no other clip is made: what is made from a clip has its key in
    its own, and would be another clip for another take. Where a shot has several takes people
    choose, and nothing is retaken.
    """
    keys = set()
    kept = set()
    for clip in clips:
        keys.add(clip.clip_key)
        if clip.needs is not None:
            kept.add(clip.needs.clip_key)
        if clip.takes > 1 or clip.pick is not None:
            kept.add(clip.clip_key)
    return keys - kept


def most_for_retakes(
    order: ClipOrder, count: int, archive: Archive | None, *, resubmit: bool = False
) -> Decimal:
    """Return what further takes of a clip may cost at worst. Free, blocking.

    Takes that are archived cost nothing, and the first of them that is not suspect ends the series.
    Raises `LedgerUnreadable` or a storage error.
    """
    unpaid = [Standing.TO_PAY]
    if resubmit:
        unpaid += [Standing.HELD, Standing.BEING_SENT]
    usd = NOTHING
    for each in (order, *retakes_of(order, count)):
        standing = Standing.TO_PAY
        if archive is not None:
            standing = standing_of(each.clip_key, archive.ledger)
        if standing is Standing.ARCHIVED and archive is not None:
            clip = archive.find(each.clip_key)
            if clip is not None and not clip.suspicions:
                return usd
        if each.take > order.take and standing in unpaid:
            usd += quote(each.request).at_most_usd
    return usd
