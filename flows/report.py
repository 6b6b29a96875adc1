"""What an archive has cost, as a page: for a schedule, and for whoever pays."""

from datetime import date

from prefect import flow

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.money.report import Period, Report, parse_dimensions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import log_view_errors, write_page
from prefect_kling.telemetry.report_page import report_page


@flow(persist_result=False, on_failure=[name_missing_blocks])
async def report_spending(
    archive: KlingArchive,
    by: str = "month,film",
    since: date | None = None,
    until: date | None = None,
) -> Report:
    """Sum up what the clips of an archive have cost, and show it as a page of the run.

    Free, and safe beside anything else: it reads records, clips and films, and changes nothing.
    Raises `WrongReport` for something that there is nothing to report by, and `LedgerUnreadable`
    rather than leave out what cannot be read.

    Args:
        archive: The archive whose records are summed up.
        by: What to group by, with commas between: project, client, film, month, day, model, mode,
            clip, and tag.NAME for a tag of your own.
        since: The first day whose requests count, in UTC; left empty, all count.
        until: The last day whose requests count.
    """
    period = Period(since, until)
    dimensions = parse_dimensions(by)
    made = await in_thread(report_archive, archive.get_archive(), dimensions, period)
    run_logger().info("%s", made)
    for tag in made.unused_tags:
        run_logger().warning("no record has a tag %s", tag)
    with log_view_errors():
        await write_page("spending", report_page(made), f"what was paid, by {', '.join(made.by)}")
    return made
