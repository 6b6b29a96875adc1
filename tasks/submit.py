"""Spend money, once."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.studio.ledger import Entry
from prefect_kling.studio.orders import ClipOrder
from prefect_kling.studio.submission import submit_once
from prefect_kling.tasks.logs import run_logger


# No retries and no cache: a retry would repeat a paid request whose answer was lost, and Prefect's cache calls an
# unreadable store a miss and pays again. The ledger alone decides whether anything is sent.
@task(task_run_name="submit {label}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def submit_video(
    order: ClipOrder, credentials: KlingCredentials, archive: KlingArchive, label: str = "clip"
) -> Entry:
    """Return the ledger's record of the order's one paid job; send the request only if nobody has.

    **Costs money at most once per clip key**, whoever runs it, however often. Raises `ClipHeld` when the outcome of a
    send is unknown, `JobFailed` when the job failed for good, and the client's refusals, after which nothing was paid.
    """
    log = run_logger()
    for dispute in order.request.disputes():
        log.warning("%s: %s", label, dispute)
    async with credentials.get_client() as client:
        entry = await submit_once(
            order, client, archive.get_archive(), say=lambda text: log.info("%s: %s", label, text)
        )
    log.info("%s: job %s, clip %s, at most $%s", label, entry.job_id, entry.clip_key, entry.at_most_usd)
    return entry
