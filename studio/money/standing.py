"""Where a clip stands before a run: archived, under way, held, or still to be paid."""

from collections.abc import Iterable
from enum import StrEnum

from prefect_kling.studio.money.ledger import EntryState, Ledger
from prefect_kling.studio.money.submission import CLAIM_SECONDS, is_silent

# From so many clips on, listing the records that exist costs less than asking for each.
_LIST_FROM = 300


class Standing(StrEnum):
    """What is known of a clip before it is made."""

    ARCHIVED = "archived"
    BEING_SENT = "being sent"
    UNDER_WAY = "under way"
    HELD = "held"
    GIVEN_UP = "given up"
    FAILED = "failed for good"
    TO_PAY = "to be paid"


_STANDINGS = {
    EntryState.ARCHIVED: Standing.ARCHIVED,
    EntryState.SUBMITTED: Standing.UNDER_WAY,
    EntryState.CLAIMED: Standing.BEING_SENT,
    EntryState.SENDING: Standing.BEING_SENT,
    EntryState.INTENT: Standing.BEING_SENT,
    EntryState.HELD: Standing.HELD,
    EntryState.GIVEN_UP: Standing.GIVEN_UP,
}


def standing_of(clip_key: str, ledger: Ledger) -> Standing:
    """Return where a clip stands. Raises `LedgerUnreadable` or a storage error, never a guess."""
    version = ledger.read(clip_key)
    if version is None:
        return Standing.TO_PAY
    entry = version.entry
    if entry.state is EntryState.CLAIMED and is_silent(version, None, CLAIM_SECONDS):
        # Its process has died before it could send.
        return Standing.TO_PAY
    if entry.state is EntryState.FAILED and not entry.retryable:
        # Only a person can have it tried again.
        return Standing.FAILED
    return _STANDINGS.get(entry.state, Standing.TO_PAY)


def recorded_keys(clip_keys: Iterable[str], ledger: Ledger) -> set[str]:
    """Return those of the keys that may have a record in the ledger.

    Free. Many are found by listing, one call for a thousand records of the archive.
    """
    wanted = set(clip_keys)
    if len(wanted) < _LIST_FROM:
        return wanted
    return wanted.intersection(ledger.all_keys())
