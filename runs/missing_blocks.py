"""A hook for runs that fail before their flow begins: missing blocks, and parameters in error.

Prefect says only that a run could not resolve some references, and the flow never comes to tell it.
"""

from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from prefect_kling.kling.server_words import words
from prefect_kling.telemetry.events import announce_failed
from prefect_kling.telemetry.failure_page import failure_page
from prefect_kling.telemetry.markdown import escape, log_view_errors
from prefect_kling.telemetry.progress import RunTally

_REFERENCES = "block references"
_PARAMETERS = "Validation of flow parameters failed"


async def name_missing_blocks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell which blocks of a failed run do not exist, and how to create them; or what is wrong.

    The `on_failure` hook of all flows: a line of the log for each block, a page and an event. It
    does nothing if the flow had begun, which then has told it itself.
    """
    message = state.message or ""
    told = []
    if _REFERENCES in message:
        told = await _missing(flow_run)
        for line in told:
            flow_run_logger(flow_run, flow).error(line)
    elif _PARAMETERS in message:
        # Prefect's first line names its own classes; a value in error follows in each other one.
        lines = message.splitlines()
        wrong = [line.strip(" -") for line in lines[1:] or lines]
        told = ["the values of the form do not fit", *wrong]
    if not told:
        return

    kind = getattr(flow.fn, "kling_kind", "clip")
    announce_failed(kind, flow_run.id, flow_run.name, words("; ".join(told), 1000))
    with log_view_errors():
        await _write_page(flow_run, kind, told)


async def _missing(flow_run: FlowRun) -> list[str]:
    told = []
    for parameter, value in flow_run.parameters.items():
        if not isinstance(value, dict) or "$ref" not in value:
            continue
        try:
            await Block.aload_from_ref(value["$ref"])
        except (ValueError, RuntimeError) as error:
            told.append(
                f"{parameter}: {error}; pick another one in the form, or create it:"
                " `prefect-kling setup`, or Blocks in the Prefect UI"
            )
    return told


async def _write_page(flow_run: FlowRun, kind: str, told: list[str]) -> None:
    # `write_page` writes for the run that goes on; this one has ended.
    content = failure_page(kind, "\n".join(told), RunTally())
    artifact = ArtifactCreate(
        key="why-it-failed",
        type="markdown",
        data=str(content),
        description=escape(words(told[0], 200)),
        flow_run_id=flow_run.id,
    )
    async with get_client() as client:
        await client.create_artifact(artifact)
