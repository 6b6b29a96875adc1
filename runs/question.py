"""A question to a person: the run is suspended until its form is filled in.

A suspended run has no process and holds no worker. Once it is answered, Prefect starts it again
from its beginning, and it finds the answer among those of its earlier attempts.
"""

from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.input import RunInput, aread_flow_run_input, keyset_from_paused_state
from prefect.runtime import deployment, flow_run
from prefect.states import Suspended
from prefect.utilities.engine import propose_state

from prefect_kling.telemetry.markdown import Markdown

Form = TypeVar("Form", bound=RunInput)


def why_nobody_can_be_asked() -> str:
    """Return why this run cannot wait for an answer, and what helps; empty where it can."""
    if deployment.id is None:
        return "only a run of a deployment can wait; deploy the flow"
    if flow_run.parent_flow_run_id is not None:
        return "a flow inside another cannot wait; ask in the outer one"
    return ""


async def earlier_answers(kind: str) -> list[dict[str, Any]]:
    """Return what was answered to this run, the newest first; earlier attempts count, too."""
    answers: list[dict[str, Any]] = []
    for run_count in range(1, (flow_run.run_count or 0) + 1):
        answers[:0] = await _answers(kind, run_count)
    return answers


async def _answers(kind: str, run_count: int) -> list[dict[str, Any]]:
    """Return the answers to one attempt, the newest first."""
    answers: list[dict[str, Any]] = []
    while True:
        key = _pause_key(kind, run_count, len(answers) + 1)
        answer = await aread_flow_run_input(f"suspended-{key}-response")
        if answer is None:
            return answers
        answers.insert(0, cast("dict[str, Any]", answer))


async def suspend_until_answered(
    kind: str, form: type[Form], description: Markdown, told: str, until: datetime
) -> Form:
    """Suspend the run as `suspend_flow_run` does, with a message in its state.

    Prefect's own function takes none: people would see that a run is suspended, and not why. The
    process of the run ends; not answered until then, it fails. `kind`, in small letters, tells
    questions of a run apart. The description stands above the form.

    Raises Prefect's `Pause` once the run is suspended, which a flow must let pass.
    """
    # A run that goes on after an answer is the same attempt: Prefect does not count it.
    run_count = flow_run.run_count
    key = _pause_key(kind, run_count, len(await _answers(kind, run_count)) + 1)
    form._description = description  # noqa: SLF001  where Prefect's own with_initial_data puts it
    suspended: State[Any] = Suspended(pause_expiration_time=until, pause_key=key, message=told)
    keys = keyset_from_paused_state(suspended)
    suspended.state_details.run_input_keyset = {str(name): key for name, key in keys.items()}
    async with get_client() as client:
        state = await propose_state(client, suspended, flow_run_id=UUID(flow_run.id))
    if state.is_running():
        # It was suspended with this key before, and has been answered.
        return await form.aload(keys)
    await form.asave(keys)
    raise Pause(state=state)


def _pause_key(kind: str, run_count: int, number: int) -> str:
    """Return a name for the pause: Prefect refuses a second one of the same name in a run."""
    if number == 1:
        return f"{kind}-{run_count}"
    return f"{kind}-{run_count}-{number}"
