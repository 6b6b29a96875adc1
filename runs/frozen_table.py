"""Which frozen table a run is about: it is read once, however often the run is begun."""

from prefect.context import FlowRunContext
from prefect.input.actions import acreate_flow_run_input, aread_flow_run_input

from prefect_kling.studio.batch.frozen import FrozenTable

_KEY = "frozen-table"


async def remember_table(table: FrozenTable) -> None:
    """Write down which table this run is about, so that an approval or a retry is about the same.

    The table at the run's address may be overwritten while somebody thinks about its price.
    """
    if FlowRunContext.get() is not None:
        await acreate_flow_run_input(_KEY, table.id)


async def remembered_table() -> FrozenTable | None:
    """Return the table that this run has begun with; None at its first beginning."""
    if FlowRunContext.get() is None:
        return None
    table_id = await aread_flow_run_input(_KEY)
    if table_id is None:
        return None
    return FrozenTable.parse(str(table_id))
