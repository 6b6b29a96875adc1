"""Before a film is paid for: a quote, the budgets, and a person's approval.

A run that waits for approval is suspended: it has no process and holds no worker meanwhile.
"""

from collections.abc import Awaitable
from decimal import Decimal
from typing import Literal, cast

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, aread_flow_run_input
from prefect.runtime import deployment, flow_run
from pydantic import Field, create_model

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.spending import Spending, Usd
from prefect_kling.studio.errors import NotApproved
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.quote import FilmQuote, Standing, quote_film
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import require_reachable
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.film_page import quote_page
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import write_page


async def authorize_film(
    plan: FilmPlan, credentials: KlingCredentials, archive: KlingArchive, spending: Spending
) -> FilmQuote:
    """Return the quote of a film that can be made, within its budgets and, if need be, approved.

    Free. A film that cannot be finished is not begun. Raises `InputUnreachable` when the API cannot
    fetch an input or a hand-over, what `KlingClient.upload` raises when these are to be uploaded
    and the API does not take uploads, and `OverBudget`. Raises `NotApproved` when a person refuses,
    or where nobody can be asked; see `require_approval`.
    """
    log = run_logger()
    clips = archive.get_archive()
    access = credentials.input_access
    quote = await quote_film(plan, clips, resubmit=spending.resubmits, access=access)
    log.info(
        "%s: %d clips (%d archived, %d under way), at most $%s to pay",
        plan.title,
        len(plan.by_key),
        quote.count(Standing.ARCHIVED),
        quote.count(Standing.UNDER_WAY),
        quote.at_most_usd,
    )
    for note in plan.notes:
        log.warning(note)
    await _tell_of_earlier_spending(plan, clips)
    callback = await in_thread(lambda: credentials.unreachable_callback)
    if callback is not None:
        log.warning("the API cannot call %s: ends of jobs are found by polling only", callback)

    require_reachable(list(quote.unreachable))
    if credentials.uploads is not None and quote.needs_archive_inputs:
        await in_thread(credentials.uploads.prove)
    await in_thread(clips.budget.check, quote.at_most_usd, spending.cap_of(plan))
    await require_approval(quote, spending)
    return quote


async def _tell_of_earlier_spending(plan: FilmPlan, archive: Archive) -> None:
    """Log what earlier versions booked for this title, which other titles may have shared."""
    if not plan.earlier_slug:
        return
    accounts = await in_thread(archive.budget.accounts)
    if accounts is None:
        return
    earlier_usd = accounts.committed(plan.earlier_slug)
    if earlier_usd:
        run_logger().warning(
            "earlier versions called this film %s, as they may have called others; the $%s that "
            "they booked for it count in full",
            plan.earlier_slug,
            earlier_usd,
        )


class Approval(RunInput):
    """The form that a person fills in."""

    decision: Literal["approve", "refuse"] = Field(
        title="Your decision", description="Refused, the run ends and nothing is paid."
    )
    up_to_usd: Usd = Field(title="Up to US$", description="More than this is not paid by this run.")
    comment: str = Field(default="", title="Comment", description="Kept in the log.")


async def require_approval(quote: FilmQuote, spending: Spending) -> None:
    """Have a person approve a quote that is above the limit; return at once if it is not.

    The first time, this suspends the run and its process ends. When the form has been filled in,
    Prefect starts the run again from its beginning and it comes here with the answer. A retry uses
    the answer of the attempt before. Raises `NotApproved` when the answer is no, when it allows
    less than the quote, or where nobody can be asked.
    """
    limit = spending.approve_above_usd
    if limit is None:
        return

    form = _form(quote_page(quote), quote.at_most_usd)
    # A refusal counts even if the price has fallen below the limit meanwhile.
    answer = await _earlier_answer(form)
    if answer is None:
        if quote.at_most_usd <= limit:
            return
        answer = await _suspend_for_answer(form, quote, spending)

    described = f"{answer.decision}, up to ${answer.up_to_usd}"
    if answer.comment:
        described += f": {answer.comment}"
    run_logger().info("the answer is: %s", described)
    if answer.decision == "refuse" or answer.up_to_usd < quote.at_most_usd:
        raise NotApproved(
            f"${quote.at_most_usd} may be paid, and the answer was {described}."
            " To be asked again, start a new run"
        )


async def _suspend_for_answer(
    form: type[Approval], quote: FilmQuote, spending: Spending
) -> Approval:
    """Suspend the run until somebody has answered."""
    reason = (
        f"${quote.at_most_usd} may be paid,"
        f" above ${spending.approve_above_usd} somebody must approve"
    )
    if deployment.id is None:
        raise NotApproved(
            f"{reason}, and only a run of a deployment can wait;"
            " deploy the flow, or raise approve_above_usd"
        )
    if flow_run.parent_flow_run_id is not None:
        raise NotApproved(f"{reason}, and a flow inside another cannot wait; ask in the outer one")

    await write_page(f"{quote.plan.slug}-quote", quote_page(quote), "waits for approval")
    answer = suspend_flow_run(
        wait_for_input=form,
        timeout=round(spending.approve_within_hours * 3600),
        key=_pause_key(flow_run.run_count),
    )
    return await cast("Awaitable[Approval]", answer)


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
