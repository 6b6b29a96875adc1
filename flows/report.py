"""What an archive has cost, as a page: for a schedule, and for whoever pays."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_kling.flows.form_fields import ArchiveBlock, Day
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.money.report import Period, Report, parse_dimensions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import log_view_errors, write_page
from prefect_kling.telemetry.report_page import report_page


@flow(flow_run_name=named("report by {by}"), persist_result=False, on_failure=[name_missing_blocks])
@fails_in_words("report")
async def report_spending(
    archive: ArchiveBlock,
    by: Annotated[str, Field(json_schema_extra={"title": "Group by"})] = "month,film",
    since: Annotated[Day, Field(json_schema_extra={"title": "First day"})] = "",
    until: Annotated[Day, Field(json_schema_extra={"title": "Last day"})] = "",
) -> Report:
    """Sum up what the clips of an archive have cost, and show it as a page of the run.

    Free, and safe beside anything else: it reads records, clips and films, and changes nothing.
    Raises `WrongReport` for something that there is nothing to report by, and `LedgerUnreadable`
    rather than leave out what cannot be read.

    Args:
        archive: The block of the archive that is summed up. Empty means the block named default.
        by: What to group by, with commas between: project, client, film, month, day, model, mode,
            clip, and tag.NAME for a tag of your own.
        since: The first day whose requests count, in UTC; left empty, all count.
        until: The last day whose requests count.
    """
    period = Period(since or None, until or None)
    dimensions = parse_dimensions(by)
    made = await in_thread(report_archive, archive.get_archive(), dimensions, period)
    run_logger().info("%s", made)
    for tag in made.unused_tags:
        run_logger().warning("no record has a tag %s", tag)
    with log_view_errors():
        await write_page("spending", report_page(made), f"what was paid, by {', '.join(made.by)}")
    return made
