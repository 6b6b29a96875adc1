"""Batches that were sent and left: which are open, and which are complete by now."""

from collections.abc import Iterator

from prefect_kling.studio.batch.frozen import FrozenTable, plan_frozen
from prefect_kling.studio.batch.results import BatchResult, merge_results
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket


def leave_open(table: FrozenTable, bucket: Bucket) -> None:
    """Write down that a batch is sent, and to be completed by a sweep. Free, safe to repeat."""
    bucket.put(layout.open_batch(table.id), b"", "text/plain")


def open_batches(bucket: Bucket) -> Iterator[FrozenTable]:
    """Yield the batches that were sent and are not complete."""
    for path in bucket.names(layout.OPEN_BATCHES):
        yield FrozenTable.parse(path.removeprefix(layout.OPEN_BATCHES))


def complete_batches(archive: Archive) -> Iterator[BatchResult]:
    """Write the results of every batch whose last clip has landed, and yield them.

    Free, blocking, safe to repeat and to run twice at once. A clip has landed when its record is
    closed: archived, failed for good, given up. One that is held waits for a person, and so does
    its batch.
    """
    tables = list(open_batches(archive.bucket))
    if not tables:
        return
    under_way = {marker.clip_key for marker in archive.ledger.open_markers()}
    under_way |= {marker.clip_key for marker in archive.ledger.held_markers()}
    for table in tables:
        plan = plan_frozen(table, archive.bucket)
        if under_way.isdisjoint(plan.quotes):
            result = merge_results(table, archive)
            archive.bucket.delete(layout.open_batch(table.id))
            yield result
