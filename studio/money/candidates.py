"""A held clip whose answer named a job: whether that job is the clip's, asked of the API."""

from dataclasses import dataclass
from datetime import timedelta

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.studio.errors import LedgerMoved
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import VersionedEntry
from prefect_kling.studio.money.record import Entry, EntryState
from prefect_kling.studio.storage.concurrency import in_thread

CLOCK_DIFFERENCE = timedelta(minutes=1)
"""How far the clocks of a sender and of the API may differ."""


@dataclass(frozen=True)
class Candidate:
    """What was found out about the job that an answer named.

    `adopted` is the record if it is the clip's.
    """

    words: str
    adopted: Entry | None = None


async def adopt_candidate(
    version: VersionedEntry, client: KlingClient, archive: Archive, window: float
) -> Candidate:
    """Adopt the job that a held clip's answer named, if everything says that it is the clip's.

    That is: the sender counts as dead, the id stood in an id field, the API knows the job, its
    model is the one ordered, it was not made before the request was sent, and it is no other
    clip's. Whatever is not known keeps the clip held. Free, safe to repeat.
    """
    entry = version.entry
    if entry.state is not EntryState.HELD or entry.job_id is None:
        return Candidate("no answer named a job")
    if version.age_seconds <= window:
        return Candidate(f"job {entry.job_id} was named; it is looked at once its sender is done")
    try:
        job = await client.get(entry.job_id)
    except KlingError as error:
        return Candidate(f"job {entry.job_id} was named, and could not be read: {error.message}")
    if job.model.rpartition("/")[2] != entry.order.request.model:
        return Candidate(f"job {entry.job_id} was named, and is one of model {job.model!r}")
    if job.created_at is None or entry.sent_at is None:
        return Candidate(f"job {entry.job_id} was named, and does not say when it was made")
    if job.created_at < entry.sent_at - CLOCK_DIFFERENCE:
        return Candidate(f"job {entry.job_id} was named, and is older than the request")
    owner = await in_thread(take_for, entry, entry.job_id, archive)
    if owner != entry.clip_key:
        return Candidate(f"job {entry.job_id} was named, and belongs to clip {owner}")
    try:
        adopted = await in_thread(
            archive.ledger.adopt, version, entry.job_id, "its answer, checked at the API"
        )
    except LedgerMoved:
        return Candidate("somebody else has decided about the clip")
    return Candidate(f"job {entry.job_id} is this clip's", adopted.entry)


def take_for(entry: Entry, job_id: str, archive: Archive) -> str:
    """Take a job for a clip that did not get its id from a plain answer; return whose it is.

    The index must name the jobs of all older records first.
    """
    archive.jobs.complete(archive.ledger)
    return archive.jobs.take(job_id, entry.clip_key, entry.claim)
