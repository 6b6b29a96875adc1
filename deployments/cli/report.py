"""`prefect-kling report`: what the clips of an archive have cost."""

import asyncio
import csv
import json
import sys
from typing import Annotated

from cyclopts import Parameter

from prefect_kling.blocks import KlingArchive
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.terminal import Column, Styled, errors, print_table, say
from prefect_kling.studio.batch.results import cell
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.money.report import COUNTS, SUMS, Money, Report, parse_dimensions


def report(
    *,
    by: str = "month,film",
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    archive: str = "default",
) -> None:
    """Show what was paid, for whom: by project, client, film, month, model and so on.

    Free but for the store's traffic: it reads the record of every clip. Amounts are in
    US dollars.

    Args:
        by: What to group by, with commas between: project, client, film, month, day, model, mode,
            clip, and tag.NAME for a tag of your own.
        as_csv: Print CSV for spreadsheets.
        as_json: Print JSON, with exact amounts as texts.
        archive: Name of the KlingArchive block.
    """
    dimensions = parse_dimensions(by)
    block = asyncio.run(load_block(KlingArchive, archive))
    made = report_archive(block.get_archive(), dimensions)
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
    print(json.dumps(written, indent=1, ensure_ascii=False))


def _print_table(made: Report) -> None:
    headings = [name.removesuffix("_usd") for name in (*COUNTS, *SUMS)]
    amounts = [Column(heading, is_whole=True, is_right=True) for heading in headings]
    groups = [Column(name) for name in made.by]
    together = ["all", *[""] * (len(made.by) - 1), *_amounts(made.total)]
    rows: list[list[str | Styled]] = [[*row.group, *_amounts(row.money)] for row in made.rows]
    rows.append([Styled(text, "bold") for text in together])
    print_table([*groups, *amounts], rows)


def _amounts(money: Money) -> list[str]:
    """Return counts and sums for people. A sum of nothing is left empty."""
    shown = []
    for name, value in money.written().items():
        if name in COUNTS:
            shown.append(value)
        else:
            shown.append(f"${value}" if getattr(money, name) else "")
    return shown
