"""A person decides before much is spent: the run is suspended, and holds no worker meanwhile."""

from collections.abc import Awaitable
from decimal import Decimal
from typing import Literal, cast

from prefect.artifacts import acreate_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, aread_flow_run_input
from prefect.runtime import deployment, flow_run
from pydantic import Field

from prefect_kling.flows.report import quote_page
from prefect_kling.flows.spending import Spending, Usd
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.film_quote import FilmQuote
from prefect_kling.tasks.logs import run_logger


class NotApproved(StudioError):
    """A person said no, or nobody could be asked; nothing was sent and nothing was paid."""

    next_step = "Nothing was sent and nothing was paid."


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
    comes here again, now with the answer; a retry of the run takes the answer of the try before. Raises `NotApproved`
    for a no, or where nobody could be asked.
    """
    limit, asked = spending.approve_above_usd, quote.at_most_usd
    if limit is None or asked <= limit:
        return
    if deployment.id is None:
        why = f"${asked} may be paid, above ${limit} somebody must approve, and only a run of a deployment can wait"
        raise NotApproved(f"{why}; deploy the flow, or raise approve_above_usd")
    answer = await _earlier_answer() or await _answer(quote, round(spending.approve_within_hours * 3600))
    told = f"{answer.decision}, up to ${answer.up_to_usd}{f': {answer.comment}' if answer.comment else ''}"
    run_logger().info("the answer is: %s", told)
    if answer.decision == "refuse" or answer.up_to_usd < asked:
        raise NotApproved(f"${asked} may be paid, and the answer was {told}")


async def _answer(quote: FilmQuote, seconds: int) -> Approval:
    page = quote_page(quote)
    await acreate_markdown_artifact(key=f"{quote.plan.slug}-quote", markdown=page, description="waits for approval")
    form = _form(page, quote.at_most_usd)
    try:
        waiting = suspend_flow_run(wait_for_input=form, timeout=seconds, key=_key(flow_run.run_count))
        return await cast("Awaitable[Approval]", waiting)
    except RuntimeError as error:
        what = "a flow inside another cannot wait for approval; ask in the outer one"
        raise NotApproved(what, words=str(error)) from None


def _form(description: str, at_most_usd: Decimal) -> type[Approval]:
    filled: type[Approval] = Approval.with_initial_data(description=description, up_to_usd=float(at_most_usd))
    return filled


async def _earlier_answer() -> Approval | None:
    """Return what was answered before this run was retried, if it was.

    Prefect keeps the answer under the name of the pause, and refuses a second pause of the same name.
    """
    for count in range(flow_run.run_count - 1, 0, -1):
        said = await aread_flow_run_input(f"suspended-{_key(count)}-response")
        if said is not None:
            return Approval.model_validate(said)
    return None


def _key(run_count: int) -> str:
    return f"approval-{run_count}"
