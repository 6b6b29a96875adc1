"""Which clip a job belongs to: one small object per job id, so that no video becomes two clips."""

import hashlib

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import LedgerMoved
from prefect_kling.studio.money.ledger import Ledger
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket


class JobOwner(BaseModel):
    """The clip that a job belongs to; an empty key means that the job was given back."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    clip_key: str
    claim: str = ""


class JobIndex:
    """The index of an archive's jobs, `ledger/by-job/`. Methods block and may be repeated.

    Objects are named by the SHA-256 of the job's id, because an id may hold anything. They are
    created with `If-None-Match` and corrected with `If-Match`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._is_complete = False

    def owner(self, job_id: str) -> str | None:
        """Return the key of the clip that a job belongs to; None if it is free."""
        owner = self._bucket.read_model(_path(job_id), JobOwner)
        if owner is None or not owner.clip_key:
            return None
        return owner.clip_key

    def take(self, job_id: str, clip_key: str, claim: str, *, expects_none: bool = False) -> str:
        """Note that a job belongs to a clip, unless it belongs to another.

        Return whose it is now. `expects_none`: it is probably not in the index yet, so the note is
        created without being looked for first.
        """
        mine = JobOwner(job_id=job_id, clip_key=clip_key, claim=claim)
        body = mine.model_dump_json().encode()
        path = _path(job_id)
        if expects_none and self._bucket.create(path, body) is not None:
            return clip_key
        while True:
            stored = self._bucket.read(path)
            if stored is None:
                written = self._bucket.create(path, body)
            else:
                owner = stored.parse(JobOwner)
                if owner.clip_key:
                    return owner.clip_key
                written = self._bucket.replace(path, body, stored.etag)
            if written is not None:
                return clip_key

    def give_back(self, job_id: str, clip_key: str) -> None:
        """Note that a job does not belong to a clip after all.

        Nothing happens if it is another's.
        """
        path = _path(job_id)
        stored = self._bucket.read(path)
        if stored is None or stored.parse(JobOwner).clip_key != clip_key:
            return
        free = JobOwner(job_id=job_id, clip_key="")
        if self._bucket.replace(path, free.model_dump_json().encode(), stored.etag) is None:
            raise LedgerMoved("the owner of a job has changed", clip_key=clip_key, job_id=job_id)

    def complete(self, ledger: Ledger) -> None:
        """Enter the jobs of all records, once per archive: older versions wrote no index.

        Costs one read and one write per record the first time, one read per process afterwards.
        Where two records name one job, the first one in the order of keys keeps it.
        """
        if self._is_complete:
            return
        if self._bucket.read(layout.JOB_INDEX_COMPLETE) is None:
            for version in ledger.all_records():
                entry = version.entry
                for job_id in entry.owned_job_ids:
                    self.take(job_id, entry.clip_key, entry.claim)
            self._bucket.put(layout.JOB_INDEX_COMPLETE, b"", "text/plain")
        self._is_complete = True


def _path(job_id: str) -> str:
    digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
    return layout.job_owner(digest)
