"""Which frozen table a run is about: it is read once, however often the run is begun."""

import hashlib
from collections.abc import Sequence

from prefect.context import FlowRunContext
from prefect.input.actions import acreate_flow_run_input, aread_flow_run_input

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.batch.frozen import FrozenTable


async def remember_table(given: str | Sequence[VideoRequest], table: FrozenTable) -> None:
    """Write down what a table, or its address, was for this run.

    An approval or a retry is about the same then: the table at an address may be overwritten while
    somebody thinks about its price.
    """
    if FlowRunContext.get() is not None:
        await acreate_flow_run_input(_key(given), table.id)


async def remembered_table(given: str | Sequence[VideoRequest]) -> FrozenTable | None:
    """Return the table that this run has begun with; None at its first beginning."""
    if FlowRunContext.get() is None:
        return None
    table_id = await aread_flow_run_input(_key(given))
    if table_id is None:
        return None
    return FrozenTable.parse(str(table_id))


def _key(given: str | Sequence[VideoRequest]) -> str:
    text = given
    if not isinstance(text, str):
        text = "\n".join(request.model_dump_json() for request in text)
    return f"frozen-table-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"
