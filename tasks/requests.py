"""Read many requests from a table."""

from typing import Annotated

from prefect import task
from pydantic import WithJsonSchema

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.film.reading.remote_sources import fetch_table, is_address, redacted
from prefect_kling.studio.film.reading.table import read_requests
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger

# Forms show one field for a text; programs that call a flow may pass the requests themselves.
RequestsInput = Annotated[
    list[VideoRequest] | str, WithJsonSchema({"type": "string", "minLength": 1})
]
"""Requests as data, as the text of a table or list, or as the address of such a text."""


async def prepare_requests(given: RequestsInput, archive: KlingArchive) -> list[VideoRequest]:
    """Return the requests; there is a task run only for a text that must be fetched.

    Free, safe to repeat. Raises `TableInvalid` with line, field and rule of every mistake.
    """
    if not isinstance(given, str):
        return given
    if is_address(given):
        return await _fetch(given, archive, redacted(given))
    return await in_thread(read_requests, given)


@task(task_run_name="read {label}", **IDEMPOTENT_TASK)
async def _fetch(address: str, archive: KlingArchive, label: str) -> list[VideoRequest]:
    text = await in_thread(fetch_table, address, archive.get_archive())
    requests = await in_thread(read_requests, text, label)
    run_logger().info("%d requests from %s", len(requests), label)
    return requests
