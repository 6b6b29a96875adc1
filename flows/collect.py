"""Whatever was paid and left behind: archived, closed or told, in one pass. Run it on a schedule."""

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import given_or_default
from prefect_kling.studio.archive import Archive
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.sweep import Findings, SweepSettings, sweep
from prefect_kling.tasks.events import announce_alarm, announce_ended
from prefect_kling.tasks.logs import run_logger
from prefect_kling.tasks.submit import GRACE_SECONDS

ALARMS = ("held", "expiring", "gone", "trouble")


@flow(persist_result=False)
async def collect_finished(
    credentials: KlingCredentials | None = None, archive: KlingArchive | None = None, at_once: int = 32
) -> Findings:
    """Look once at every clip that is paid and not finished, whoever started it and however its run ended.

    Finished videos are archived, failed jobs closed and refunded, abandoned intents held, stray markers and
    reservations repaired; what is held, gone, or about to expire is told as an artifact and as events. Free, and safe
    beside anything else.

    Args:
        credentials: Access to the Kling API; the block named default unless given.
        archive: The archive whose ledger is swept; the block named default unless given.
        at_once: How many clips to look at in parallel.
    """
    access = await given_or_default(KlingCredentials, credentials)
    store = await given_or_default(KlingArchive, archive)
    settings = SweepSettings(at_once=at_once, window_seconds=access.create_seconds + GRACE_SECONDS)
    async with access.get_client() as client:
        findings = await sweep(store.get_archive(), client, settings, announce_ended)
    log = run_logger()
    for kind, count in sorted(findings.counts.items()):
        log.log(30 if kind in ALARMS else 20, "%s: %d", kind, count)
    await acreate_markdown_artifact(key="collected", markdown=tell(findings), description="what a sweep found")
    await _alarm(findings, store.get_archive())
    return findings


def tell(findings: Findings) -> str:
    """Put findings into words: the counts, then every clip that wants somebody's attention."""
    if not findings.counts:
        return "Nothing was open."
    lines = ["| clips | what |", "|---:|---|"]
    lines += [f"| {count} | {kind} |" for kind, count in sorted(findings.counts.items())]
    for kind in ALARMS:
        some = findings.named.get(kind, {})
        lines += ["", f"## {kind}", *(f"- `{key}` {words}" for key, words in some.items())] if some else []
    return "\n".join(lines)


async def _alarm(findings: Findings, archive: Archive) -> None:
    for kind in ("held", "expiring", "gone"):
        for key, words in findings.named.get(kind, {}).items():
            page = await in_thread(archive.ledger.read, key)
            if page is not None:
                announce_alarm(kind, page.entry.order, words, page.entry.at_most_usd, page.entry.job_id)
