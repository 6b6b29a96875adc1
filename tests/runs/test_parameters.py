"""Values without results are handed to tasks without being looked through; results keep lines."""

import pytest
from prefect import flow, task
from prefect.context import TaskRunContext
from pydantic import BaseModel

from prefect_kling.runs.parameters import as_it_is


class Model(BaseModel):
    """Something with fields."""

    text: str = "a"


@task
async def give() -> Model:
    """Return a result."""
    return Model()


@task
async def take(result: Model, block: Model) -> tuple[Model, set[str]]:
    """Return the block as it came, and the parameters by which this run hangs on others."""
    context = TaskRunContext.get()
    assert context is not None
    inputs = context.task_run.task_inputs
    return block, {name for name, sources in inputs.items() if sources}


@pytest.mark.usefixtures("prefect_ui")
async def test_a_value_arrives_itself_and_results_are_still_tracked() -> None:
    """Prefect draws a line from the task that gave the result, and hands the block on untouched."""
    block = Model()

    @flow
    async def run() -> tuple[Model, set[str]]:
        return await take(await give(), as_it_is(block))

    arrived, hangs_on = await run()
    assert arrived is block
    assert hangs_on == {"result"}
