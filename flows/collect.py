"""Whatever was paid and left behind: archived, closed or told, in one pass. Run it on a schedule."""

from typing import Annotated

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from pydantic import Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.reconcile import Findings, SweepSettings, sweep
from prefect_kling.studio.money.submission import sender_window
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.telemetry.events import announce_alarm, announce_ended
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import only_a_view, table

ALARMS = ("held", "expiring", "gone", "trouble")


@flow(persist_result=False, on_failure=[name_missing_blocks])
async def collect_finished(
    credentials: KlingCredentials,
    archive: KlingArchive,
    at_once: Annotated[int, Field(ge=1, le=256)] = 32,
) -> Findings:
    """Look once at every clip that is paid and not finished, whoever started it and however its run ended.

    Finished videos are archived, failed jobs closed and refunded, abandoned intents held, stray markers and
    reservations repaired; what is held, gone, or about to expire is told as an artifact and as events. Free, and safe
    beside anything else.

    Args:
        credentials: Access to the Kling API.
        archive: The archive whose ledger is swept.
        at_once: How many clips to look at in parallel.
    """
    async with credentials.get_client() as client:
        window_seconds = sender_window(client.settings)
        settings = SweepSettings(at_once=at_once, window_seconds=window_seconds)
        findings = await sweep(archive.get_archive(), client, settings, announce_ended)
    log = run_logger()
    for kind, count in sorted(findings.counts.items()):
        log.log(30 if kind in ALARMS else 20, "%s: %d", kind, count)
    with only_a_view():
        await acreate_markdown_artifact(
            key="collected", markdown=tell(findings), description="what a sweep found"
        )
    await _alarm(findings, archive.get_archive())
    return findings


def tell(findings: Findings) -> str:
    """Put findings into words: the counts, then every clip that wants somebody's attention."""
    if not findings.counts:
        return "Nothing was open."
    lines = [
        *table(
            ("clips", "what"),
            [[str(count), kind] for kind, count in sorted(findings.counts.items())],
        )
    ]
    for kind in ALARMS:
        some = findings.named.get(kind, {})
        lines += (
            ["", f"## {kind}", *(f"- `{key}` {words}" for key, words in some.items())]
            if some
            else []
        )
    return "\n".join(lines)


async def _alarm(findings: Findings, archive: Archive) -> None:
    for kind in ("held", "expiring", "gone"):
        for key, words in findings.named.get(kind, {}).items():
            page = await in_thread(archive.ledger.read, key)
            if page is not None:
                announce_alarm(
                    kind, page.entry.order, words, page.entry.at_most_usd, page.entry.job_id
                )
