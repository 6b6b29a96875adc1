"""Alarms by age: an open record is told before the API deletes its video."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect_kling.kling.job import RETENTION
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState, Marker
from prefect_kling.studio.money.settlement import Outcome

HOUR = timedelta(hours=1)
# A record in any other state is open, those that a later version may add included.
CLOSED = ("released", "failed", "given_up", "archived")


@dataclass(frozen=True)
class AlarmAges:
    """From which age on, counted since it was sent, an open record is told."""

    overdue: timedelta = timedelta(hours=24)
    expiring: timedelta = timedelta(days=6)
    """The API deletes results after seven days."""


@dataclass(frozen=True)
class Alarm:
    """A kind of finding, and a sentence about it."""

    kind: str
    words: str


def find_overdue(
    marker: Marker, archive: Archive, ages: AlarmAges, kind: str = "", words: str = ""
) -> Alarm | None:
    """Return the alarm that is due for a marker's record by its age alone; None if there is none.

    `kind` and `words` are what the sweep found, so that nothing is told twice. Reads the record
    only if the marker is old.
    """
    age = timedelta(seconds=marker.age_seconds)
    if age < ages.overdue or kind == Outcome.EXPIRING:
        return None
    version = archive.ledger.read(marker.clip_key)
    if version is None or version.entry.state in CLOSED:
        return None
    if not version.entry.claim.startswith(marker.claim):
        return None
    # The marker's age is told by the store's clock, but it is written anew when a record is opened
    # again. The sender's clock may be wrong, but then an alarm comes early.
    entry = version.entry
    if entry.sent_at is not None:
        age = max(age, datetime.now(UTC) - entry.sent_at)
    if age >= ages.expiring:
        return Alarm(Outcome.EXPIRING, say_overdue(entry, age, words))
    return Alarm("overdue", say_overdue(entry, age, words))


def say_overdue(entry: Entry, age: timedelta, words: str) -> str:
    """Say how long a record has been open, its state and price, and what can be done."""
    parts = [
        f"open for {age / HOUR:.0f} h since it was sent",
        f"it is {entry.state}",
        f"at most ${entry.at_most_usd}",
    ]
    if entry.job_id is not None:
        left = (RETENTION - age) / HOUR
        deleted = f"whose video the API deletes in about {left:.0f} h"
        if left <= 0:
            deleted = "whose video the API has deleted, unless it was finished late"
        parts.append(f"job {entry.job_id}, {deleted}")
    if words:
        parts.append(words.rstrip(". "))
    return f"{'; '.join(parts)}. {next_step(entry)}"


def next_step(entry: Entry) -> str:
    """Name the commands that end an open record."""
    key = entry.clip_key
    if entry.state is EntryState.SUBMITTED:
        return (
            f"`prefect-kling ledger retry {key}` looks at its job first and pays for another only "
            f"if that one is over; `prefect-kling ledger give-up {key}` closes the record."
        )
    if entry.state is EntryState.HELD:
        return (
            f"`prefect-kling ledger adopt {key} JOB_ID` if the job exists, `prefect-kling ledger "
            f"release {key}` if nothing was paid, `prefect-kling ledger give-up {key}` if that "
            "cannot be known."
        )
    return f"`prefect-kling ledger show {key}` says what happened."
