"""Batches that were sent and left: which are open, and which are complete by now."""

import logging
from collections.abc import Iterator

from prefect_kling.studio.batch.frozen import FrozenTable, read_frozen
from prefect_kling.studio.batch.results import BatchResult, merge_results
from prefect_kling.studio.errors import LedgerUnreadable, WrongTable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

LOG = logging.getLogger(__name__)
LONGEST_SENDING_SECONDS = 6 * 3600.0
"""A batch whose run has not ended after so long is completed all the same: the run has died."""
_SENDING = b"sending"
_SENT = b"sent"


def note_sending(table: FrozenTable, bucket: Bucket) -> None:
    """Write down, before anything is sent, that a batch is to be completed later.

    Free, safe to repeat.
    """
    bucket.put(layout.open_batch(table.id), _SENDING, "text/plain")


def note_sent(table: FrozenTable, bucket: Bucket) -> None:
    """Write down that every row was sent or refused. Free, safe to repeat."""
    bucket.put(layout.open_batch(table.id), _SENT, "text/plain")


def open_batches(bucket: Bucket) -> Iterator[FrozenTable]:
    """Yield the batches that were sent and are not complete."""
    for path in bucket.names(layout.OPEN_BATCHES):
        try:
            yield FrozenTable.parse(path.removeprefix(layout.OPEN_BATCHES))
        except WrongTable as error:
            LOG.warning("%s stands for no batch: %s", bucket.uri(path), error)


def complete_batches(
    archive: Archive, longest_sending_seconds: float = LONGEST_SENDING_SECONDS
) -> Iterator[BatchResult]:
    """Write the results of every batch whose last clip has landed, and yield them.

    Free, blocking, safe to repeat and to run twice at once. A clip has landed when its record is
    closed: archived, failed for good, given up. One that is held waits for a person, and so does
    its batch.
    """
    bucket = archive.bucket
    tables = [
        table
        for table in open_batches(bucket)
        if not _is_being_sent(table, bucket, longest_sending_seconds)
    ]
    if not tables:
        return
    under_way = {marker.clip_key for marker in archive.ledger.open_markers()}
    under_way |= {marker.clip_key for marker in archive.ledger.held_markers()}
    for table in tables:
        try:
            if _has_any(table, bucket, under_way):
                continue
            result = merge_results(table, archive)
        except (LedgerUnreadable, WrongTable) as error:
            LOG.warning("the batch %s cannot be completed: %s", table, error)
            continue
        bucket.delete(layout.open_batch(table.id))
        yield result


def _is_being_sent(table: FrozenTable, bucket: Bucket, longest_seconds: float) -> bool:
    note = bucket.read(layout.open_batch(table.id))
    if note is None:
        # Somebody else has completed it just now.
        return True
    return note.body == _SENDING and note.age_seconds < longest_seconds


def _has_any(table: FrozenTable, bucket: Bucket, clip_keys: set[str]) -> bool:
    """Whether any clip of a table is among some. It ends at the first one that is."""
    if not clip_keys:
        return False
    for row in read_frozen(table, bucket):
        if row.order is not None and row.order.clip_key in clip_keys:
            return True
    return False
