"""The places of an account's running jobs, shared by all processes that use one archive.

There are as many objects `ledger/slots/{number}` as jobs may run. Each names the clip whose job
occupies it, or none. It changes hands by compare-and-swap only, so there is never one more. A slot
belongs to a job and not to a process: that of a process that has died is free when its job has
ended.
"""

import random
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket


class _Occupant(BaseModel):
    """What stands in a slot."""

    model_config = ConfigDict(frozen=True)

    clip_key: str = ""
    """Empty if the slot is free."""
    by: str = ""
    """Who wrote it, so that no two writes are equal."""


@dataclass(frozen=True)
class Slot:
    """A slot as it was when it was read or written."""

    path: str
    etag: str
    clip_key: str
    age_seconds: float = 0.0


class JobSlots:
    """As many slots as jobs of the account may run.

    Methods block. `hand_over` costs a call of the store, `take` up to one for each slot.
    """

    def __init__(self, bucket: Bucket, limit: int) -> None:
        self._bucket = bucket
        self._paths = [layout.job_slot(number) for number in range(limit)]

    def take(self, clip_key: str) -> tuple[Slot | None, list[Slot]]:
        """Occupy a free slot for a clip. Return it, or None and all that are occupied."""
        occupied = []
        for path in random.sample(self._paths, len(self._paths)):
            stored = self._bucket.read(path)
            if stored is None:
                slot = self._create(path, clip_key)
            else:
                occupant = stored.parse(_Occupant)
                found = Slot(path, stored.etag, occupant.clip_key, stored.age_seconds)
                if occupant.clip_key:
                    occupied.append(found)
                    continue
                slot = self.hand_over(found, clip_key)
            if slot is not None:
                return slot, occupied
        return None, occupied

    def hand_over(self, slot: Slot, clip_key: str) -> Slot | None:
        """Give a slot to another clip, or to none; None if somebody else has changed it."""
        etag = self._bucket.replace(slot.path, _body(clip_key), slot.etag)
        if etag is None:
            return None
        return Slot(slot.path, etag, clip_key)

    def _create(self, path: str, clip_key: str) -> Slot | None:
        etag = self._bucket.create(path, _body(clip_key))
        if etag is None:
            return None
        return Slot(path, etag, clip_key)


def _body(clip_key: str) -> bytes:
    occupant = _Occupant(clip_key=clip_key, by=f"{random.getrandbits(64):016x}")
    return occupant.model_dump_json().encode()
