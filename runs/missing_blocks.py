"""A hook that names missing blocks; Prefect says only that a run could not resolve some."""

from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger


async def name_missing_blocks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write into a failed run's log which of its blocks do not exist, and how to create them.

    The `on_failure` hook of all flows. It does nothing if the run failed for another reason.
    """
    if "block references" not in (state.message or ""):
        return

    for parameter, value in flow_run.parameters.items():
        if not isinstance(value, dict) or "$ref" not in value:
            continue
        try:
            await Block.aload_from_ref(value["$ref"])
        except (ValueError, RuntimeError) as error:
            flow_run_logger(flow_run, flow).error(
                "%s: %s; pick another one in the form, or create it:"
                " `prefect-kling setup`, or Blocks in the Prefect UI",
                parameter,
                error,
            )
