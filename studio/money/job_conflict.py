"""One job, one clip: what happens when an API gives one job to two."""

from prefect_kling.studio.errors import LedgerMoved, LedgerUnreadable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.record import Entry, EntryState


def hold_if_owned_elsewhere(entry: Entry, archive: Archive, *, is_new: bool = False) -> Entry:
    """Take a submitted entry's job for its clip.

    Hold the clip, with the id, if the job is another's.

    Returns the entry as it stands then. `is_new`: the API has just named the job for the first
    time. Safe to repeat. Raises storage errors.
    """
    if entry.job_id is None:
        raise LedgerUnreadable("the record names no job", clip_key=entry.clip_key)
    owner = archive.jobs.take(entry.job_id, entry.clip_key, entry.claim, expects_none=is_new)
    if owner == entry.clip_key:
        return entry
    version = archive.ledger.read(entry.clip_key)
    if version is None:
        raise LedgerUnreadable("the record of a paid job is gone", clip_key=entry.clip_key)
    if version.entry.job_id != entry.job_id or version.entry.state is not EntryState.SUBMITTED:
        return version.entry
    why = f"the API named job {entry.job_id}, which belongs to clip {owner}"
    try:
        return archive.ledger.hold(version, why, entry.job_id, is_answered=True).entry
    except LedgerMoved:
        now = archive.ledger.read(entry.clip_key)
        if now is None:
            raise
        return now.entry
