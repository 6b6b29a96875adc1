"""A person's approval of what a run will cost.

A run that waits for approval is suspended: it has no process and holds no worker meanwhile. Its
state says what is asked, a page shows it, and an event calls whoever is to answer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field, create_model

from prefect_kling.kling.prices import in_dollars
from prefect_kling.runs.question import (
    earlier_answers,
    suspend_until_answered,
    why_nobody_can_be_asked,
)
from prefect_kling.runs.spending import Spending, Usd
from prefect_kling.studio.errors import NotApproved
from prefect_kling.telemetry.events import announce_approval, run_link
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown, log_view_errors, page, write_page

_HOW = Markdown(
    "Press *Resume* on the page of the run (in the newer UI it is in the menu at the upper right), "
    "decide, and send the form."
)

_KIND = "approval"


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

    form = _form(offer.at_most_usd)
    # A refusal counts even if the price has fallen below the limit meanwhile.
    given = await earlier_answers(_KIND)
    if given:
        answer = form.model_validate(given[0])
    elif offer.at_most_usd <= limit:
        return
    else:
        answer = await _suspend_for_answer(form, offer, spending)

    described = f"{answer.decision}, up to ${in_dollars(answer.up_to_usd)}"
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
    limit = spending.approve_above_usd or Decimal(0)
    reason = f"${offer.at_most_usd} may be paid, above ${in_dollars(limit)} somebody must approve"
    obstacle = why_nobody_can_be_asked()
    if obstacle:
        raise NotApproved(f"{reason}, and {obstacle}, or raise approve_above_usd")

    run_id = UUID(flow_run.id)
    until = datetime.now(UTC) + timedelta(hours=spending.approve_within_hours)
    await _show(offer, reason, run_id, until)
    told = (
        f"{reason}: see the quote under Artifacts, and press Resume, until"
        f" {until:%Y-%m-%d %H:%M} UTC"
    )
    run_logger().warning("%s %s", told, run_link(run_id))
    try:
        return await suspend_until_answered(_KIND, form, offer.page, told, until)
    except Pause:
        announce_approval(run_id, str(flow_run.name), offer.at_most_usd, limit, until)
        raise


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


def _form(at_most_usd: Decimal) -> type[Approval]:
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
    return create_model("Approval", __base__=Approval, up_to_usd=(Usd, up_to_usd))
