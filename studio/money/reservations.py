"""Money that is set aside for earlier requests, or still is for claims that have ended."""

from decimal import Decimal

from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import Reservation, clip_of
from prefect_kling.studio.money.ledger import VersionedEntry


def settle_ended_claims(archive: Archive, clip_key: str | None = None) -> list[str]:
    """Settle what is set aside for claims that have ended, and return the keys of their clips.

    A process that ends between a claim's last word in the ledger and its money leaves such
    reservations. Looks at one clip, or at all of them. Free, blocking, safe to repeat.
    """
    accounts = archive.budget.accounts()
    if accounts is None:
        return []
    settled = []
    for name, reservation in accounts.reserved.items():
        key = clip_of(name)
        if clip_key not in (None, key):
            continue
        # Read after the accounts: a claim whose money was set aside by then is in the record.
        version = archive.ledger.read(key)
        if version is None:
            continue
        spent = version.entry.spent_on(reservation.claim)
        if spent is None:
            continue
        archive.budget.settle_claim(key, reservation.claim, spent)
        now = archive.ledger.read(key)
        if now is not None and now.entry.spent_on(reservation.claim) is None:
            # Its sender, taken for dead, has named its job in between, and found its money there.
            archive.budget.set_aside_again(name, reservation)
            continue
        settled.append(key)
    return settled


def set_aside_for(
    version: VersionedEntry, claim: str, usd: Decimal, archive: Archive, film: str | None = None
) -> None:
    """Set money aside for one claim of a clip, unless it still is, or the record has changed.

    The money may have been freed when the request counted as failed. Done before the record says
    what the request has cost, so that a process that ends in between leaves it to the next sweep.
    Without `film`, the film of the latest request pays. Blocking, safe to repeat.
    """
    entry = version.entry
    if film is None:
        film = entry.film
    reservation = Reservation(usd=usd, claim=claim, film=film or None)

    def is_unchanged() -> bool:
        now = archive.ledger.read(entry.clip_key)
        return now is not None and now.etag == version.etag

    archive.budget.set_aside_while(entry.clip_key, reservation, is_unchanged)
