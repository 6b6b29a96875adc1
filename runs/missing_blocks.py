"""Say which block is missing when a run cannot begin without it; Prefect says only that one is."""

from typing import Any

from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger


async def name_missing_blocks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write into a failed run's log which of its blocks are not there, and how to make them. A hook of all flows."""
    if "block references" not in (state.message or ""):
        return
    for name, value in flow_run.parameters.items():
        if not isinstance(value, dict) or "$ref" not in value:
            continue
        try:
            await Block.aload_from_ref(value["$ref"])
        except (ValueError, RuntimeError) as error:
            cure = "pick another one in the form, or make it: `prefect-kling setup`, or Blocks in the Prefect UI"
            flow_run_logger(flow_run, flow).error("%s: %s; %s", name, error, cure)
