"""A person's approval of what a run will cost.

A run that waits for approval is suspended: it has no process and holds no worker meanwhile. Its
state says what is asked, a page shows it, and an event calls whoever is to answer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.input import RunInput, keyset_from_paused_state
from prefect.input.actions import aread_flow_run_input
from prefect.runtime import deployment, flow_run
from prefect.states import Suspended
from prefect.utilities.engine import propose_state
from pydantic import Field, create_model

from prefect_kling.runs.spending import Spending, Usd
from prefect_kling.studio.errors import NotApproved
from prefect_kling.telemetry.events import announce_approval, run_link
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown, log_view_errors, page, write_page

_HOW = Markdown(
    "Press *Resume* on the page of the run (in the newer UI it is in the menu at the upper right), "
    "decide, and send the form."
)


@dataclass(frozen=True)
class Offer:
    """What somebody is asked to approve."""

    at_most_usd: Decimal
    """The most that the run may pay, in US dollars."""
    page: Markdown
    """What it is paid for; the form shows it."""
    name: str
    """A name for the page: small letters, digits and dashes."""
    with_pictures: Callable[[], Awaitable[Markdown]] | None = None
    """Makes the same page with the pictures that clips begin with or refer to."""


class Approval(RunInput):
    """The form that a person fills in."""

    decision: Literal["approve", "refuse"] = Field(
        title="Your decision", description="Refused, the run ends and nothing is paid."
    )
    up_to_usd: Usd = Field(title="Up to US$", description="More than this is not paid by this run.")
    comment: str = Field(default="", title="Comment", description="Kept in the log.")


async def require_approval(offer: Offer, spending: Spending) -> None:
    """Have a person approve an offer that is above the limit; return at once if it is not.

    The first time, this suspends the run and its process ends. When the form has been filled in,
    Prefect starts the run again from its beginning and it comes here with the answer. A retry uses
    the answer of the attempt before. Raises `NotApproved` when the answer is no, when it allows
    less than the offer, or where nobody can be asked.
    """
    limit = spending.approve_above_usd
    if limit is None:
        return

    form = _form(offer.page, offer.at_most_usd)
    # A refusal counts even if the price has fallen below the limit meanwhile.
    answer = await _earlier_answer(form)
    if answer is None:
        if offer.at_most_usd <= limit:
            return
        answer = await _suspend_for_answer(form, offer, spending)

    described = f"{answer.decision}, up to ${answer.up_to_usd}"
    if answer.comment:
        described += f": {answer.comment}"
    run_logger().info("the answer is: %s", described)
    if answer.decision == "refuse" or answer.up_to_usd < offer.at_most_usd:
        raise NotApproved(
            f"${offer.at_most_usd} may be paid, and the answer was {described}."
            " To be asked again, start a new run"
        )


async def _suspend_for_answer(form: type[Approval], offer: Offer, spending: Spending) -> Approval:
    """Suspend the run until somebody has answered."""
    reason = (
        f"${offer.at_most_usd} may be paid,"
        f" above ${spending.approve_above_usd} somebody must approve"
    )
    if deployment.id is None:
        raise NotApproved(
            f"{reason}, and only a run of a deployment can wait;"
            " deploy the flow, or raise approve_above_usd"
        )
    if flow_run.parent_flow_run_id is not None:
        raise NotApproved(f"{reason}, and a flow inside another cannot wait; ask in the outer one")

    run_id = UUID(flow_run.id)
    until = datetime.now(UTC) + timedelta(hours=spending.approve_within_hours)
    await _show(offer, reason, run_id, until)
    told = (
        f"{reason}: see the quote under Artifacts, and press Resume, until"
        f" {until:%Y-%m-%d %H:%M} UTC"
    )
    run_logger().warning("%s %s", told, run_link(run_id))
    return await _suspend(form, told, run_id, until, offer, spending)


async def _show(offer: Offer, reason: str, run_id: UUID, until: datetime) -> None:
    """Write the page of the offer, with what to do about it at its head."""
    lines = [
        Markdown("## Your approval is wanted"),
        Markdown(),
        Markdown("{}. The run waits and holds no worker.").format(reason),
        Markdown(),
        Markdown("{} Until **{}**; without an answer it fails, and nothing is paid.").format(
            _HOW, f"{until:%Y-%m-%d %H:%M} UTC"
        ),
        Markdown(),
    ]
    link = run_link(run_id)
    if link:
        # The address of Prefect's own UI, as its settings say.
        lines += [Markdown(f"[The run]({link})"), Markdown()]
    content = offer.page
    with log_view_errors():
        if offer.with_pictures is not None:
            content = await offer.with_pictures()
        await write_page(f"{offer.name}-quote", page([*lines, content]), "waits for approval")


async def _suspend(
    form: type[Approval],
    told: str,
    run_id: UUID,
    until: datetime,
    offer: Offer,
    spending: Spending,
) -> Approval:
    """Suspend the run as `suspend_flow_run` does, with a message in its state.

    Prefect's own function takes none: people would see that a run is suspended, and not why.
    """
    suspended: State[Any] = Suspended(
        pause_expiration_time=until, pause_key=_pause_key(flow_run.run_count), message=told
    )
    keys = keyset_from_paused_state(suspended)
    suspended.state_details.run_input_keyset = {str(name): key for name, key in keys.items()}
    async with get_client() as client:
        state = await propose_state(client, suspended, flow_run_id=run_id)
    if state.is_running():
        # It was suspended with this key before, and has been answered.
        return await form.aload(keys)
    await form.asave(keys)
    limit = spending.approve_above_usd or Decimal(0)
    announce_approval(run_id, str(flow_run.name), offer.at_most_usd, limit, until)
    raise Pause(state=state)


def _form(description: str, at_most_usd: Decimal) -> type[Approval]:
    """Return the form with the sum filled in.

    `RunInput.with_initial_data` would lose the title and the description of the field.
    """
    declared = Approval.model_fields["up_to_usd"]
    up_to_usd = Field(
        float(at_most_usd),
        validate_default=True,
        title=declared.title,
        description=declared.description,
    )
    form = create_model("Approval", __base__=Approval, up_to_usd=(Usd, up_to_usd))
    form._description = description  # noqa: SLF001  where Prefect's own with_initial_data puts it
    return form


async def _earlier_answer(form: type[Approval]) -> Approval | None:
    """Return the answer that this run was given by this attempt or the last one before it."""
    for run_count in range(flow_run.run_count or 0, 0, -1):
        answer = await aread_flow_run_input(f"suspended-{_pause_key(run_count)}-response")
        if answer is not None:
            return form.model_validate(answer)
    return None


def _pause_key(run_count: int) -> str:
    """Return a name for the pause: Prefect refuses a second one of the same name in a run."""
    return f"approval-{run_count}"
