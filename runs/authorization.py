"""Before anything is paid: a quote, the budgets, and a person's approval."""

import asyncio
from decimal import Decimal
from itertools import islice

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.prices import quote as price_of
from prefect_kling.runs.approval import Offer, require_approval
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.batch.frozen import BatchPlan, FrozenRow, read_frozen
from prefect_kling.studio.batch.quote import BatchQuote, quote_batch
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.inputs import require_reachable
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.standing import Standing, standing_of
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.batch_page import batch_quote_page, clip_quote_page
from prefect_kling.telemetry.film_page import quote_page
from prefect_kling.telemetry.input_pictures import input_cells
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown

ROWS_SHOWN = 50
"""Rows of a table that are shown to whoever is to approve it."""


async def authorize_film(
    plan: FilmPlan,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending,
    retake_suspect: int = 0,
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
    quote = await quote_film(
        plan,
        clips,
        resubmit=spending.resubmits,
        access=access,
        retake_suspect=retake_suspect,
    )
    log.info(
        "%s: %d clips (%d archived, %d under way), at most $%s to pay",
        plan.title,
        len(plan.by_key),
        quote.count(Standing.ARCHIVED),
        quote.count(Standing.UNDER_WAY),
        quote.at_most_usd,
    )
    if quote.retakes_usd:
        log.info("of these, further takes of suspect clips: at most $%s", quote.retakes_usd)
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
    await require_approval(offer_of_film(quote, spending, archive), spending)
    return quote


def offer_of_film(
    quote: FilmQuote, spending: Spending = Spending(), archive: KlingArchive | None = None
) -> Offer:
    """Return what somebody is asked about a film; with the archive, its pictures can be shown."""
    requests = [clip.order.request for clip in quote.plan.clips]

    async def with_pictures() -> Markdown:
        if archive is None:
            return quote_page(quote)
        return quote_page(quote, await input_cells(requests, archive))

    at_most_usd = _worst_case(quote.at_most_usd, spending)
    return Offer(at_most_usd, quote_page(quote), quote.plan.slug, with_pictures)


def _worst_case(at_most_usd: Decimal, spending: Spending) -> Decimal:
    """Return what a run may cost: a clip that is sent again by choice may be paid each time."""
    if spending.resubmits:
        return at_most_usd * SubmitOptions().max_attempts
    return at_most_usd


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


def cap_of_batch(plan: BatchPlan, spending: Spending) -> FilmCap:
    """Return the cap of a batch. It is that of its table: another table has another one."""
    return FilmCap(f"batch {plan.table.id}", spending.budget_usd)


def cap_of_clip(order: ClipOrder, spending: Spending) -> FilmCap | None:
    """Return the cap of a single clip; None without a budget."""
    if spending.budget_usd is None:
        return None
    return FilmCap(f"clip {order.clip_key}", spending.budget_usd)


async def authorize_batch(
    plan: BatchPlan, credentials: KlingCredentials, archive: KlingArchive, spending: Spending
) -> BatchQuote:
    """Return the quote of a batch that is within its budgets and, if need be, approved.

    Free. Rows and prices are logged before anything is sent. Raises `OverBudget`, and `NotApproved`
    as `require_approval` does.
    """
    clips = archive.get_archive()
    quote = await in_thread(quote_batch, plan, clips.ledger, resubmit=spending.resubmits)
    _tell_price(quote)
    callback = await in_thread(lambda: credentials.unreachable_callback)
    if callback is not None:
        run_logger().warning(
            "the API cannot call %s: ends of jobs are found by polling only", callback
        )
    await in_thread(clips.budget.check, quote.at_most_usd, cap_of_batch(plan, spending))
    if spending.approve_above_usd is None:
        return quote
    worst_case = _worst_case(quote.at_most_usd, spending)
    rows = await in_thread(_first_rows, plan, clips)
    orders = [row.order for row in rows if row.order is not None]
    lookups = [in_thread(standing_of, each.clip_key, clips.ledger) for each in orders]
    standings = await asyncio.gather(*lookups)

    async def with_pictures() -> Markdown:
        cells = await input_cells([each.request for each in orders], archive)
        return batch_quote_page(quote, orders, standings, cells)

    offer = Offer(
        worst_case, batch_quote_page(quote, orders, standings), plan.table.name, with_pictures
    )
    await require_approval(offer, spending)
    return quote


def _first_rows(plan: BatchPlan, archive: Archive) -> list[FrozenRow]:
    return list(islice(read_frozen(plan.table, archive.bucket), ROWS_SHOWN))


def _tell_price(quote: BatchQuote) -> None:
    plan = quote.plan
    left_out = ""
    if plan.wrong:
        left_out = f" ({plan.wrong} with mistakes are left out)"
    run_logger().info(
        "%s: %d requests%s, %d different clips: %d archived, %d under way; to pay $%s, at most $%s",
        plan.table,
        plan.rows,
        left_out,
        quote.clips,
        quote.count(Standing.ARCHIVED),
        quote.count(Standing.UNDER_WAY) + quote.count(Standing.BEING_SENT),
        quote.usd,
        quote.at_most_usd,
    )


async def authorize_clip(order: ClipOrder, archive: KlingArchive, spending: Spending) -> None:
    """Return once a single clip is within its budgets and, if need be, approved.

    Free. Raises `OverBudget`, and `NotApproved` as `require_approval` does.
    """
    if spending.budget_usd is None and spending.approve_above_usd is None:
        return
    clips = archive.get_archive()
    standing = await in_thread(standing_of, order.clip_key, clips.ledger)
    is_sent_again = spending.resubmits and standing in (Standing.HELD, Standing.BEING_SENT)
    if standing is not Standing.TO_PAY and not is_sent_again:
        return
    price = price_of(order.request)
    await in_thread(clips.budget.check, price.at_most_usd, cap_of_clip(order, spending))
    worst_case = _worst_case(price.at_most_usd, spending)

    async def with_pictures() -> Markdown:
        (cell,) = await input_cells([order.request], archive)
        return clip_quote_page(order, price, cell)

    name = f"clip-{order.clip_key[:8]}"
    offer = Offer(worst_case, clip_quote_page(order, price), name, with_pictures)
    await require_approval(offer, spending)
