"""A person decides before much is spent: the run is suspended, and holds no worker meanwhile."""

from collections.abc import Awaitable
from decimal import Decimal
from typing import Literal, cast

from prefect.artifacts import acreate_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, aread_flow_run_input
from prefect.runtime import deployment, flow_run
from pydantic import Field, create_model

from prefect_kling.runs.spending import Spending, Usd
from prefect_kling.studio.errors import NotApproved
from prefect_kling.studio.film.quote import FilmQuote
from prefect_kling.telemetry.film_page import quote_page
from prefect_kling.telemetry.logs import run_logger


class Approval(RunInput):
    """The form a person fills in."""

    decision: Literal["approve", "refuse"] = Field(
        title="Your decision", description="Refused, the run ends and nothing is paid."
    )
    up_to_usd: Usd = Field(title="Up to US$", description="More than this is not paid by this run.")
    comment: str = Field(default="", title="Comment", description="Kept in the log.")


async def ask(quote: FilmQuote, spending: Spending) -> None:
    """Have a person approve the quote if it is above the limit; return at once if it is not.

    The first time, this suspends the run: its process ends. Resumed with the form filled in, the run begins anew and
    comes here again, now with the answer; a retry takes the answer of the try before. Raises `NotApproved` for a no, or
    where nobody could be asked.
    """
    limit, asked = spending.approve_above_usd, quote.at_most_usd
    if limit is None:
        return
    form = _form(quote_page(quote), asked)
    # A no counts even if the price has fallen below the limit meanwhile.
    answer = await _earlier_answer(form)
    if answer is None and asked <= limit:
        return
    answer = answer or await _answer(form, quote, spending)
    told = f"{answer.decision}, up to ${answer.up_to_usd}{f': {answer.comment}' if answer.comment else ''}"
    run_logger().info("the answer is: %s", told)
    if answer.decision == "refuse" or answer.up_to_usd < asked:
        raise NotApproved(
            f"${asked} may be paid, and the answer was {told}. To be asked again, start a new run"
        )


async def _answer(form: type[Approval], quote: FilmQuote, spending: Spending) -> Approval:
    """Suspend the run until somebody has answered."""
    why = f"${quote.at_most_usd} may be paid, above ${spending.approve_above_usd} somebody must approve"
    if deployment.id is None:
        raise NotApproved(
            f"{why}, and only a run of a deployment can wait; deploy the flow, or raise approve_above_usd"
        )
    if flow_run.parent_flow_run_id is not None:
        raise NotApproved(f"{why}, and a flow inside another cannot wait; ask in the outer one")
    page = quote_page(quote)
    await acreate_markdown_artifact(
        key=f"{quote.plan.slug}-quote", markdown=page, description="waits for approval"
    )
    seconds = round(spending.approve_within_hours * 3600)
    # Prefect keeps the answer under the name of the pause and refuses a second pause of that name in the same run.
    waiting = suspend_flow_run(wait_for_input=form, timeout=seconds, key=_key(flow_run.run_count))
    return await cast("Awaitable[Approval]", waiting)


def _form(description: str, at_most_usd: Decimal) -> type[Approval]:
    """Return the form with the sum filled in; `with_initial_data` would lose what the field says about itself."""
    said = Approval.model_fields["up_to_usd"]
    sum_of_run = Field(
        float(at_most_usd), validate_default=True, title=said.title, description=said.description
    )
    filled = create_model("Approval", __base__=Approval, up_to_usd=(Usd, sum_of_run))
    filled._description = description  # noqa: SLF001  where Prefect's own with_initial_data puts it
    return filled


async def _earlier_answer(form: type[Approval]) -> Approval | None:
    """Return what this run was answered before, if it was: by this try or one before it."""
    for count in range(flow_run.run_count or 0, 0, -1):
        said = await aread_flow_run_input(f"suspended-{_key(count)}-response")
        if said is not None:
            return form.model_validate(said)
    return None


def _key(run_count: int) -> str:
    return f"approval-{run_count}"
