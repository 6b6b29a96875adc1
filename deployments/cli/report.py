"""`prefect-kling report`: what the clips of an archive have cost."""

import asyncio
import csv
import sys
from datetime import date
from typing import Annotated

from cyclopts import Parameter

from prefect_kling.blocks import KlingArchive
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.terminal import (
    LIST_WIDTH,
    AsJson,
    Column,
    Styled,
    errors,
    print_json,
    print_list,
    say,
)
from prefect_kling.studio.batch.results import cell
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.money.report import COUNTS, SUMS, Period, Report, parse_dimensions


def report(
    *,
    by: str = "month,film",
    since: date | None = None,
    until: date | None = None,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: AsJson = False,
    archive: str = "default",
) -> None:
    """Show what was paid, for whom: by project, client, film, month, model and so on.

    Free but for the store's traffic: it reads the record of every clip. Amounts are in
    US dollars.

    Args:
        by: What to group by, with commas between: project, client, film, month, day, model, mode,
            clip, and tag.NAME for a tag of your own.
        since: The first day whose requests count, such as 2026-11-01, in UTC.
        until: The last day whose requests count.
        as_csv: Print CSV for spreadsheets.
        as_json: Print JSON, with exact amounts as texts.
        archive: Name of the KlingArchive block.
    """
    period = Period(since, until)
    dimensions = parse_dimensions(by)
    block = asyncio.run(load_block(KlingArchive, archive))
    made = report_archive(block.get_archive(), dimensions, period)
    for tag in made.unused_tags:
        say(Styled("note ", "yellow"), f"no record has a tag {tag}", to=errors)
    if as_csv:
        _print_csv(made)
    elif as_json:
        _print_json(made)
    else:
        _print_table(made)


def _print_csv(made: Report) -> None:
    """Print the groups as a table that spreadsheets open; the sum of all is theirs to make."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(cell(name) for name in (*made.by, *COUNTS, *SUMS))
    for row in made.rows:
        values = row.money.written()
        rows.writerow(cell(value) for value in (*row.group, *values.values()))


def _print_json(made: Report) -> None:
    rows = [dict(zip(made.by, row.group, strict=True)) | row.money.written() for row in made.rows]
    written = {"by": list(made.by), "rows": rows, "total": made.total.written()}
    print_json(written)


def _print_table(made: Report) -> None:
    columns = [Column(name) for name in made.by]
    for name in made.columns:
        heading = name.removesuffix("_usd")
        columns.append(Column(heading, is_whole=True, is_right=True))
    together = ["all", *[""] * (len(made.by) - 1), *made.total.in_words(made.columns)]
    rows: list[list[str | Styled]] = [
        [*row.group, *row.money.in_words(made.columns)] for row in made.rows
    ]
    rows.append([Styled(text, "bold") for text in together])
    # Amounts are never cut, however narrow the terminal is.
    print_list(columns, rows, LIST_WIDTH)
