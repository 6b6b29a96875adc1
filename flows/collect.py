"""Paid jobs that no run waits for: archived, closed or reported. Run it on a schedule."""

import logging
from datetime import timedelta
from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_kling.flows.form_fields import Account, ArchiveBlock
from prefect_kling.runs.batch_work import complete_and_tell
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.overdue import AlarmAges
from prefect_kling.studio.money.reconcile import Findings, ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import sender_window
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.events import announce_alarm, announce_ended
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import (
    Markdown,
    code,
    log_view_errors,
    page,
    table,
    write_page,
)

# Kinds of findings that need a person's attention, and those of them that are announced as events.
ATTENTION = ("held", "expiring", "overdue", "quarantined", "gone", "trouble")
ALARMS = ("held", "expiring", "overdue", "quarantined", "gone")


@flow(flow_run_name=named("sweep {now}"), persist_result=False, on_failure=[name_missing_blocks])
@fails_in_words("sweep")
async def collect_finished(
    credentials: Account,
    archive: ArchiveBlock,
    at_once: Annotated[
        int, Field(ge=1, le=256, json_schema_extra={"title": "Clips at a time"})
    ] = 32,
    overdue_after_hours: Annotated[
        float, Field(gt=0, json_schema_extra={"title": "Overdue after (hours)"})
    ] = 24.0,
    expiring_after_hours: Annotated[
        float, Field(gt=0, json_schema_extra={"title": "About to expire after (hours)"})
    ] = 144.0,
) -> Findings:
    """Look once at every clip that is paid and not finished, whoever started it.

    Finished videos are archived, failed jobs closed and refunded, abandoned intents held, stray
    markers and reservations repaired. Batches that were sent and left are completed: their table of
    results is written, and an event tells it. Clips that are held, gone, quarantined, about to
    expire, or open for long are reported in an artifact and as events. Free, and safe beside
    anything else.

    Args:
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block of the archive that is swept. Empty means the block named default.
        at_once: How many clips to look at in parallel.
        overdue_after_hours: Report whatever is still open so long after it was sent.
        expiring_after_hours: Report what is still open so long after it was sent as about to be
            deleted; the API keeps results for 168 h.
    """
    async with credentials.get_client() as client:
        settings = ReconcileSettings(
            at_once=at_once,
            silence_otherwise=sender_window(client.settings),
            confirm_seconds=credentials.poll_policy.confirm_seconds,
            ages=AlarmAges(
                overdue=timedelta(hours=overdue_after_hours),
                expiring=timedelta(hours=expiring_after_hours),
            ),
        )
        findings = await reconcile(archive.get_archive(), client, settings, announce_ended)

    for kind, count in sorted(findings.counts.items()):
        level = logging.INFO
        if kind in ATTENTION:
            level = logging.WARNING
        run_logger().log(level, "%s: %d", kind, count)
    with log_view_errors():
        await write_page("collected", _findings_page(findings), "what a sweep found")
    await _announce_alarms(findings, archive.get_archive())
    await complete_and_tell(archive.get_archive())
    return findings


def _findings_page(findings: Findings) -> Markdown:
    """Return findings as Markdown: the counts, then every clip that needs attention."""
    if not findings.counts:
        return Markdown("Nothing was open.")

    rows = [[str(count), kind] for kind, count in sorted(findings.counts.items())]
    lines = table(("clips", "what"), rows)
    for kind in ATTENTION:
        clips = findings.named.get(kind, {})
        if clips:
            lines += [Markdown(), Markdown("## {}").format(kind)]
            line = Markdown("- {} {}")
            lines += [line.format(code(clip_key), detail) for clip_key, detail in clips.items()]
    return page(lines)


async def _announce_alarms(findings: Findings, archive: Archive) -> None:
    for kind in ALARMS:
        for clip_key, detail in findings.named.get(kind, {}).items():
            version = await in_thread(archive.ledger.read, clip_key)
            if version is not None:
                entry = version.entry
                announce_alarm(kind, entry.order, detail, entry.at_most_usd, entry.job_id, entry)
