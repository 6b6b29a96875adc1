"""Spend money, once."""

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.addresses import host_of
from prefect_kling.studio.errors import ClipHeld, StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.preflight import require_sendable
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.events import announce_alarm, announce_budget
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown, escape, write_page


# No retries and no cache: a retry would repeat a paid request whose answer was lost, and Prefect's
# cache calls an unreadable store a miss and pays again. The ledger alone decides whether anything
# is sent.
@task(task_run_name="submit {label}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def submit_video(
    order: ClipOrder,
    credentials: KlingCredentials,
    archive: KlingArchive,
    label: str = "clip",
    terms: SubmitOptions = SubmitOptions(),
) -> Entry:
    """Return the ledger's record of the order's one paid job; send the request only if nobody has.

    **Costs money at most once per clip key**, whoever runs it, however often. Raises
    `InputUnreachable`, `InputUnusable` and `OverBudget` before anything is sent, `ClipHeld` when
    the outcome of a send is unknown (also told as an event and an artifact), `JobFailed` when the
    job failed for good, and the client's refusals, after which nothing was paid.
    """
    log = run_logger()
    host = host_of(credentials.base_url)
    credentials.require_meant()
    studio = archive.get_archive()
    studio.uploads = credentials.uploads
    await in_thread(require_sendable, order, studio, credentials.input_access)
    callback = order.request.callback_url
    if callback is not None and not await in_thread(credentials.input_access.reaches, callback):
        log.warning("%s: the API cannot call %s when the job ends", label, host_of(callback))
    for dispute in order.request.disputes():
        log.warning("%s: %s", label, dispute)
    try:
        async with credentials.get_client() as client:
            terms = replace(
                terms,
                callback=credentials.callback,
                retry_pause=2 * credentials.poll_policy.confirm_seconds,
            )
            entry = await submit_once(
                order,
                client,
                studio,
                terms,
                lambda text: log.info("%s: %s (API %s)", label, text, host),
            )
    except ClipHeld as error:
        await _tell_of_held(error, order, studio)
        raise
    log.info(
        "%s: job %s of %s, clip %s, at most $%s",
        label,
        entry.job_id,
        host,
        entry.clip_key,
        entry.at_most_usd,
    )
    await _tell_of_budget(entry, studio, terms.film)
    return entry


async def _tell_of_budget(entry: Entry, archive: Archive, film: FilmCap | None) -> None:
    """Tell when a cap is nearly reached. The clip is paid: trouble here stops nothing."""
    cap_usd = archive.budget.cap_usd
    film_usd = None
    if film is not None:
        film_usd = film.usd
    if not cap_usd and not film_usd:
        return
    try:
        accounts = await in_thread(archive.budget.accounts)
    except StudioError as error:
        run_logger().warning("the budget could not be looked at: %s", error)
        return
    if accounts is None:
        return
    if cap_usd:
        announce_budget("archive", cap_usd, accounts.committed(), entry.at_most_usd)
    if film is not None and film_usd:
        announce_budget(film.film, film_usd, accounts.committed_to(film), entry.at_most_usd)


async def _tell_of_held(error: ClipHeld, order: ClipOrder, archive: Archive) -> None:
    """Tell that a clip is held: an event for automations, an artifact for people.

    Trouble on the way never takes the error's place: it may be all that knows the id of a paid job.
    """
    entry = await _held_entry(order, archive)
    if entry is None:
        announce_alarm("held", order, error.summary, job_id=error.job_id)
        return
    note = entry.history[-1].note
    announce_alarm("held", order, note, entry.at_most_usd, error.job_id, entry)
    try:
        content = Markdown(explain(entry, escape))
        await write_page(f"held-{entry.clip_key}", content, "a clip that may be paid for is held")
    except Exception as trouble:  # whatever Prefect's API raises
        run_logger().warning("the artifact about a held clip could not be written: %s", trouble)


async def _held_entry(order: ClipOrder, archive: Archive) -> Entry | None:
    """Return the record of a held clip.

    None if it cannot be read, or says otherwise for its id was not written.
    """
    try:
        version = await in_thread(archive.ledger.read, order.clip_key)
    except StudioError as trouble:
        run_logger().warning("the record of a held clip could not be read: %s", trouble)
        return None
    return version.entry if version is not None and version.entry.state is EntryState.HELD else None
