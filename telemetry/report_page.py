"""The page of a report: what was paid, for whom."""

from prefect_kling.studio.money.report import Report
from prefect_kling.telemetry.markdown import Markdown, page, table

_MOST_ROWS = 200


def report_page(report: Report) -> Markdown:
    """Return a report as a page, with the groups that cost most where there are many."""
    total = report.total
    summary = Markdown(
        "**${} are paid for {} clips; ${} are set aside for what is under way, ${} for what is "
        "held.**"
    )
    lines = [
        summary.format(total.paid_usd, total.clips, total.reserved_usd, total.held_usd),
        Markdown(),
        Markdown("- by the price table: ${}; named by the API's own records: ${}").format(
            total.estimated_usd, total.charged_usd
        ),
        Markdown("- paid, and no clip came of it: ${}; clips that no film shows: ${}").format(
            total.wasted_usd, total.unused_usd
        ),
        Markdown(),
    ]
    rows = list(report.rows)
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=lambda row: row.money.paid_usd, reverse=True)[:_MOST_ROWS]
    cells = [[*row.group, *row.money.in_words(report.columns)] for row in rows]
    names = [name.removesuffix("_usd") for name in report.columns]
    lines += table((*report.by, *names), cells)
    if len(rows) < len(report.rows):
        told = Markdown("and {} more, which cost less: `prefect-kling report` prints all.")
        lines += [Markdown(), told.format(len(report.rows) - len(rows))]
    return page(lines)
