"""What a paid job delivered and no check accepts: kept raw until a person decides.

The API deletes its results after seven days, so the bytes are kept even where they cannot be
verified. Nothing else in the archive uses them: no clip, no film, no account.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import STORED
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.download import Received

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class QuarantinedFile(BaseModel):
    """One raw file, and why it is no clip."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    version: int = 1
    """Form of this record."""
    clip_key: str
    """The clip that was paid for."""
    job_id: str
    """The job that delivered it."""
    order: ClipOrder
    """What was asked for."""
    reason: str
    """Why it could not be verified."""
    uri: str
    """Where the bytes are, exactly as they arrived."""
    bytes: int
    sha256: str
    media_type: str = ""
    """What the server called it."""
    is_page: bool = False
    """Whether it is a text, such as a page that says why there is no video."""
    kept_at: datetime
    """When it was stored."""
    accepted_by: str = ""
    """Who made it the clip's video all the same."""


class Quarantine:
    """The quarantine of an archive. Methods block, and may be repeated."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def keep(
        self, order: ClipOrder, job_id: str, file: BinaryIO, received: Received, reason: str
    ) -> QuarantinedFile:
        """Store a file as it arrived, with its reason beside it; return the record.

        Of several files of one job the largest is kept, and a text gives way to anything else.
        """
        found = QuarantinedFile(
            clip_key=order.clip_key,
            job_id=job_id,
            order=order,
            reason=reason,
            uri=self.bucket.uri(_video(order.clip_key, job_id, received.sha256)),
            bytes=received.size,
            sha256=received.sha256,
            media_type=received.media_type,
            is_page=_is_page(file),
            kept_at=datetime.now(UTC),
        )
        path = layout.quarantine_record(order.clip_key, job_token(job_id))
        earlier = self.bucket.read_model(path, QuarantinedFile, STORED)
        if earlier is not None and _rank(earlier) >= _rank(found):
            return earlier
        # The bytes go first: a record always has its file.
        self.bucket.put_file(
            self.bucket.path_of(found.uri),
            file,
            received.size,
            received.sha256,
            "application/octet-stream",
        )
        self._write(found)
        return found

    def find(self, clip_key: str, job_id: str) -> QuarantinedFile | None:
        """Return what is kept of a job; None if nothing is. Raises `LedgerUnreadable`."""
        path = layout.quarantine_record(clip_key, job_token(job_id))
        return self.bucket.read_model(path, QuarantinedFile, STORED)

    def files(self, clip_key: str = "") -> Iterator[QuarantinedFile]:
        """Yield all records, or those of clips whose key begins so."""
        for path in self.bucket.names(layout.QUARANTINE + clip_key):
            if not path.endswith(".json"):
                continue
            found = self.bucket.read_model(path, QuarantinedFile, STORED)
            if found is not None:
                yield found

    def note_accepted(self, found: QuarantinedFile, who: str) -> None:
        """Note in the record who accepted the file; the raw file stays."""
        self._write(found.model_copy(update={"accepted_by": who}))

    def _write(self, found: QuarantinedFile) -> None:
        path = layout.quarantine_record(found.clip_key, job_token(found.job_id))
        self.bucket.put(path, found.model_dump_json(indent=1).encode(), "application/json")


def job_token(job_id: str) -> str:
    """Return a job's id as a part of a key; an id with other characters is hashed."""
    if _PLAIN_ID.fullmatch(job_id):
        return job_id
    return hashlib.sha256(job_id.encode("utf-8", "replace")).hexdigest()[:32]


def _video(clip_key: str, job_id: str, sha256: str) -> str:
    return layout.quarantine_file(clip_key, job_token(job_id), sha256)


def _is_page(file: BinaryIO) -> bool:
    file.seek(0)
    start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    return start[:1] in (b"<", b"{")


def _rank(found: QuarantinedFile) -> tuple[bool, int]:
    return not found.is_page, found.bytes
