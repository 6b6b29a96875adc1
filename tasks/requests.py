"""Read many requests from a table, and freeze it."""

import warnings
from typing import Annotated, Literal

from prefect import task
from pydantic import WithJsonSchema

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.failures import fails_without_traceback, result_of
from prefect_kling.runs.frozen_table import remember_table, remembered_table
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.batch.frozen import (
    BatchPlan,
    FrozenTable,
    freeze,
    is_table_id,
    plan_frozen,
    rows_of_requests,
    table_name,
)
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.reading.remote_sources import fetch_table, is_address, redacted
from prefect_kling.studio.film.reading.table import read_requests, read_rows
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger

# Forms show one field for a text; programs that call a flow may pass the requests themselves.
RequestsInput = Annotated[
    list[VideoRequest] | str, WithJsonSchema({"type": "string", "minLength": 1})
]
"""Requests as data, as the text of a table or list, as the address of such a text, or as the id of
a table that was frozen before."""

WrongRows = Literal["refuse", "skip"]
"""What to do with a table some of whose rows have mistakes."""

MOST_PASTED_BYTES = 400_000
"""Of a table that is pasted. Prefect Cloud takes 512 kB of parameters, as JSON."""


async def prepare_batch(
    given: RequestsInput, archive: KlingArchive, wrong_rows: WrongRows = "refuse"
) -> BatchPlan:
    """Freeze a table and return its plan; there is a task run only for one that must be fetched.

    A run that is begun again, after an approval or as a retry, goes on with the table it froze.

    Free, safe to repeat. Raises `TableInvalid` with line, field and rule of every mistake, unless
    `wrong_rows` is `skip`: then such rows are left out. A table that is broken in structure is
    always refused.
    """
    bucket = archive.get_archive().bucket
    skip_wrong = wrong_rows == "skip"
    frozen = await remembered_table(given)
    if frozen is not None:
        run_logger().info("this run goes on with the table %s", frozen)
        return await in_thread(plan_frozen, frozen, bucket)

    if not isinstance(given, str):
        rows = rows_of_requests(given)
        plan = await in_thread(freeze, rows, "requests", bucket)
    elif is_table_id(given):
        plan = await in_thread(plan_frozen, FrozenTable.parse(given), bucket)
        if plan.wrong and not skip_wrong:
            raise TableInvalid(
                f"{plan.wrong} rows of the table {plan.table} have mistakes, and wrong rows are "
                "to be refused"
            )
    elif is_address(given):
        fetched = await _fetch(given, archive, redacted(given), skip_wrong=skip_wrong)
        plan = await result_of(fetched)
    else:
        _require_short(given)
        rows = read_rows(given)
        plan = await in_thread(freeze, rows, "table", bucket, skip_wrong=skip_wrong)
    await remember_table(given, plan.table)
    return plan


async def prepare_requests(given: RequestsInput, archive: KlingArchive) -> list[VideoRequest]:
    """Return the requests of a table, without takes and the user's own columns.

    What versions before 0.3 read tables with. Free, safe to repeat. Raises `TableInvalid`.
    """
    warnings.warn(
        "prepare_requests forgets takes and columns; use prepare_batch",
        DeprecationWarning,
        stacklevel=2,
    )
    if not isinstance(given, str):
        return given
    if is_address(given):
        text = await in_thread(fetch_table, given, archive.get_archive())
        return await in_thread(read_requests, text, redacted(given))
    return await in_thread(read_requests, given)


def _require_short(text: str) -> None:
    length = len(text.encode("utf-8", "replace"))
    if length > MOST_PASTED_BYTES:
        raise TableInvalid(
            f"the pasted table has {length:,} bytes, the most is {MOST_PASTED_BYTES:,}; put it "
            "into the archive's bucket and give its address, such as tables/mugs.csv"
        )


@task(task_run_name="read {label}", **IDEMPOTENT_TASK)
@fails_without_traceback
async def _fetch(address: str, archive: KlingArchive, label: str, *, skip_wrong: bool) -> BatchPlan:
    clips = archive.get_archive()
    text = await in_thread(fetch_table, address, clips)
    rows = read_rows(text, label)
    plan = await in_thread(freeze, rows, table_name(label), clips.bucket, skip_wrong=skip_wrong)
    run_logger().info("%d rows from %s", plan.rows, label)
    return plan
