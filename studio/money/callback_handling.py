"""What to do when the API calls: the job is read back, and its clip finished at once."""

from dataclasses import dataclass
from datetime import timedelta

from prefect_kling.kling.client import KlingClient
from prefect_kling.studio.errors import LedgerMoved
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.candidates import take_for
from prefect_kling.studio.money.ledger import Entry, EntryState, VersionedEntry
from prefect_kling.studio.money.record import MAY_HAVE_LEFT
from prefect_kling.studio.money.settlement import CONFIRM_SECONDS, Collected, collect
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.studio.storage.layout import CLAIM_LENGTH

# Who sends may be between its request and its note of the job: that note is as good as ours.
_WITHOUT_A_JOB = (*MAY_HAVE_LEFT, EntryState.HELD)


@dataclass(frozen=True)
class CallbackEvent:
    """One call of the API: the intent that its address names, and the job that its body may name.

    Only the former is proven.
    """

    clip_key: str
    claim: str
    job_id: str | None = None


async def handle_callback(
    call: CallbackEvent,
    client: KlingClient,
    archive: Archive,
    confirm_seconds: float = CONFIRM_SECONDS,
) -> tuple[Entry, Collected] | None:
    """Finish the clip a call is about; None if nothing is left to be done for it.

    Free, and safe to repeat, to come late, early, or out of order: the ledger says what the call is
    about, and the API how the job stands. A call that names the job of a held intent resolves it.
    Raises storage and client errors,
    `JobNotFound` among them where the API does not know that job.
    """
    version = await in_thread(archive.ledger.read, call.clip_key)
    if version is None:
        return None
    entry = version.entry
    is_of_this_claim = entry.claim[:CLAIM_LENGTH] == call.claim
    is_late = not is_of_this_claim or entry.state is EntryState.RELEASED
    if is_late and call.job_id is not None and call.job_id not in entry.all_job_ids:
        await _keep_late_id(entry, call, call.job_id, client, archive)
        return None
    if not is_of_this_claim:
        return None
    if entry.state in _WITHOUT_A_JOB and call.job_id is not None:
        entry = await _adopted(version, call.job_id, client, archive)
    if entry.state is not EntryState.SUBMITTED:
        return None
    return entry, await collect(entry, client, archive, timedelta(days=1), confirm_seconds)


async def _keep_late_id(
    entry: Entry, call: CallbackEvent, job_id: str, client: KlingClient, archive: Archive
) -> None:
    """Add the job of another claim to the record, if the API knows it and it is no other clip's."""
    await client.get(job_id)
    if await in_thread(take_for, entry, job_id, archive) != entry.clip_key:
        return
    sender = entry.model_copy(update={"claim": call.claim})
    noted = await in_thread(archive.ledger.add_late_job, sender, job_id)
    if entry.state is EntryState.RELEASED:
        await in_thread(archive.budget.restore, noted)


async def _adopted(
    version: VersionedEntry, job_id: str, client: KlingClient, archive: Archive
) -> Entry:
    """Note the job a call names, if the API knows it and it is no other clip's.

    Somebody quicker is believed.
    """
    await client.get(job_id)
    if await in_thread(take_for, version.entry, job_id, archive) != version.entry.clip_key:
        return version.entry
    who = "the API's own call"
    try:
        if version.entry.state is EntryState.HELD:
            noted = await in_thread(archive.ledger.adopt, version, job_id, who)
        else:
            noted = await in_thread(archive.ledger.submitted, version, job_id, who)
    except LedgerMoved:
        now = await in_thread(archive.ledger.read, version.entry.clip_key)
        return (now or version).entry
    return noted.entry
