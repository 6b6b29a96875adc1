"""Many clips at once: made and waited for, or sent and left."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.flows.form_fields import Account, ArchiveBlock, Limits, RowsWithMistakes, Table
from prefect_kling.runs.authorization import authorize_batch, cap_of_batch
from prefect_kling.runs.batch_chunks import heartbeat, spread
from prefect_kling.runs.batch_work import merge_and_log, work_on_rows
from prefect_kling.runs.failures import fails_in_words, fails_without_traceback
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_table
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.batch.completion import note_sending, note_sent
from prefect_kling.studio.batch.frozen import BatchPlan, FrozenRow, FrozenTable, plan_frozen
from prefect_kling.studio.batch.results import BatchResult, BatchRow
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.tasks import prepare_batch, submit_video
from prefect_kling.telemetry.batch_page import BatchPage


@flow(
    flow_run_name=named_after_table("batch {table}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("batch")
async def generate_batch(
    requests: Table,
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
    wrong_rows: RowsWithMistakes = "refuse",
    workers: Annotated[int, Field(ge=1, le=100, json_schema_extra={"title": "Runs at a time"})] = 1,
) -> BatchResult:
    """Make the clips of a table, and keep a table of results beside a copy of it in S3.

    **Costs the sum of the clips that are not archived yet**, equal requests once. A clip that fails
    stops no other. Run again it makes and pays only what is missing. Programs may hand over a list
    of `VideoRequest`.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so
            on, or where one is: a link, or a path in the archive such as tables/mugs.csv. Columns
            of your own, such as id, are in the results.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips, tables and the ledger. Empty means the block
            named default.
        spending: How much the batch may cost, and above what price a person is asked.
        wrong_rows: What to do with a table some of whose rows have mistakes: refuse it, or skip
            them and say so in the results.
        workers: How many runs of the deployment batch-chunk make the rows at a time. With 1, this
            run makes them itself, up to some thousand at once.
    """
    plan = await prepare_batch(requests, archive, wrong_rows)
    await authorize_batch(plan, credentials, archive, spending)
    page = BatchPage(plan)
    if workers == 1:
        await _make_rows(plan, credentials, archive, spending, page)
    else:
        await spread(plan, credentials, archive, spending, workers, page)
    result = await merge_and_log(plan, archive.get_archive())
    await page.show_result(result, archive)
    return result


@flow(
    name="batch-chunk",
    flow_run_name="{table}, rows {first} to {last}",
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_without_traceback
async def make_batch_chunk(
    table: Annotated[str, Field(json_schema_extra={"title": "Frozen table"})],
    first: Annotated[int, Field(json_schema_extra={"title": "First row"})],
    last: Annotated[int, Field(json_schema_extra={"title": "Last row"})],
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
) -> None:
    """Make some rows of a frozen table; `batch` starts such runs and merges their results.

    **Costs the sum of the clips that are not archived yet.** Nobody is asked: that was done for the
    whole table. Safe to repeat, and to run twice at once.

    Args:
        table: The id of a frozen table.
        first: The first row, counted from 1.
        last: The last row.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for the table, the clips and the ledger. Empty means the
            block named default.
        spending: How much the whole batch may cost.
    """
    bucket = archive.get_archive().bucket
    plan = await in_thread(plan_frozen, FrozenTable.parse(table), bucket, first, last)
    async with heartbeat(plan, bucket):
        await _make_rows(plan, credentials, archive, spending, BatchPage(plan))


async def _make_rows(
    plan: BatchPlan,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending,
    page: BatchPage,
) -> None:
    resources = RunResources(credentials, archive)
    options = spending.options(cap_of_batch(plan, spending))

    async def make(order: ClipOrder, row: FrozenRow, label: str) -> BatchRow:
        clip = await make_clip(order, resources, options.with_tags(row.tags), label)
        return BatchRow.of_clip(row.number, clip)

    await work_on_rows(plan, make, archive.get_archive(), page)


@flow(
    flow_run_name=named_after_table("send batch {table}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("batch")
async def submit_batch(
    requests: Table,
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
    wrong_rows: RowsWithMistakes = "refuse",
) -> BatchResult:
    """Send the clips of a table and end without waiting; the receiver or a sweep archives them.

    **Costs the sum of the clips that were never sent**, equal requests once. Sending the same batch
    again sends what is missing. `advance_films` or `collect_finished` completes the table of
    results when the last clip has landed, and tells it as an event. Programs may hand over a list
    of `VideoRequest`.

    Args:
        requests: A table with a clip in each line and a header of prompt, duration, sound and so
            on, or where one is: a link, or a path in the archive such as tables/mugs.csv. Columns
            of your own, such as id, are in the results.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips, tables and the ledger. Empty means the block
            named default.
        spending: How much the batch may cost, and above what price a person is asked.
        wrong_rows: What to do with a table some of whose rows have mistakes: refuse it, or skip
            them and say so in the results.
    """
    plan = await prepare_batch(requests, archive, wrong_rows)
    await authorize_batch(plan, credentials, archive, spending)
    options = spending.options(cap_of_batch(plan, spending))
    clips = archive.get_archive()
    # Before anything is sent: a run that dies while it sends leaves a batch that is completed.
    await in_thread(note_sending, plan.table, clips.bucket)

    async def send(order: ClipOrder, row: FrozenRow, label: str) -> BatchRow:
        archived = await in_thread(clips.find, order.clip_key)
        if archived is not None:
            return BatchRow.of_clip(row.number, archived)
        own = options.with_tags(row.tags)
        entry = await submit_video(order, credentials, archive, label, own)
        return BatchRow.of_entry(row.number, entry)

    page = BatchPage(plan)
    await work_on_rows(plan, send, clips, page)
    await in_thread(note_sent, plan.table, clips.bucket)
    result = await merge_and_log(plan, clips)
    await page.show_result(result, archive)
    return result
