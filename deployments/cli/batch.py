"""`prefect-kling batch`, and the tables that `quote` reads, too."""

import asyncio
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks
from prefect_kling.deployments.cli.documents import BatchMade
from prefect_kling.deployments.cli.exit_codes import ExitCode
from prefect_kling.deployments.cli.links import say_links
from prefect_kling.deployments.cli.live_table import BatchCounter
from prefect_kling.deployments.cli.paid import RAISE_LIMIT, require_yes, told_paid
from prefect_kling.deployments.cli.quote_table import show_batch_quote
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import AsJson, Styled, facts, print_json, say
from prefect_kling.flows import generate_batch, submit_batch
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.batch.frozen import BatchPlan, freeze, table_name
from prefect_kling.studio.batch.quote import quote_batch
from prefect_kling.studio.batch.results import BatchResult, BatchRow, RowState
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.reading.plain_text import decoded
from prefect_kling.studio.film.reading.table import read_rows
from prefect_kling.studio.money.archive import Archive
from prefect_kling.tasks import WrongRows
from prefect_kling.telemetry.progress import subscribe

_TROUBLE = (RowState.FAILED, RowState.HELD)
_MOST_TROUBLES = 20
_TABLES = (".csv", ".tsv", ".jsonl")
_STORYBOARDS_TOO = (".yaml", ".yml", ".json", ".txt")


def batch(
    table: Path,
    *,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    budget_usd: Decimal | None = None,
    approve_above_usd: Decimal | None = None,
    skip_wrong: bool = False,
    leave: bool = False,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    to: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Make the clips of a table, and keep a table of results in the archive.

    Costs money for every clip that is not archived yet; see `quote`. The exit code is 1 if
    a clip has failed, 3 if one is held, and 4 if one is still under way.

    Args:
        table: A CSV, TSV, JSON, JSON Lines or YAML file.
        blocks: The blocks to use.
        budget_usd: The most the batch may cost in US dollars, earlier runs included.
        approve_above_usd: Ask before sending anything when more than this is to be paid.
        skip_wrong: Leave rows with mistakes out instead of refusing the table.
        leave: Send the clips and do not wait; the receiver or a sweep archives them.
        tag: Who pays, as in `--tag project=spring`; may be said several times.
        to: A file on this machine that gets a copy of the table of results, as CSV.
        as_json: Print JSON.
    """
    archive = asyncio.run(load_block(KlingArchive, blocks.archive))
    clips = archive.get_archive()
    result, paid_usd = run(
        _make_batch(
            table,
            blocks,
            Spending.model_validate({"budget_usd": budget_usd, "tags": tag or []}),
            approve_above_usd,
            facts(as_json=as_json),
            skip_wrong=skip_wrong,
            leave=leave,
        )
    )
    if to is not None:
        with to.open("w+b") as file:
            clips.bucket.fetch(clips.bucket.path_of(result.csv_uri), file)
    rows = (row for row in result.read_rows(clips) if row.state in _TROUBLE)
    troubles = list(islice(rows, _MOST_TROUBLES))
    if as_json:
        print_json(BatchMade.of(result, paid_usd, troubles))
    else:
        _show(result, troubles)
        say_links([("open", result.csv_uri)], archive)
        if to is not None:
            say(f"  {to}")
        if paid_usd is not None:
            say(told_paid(paid_usd))
    return _exit_code(result, is_left=leave)


def _exit_code(result: BatchResult, *, is_left: bool) -> ExitCode:
    if result.count(RowState.FAILED):
        return ExitCode.FAILED
    if result.count(RowState.HELD):
        return ExitCode.HELD
    if result.count(RowState.UNDER_WAY) and not is_left:
        return ExitCode.NOT_FINISHED
    return ExitCode.DONE


def _show(result: BatchResult, troubles: list[BatchRow]) -> None:
    """Print how many rows are in which state, the first rows in trouble, and the addresses."""
    say()
    say(Styled(str(result.table), "bold"), f": {len(result)} rows, worth ${result.usd}")
    for state, count in result.counts.items():
        say(f"  {count} {state.value}")
    if result.suspects:
        say(f"  {result.suspects} of those archived look wrong: see the column kling_suspect")
    for row in troubles:
        name = row.given.get("id", "")
        say(Styled(f"  row {row.number} {row.state.value} ", "red"), f"{name}: {row.trouble}")
    say(f"  {result.csv_uri}")
    say(f"  {result.results_uri}")


async def _make_batch(
    table: Path,
    blocks: Blocks,
    spending: Spending,
    approve_above_usd: Decimal | None,
    to: Console,
    *,
    skip_wrong: bool,
    leave: bool,
) -> tuple[BatchResult, Decimal | None]:
    """Return the result, and what this run has paid where that is known at its end."""
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    clips = archive.get_archive()
    plan = plan_table(table, clips, skip_wrong=skip_wrong)
    if approve_above_usd is not None:
        quote = quote_batch(plan, clips.ledger)
        if quote.at_most_usd > approve_above_usd:
            show_batch_quote(quote, "", to)
            require_yes("Make it?", RAISE_LIMIT, to)
    wrong_rows: WrongRows = "refuse"
    if skip_wrong:
        wrong_rows = "skip"
    if leave:
        sent = await submit_batch(plan.table.id, credentials, archive, spending, wrong_rows)
        return sent, None
    counter = BatchCounter(to, plan.table.name, len(plan.quotes))
    with counter.on_screen(), subscribe(counter.show):
        made = await generate_batch(plan.table.id, credentials, archive, spending, wrong_rows)
    return made, counter.paid_usd


def is_table(path: Path) -> bool:
    """Whether a file holds a table of requests, and no storyboard."""
    if path.suffix.lower() in _TABLES:
        return True
    if path.suffix.lower() not in _STORYBOARDS_TOO:
        return False
    with path.open("rb") as file:
        beginning = file.read(4096)
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"-")


def plan_table(path: Path, archive: Archive | None, *, skip_wrong: bool = False) -> BatchPlan:
    """Return the plan of a table on disk, frozen in the archive if there is one.

    Free. Raises `TableInvalid`.
    """
    text = text_of_table(path)
    bucket = None
    if archive is not None:
        bucket = archive.bucket
    rows = read_rows(text, path.name)
    return freeze(rows, table_name(path.name), bucket, skip_wrong=skip_wrong)


def text_of_table(path: Path) -> str:
    """Return the text of a table on disk. Raises `TableInvalid` for one that is no UTF-8."""
    try:
        return decoded(path.read_bytes())
    except UnicodeDecodeError:
        raise TableInvalid(f"{path} is no UTF-8 text; save it as UTF-8") from None
