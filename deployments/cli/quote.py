"""`prefect-kling quote`: of a storyboard, or of a table."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import Parameter
from prefect.settings import PREFECT_API_URL

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.cli.batch import is_table, plan_table, text_of_table
from prefect_kling.deployments.cli.documents import Quoted
from prefect_kling.deployments.cli.quote_table import show_batch_quote, show_quote
from prefect_kling.deployments.cli.terminal import AsJson, print_json
from prefect_kling.kling.client import API_URL
from prefect_kling.studio.batch.quote import quote_batch
from prefect_kling.studio.film.planner import plan_story
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.film.reading.reader import load_story
from prefect_kling.studio.film.reading.version_table import VersionTable, read_versions
from prefect_kling.studio.film.takes import read_story_picks
from prefect_kling.studio.film.versions import Story
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import InputAccess


def quote(
    storyboard: Path,
    *,
    version: Annotated[Sequence[str], Parameter(negative="")] = (),
    table: Path | None = None,
    archive: str | None = None,
    credentials: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what is to be paid for the shots of a storyboard, or for the rows of a table.

    Says what each costs and whether it exists already. Free, needs no key.

    Args:
        storyboard: A YAML or JSON file; or a table: CSV, TSV, JSON Lines, or a list.
        version: The versions of the storyboard to quote, by name; all unless given.
        table: A table with a version in each row, in place of versions in the storyboard.
        archive: Name of the KlingArchive block to look clips up in; `default` if a Prefect
            server is configured.
        credentials: Name of the KlingCredentials block that says where the API is, and so which
            inputs it can reach; `default` if there is one, else the API's own address counts.
        as_json: Print JSON.
    """
    if is_table(storyboard):
        clips, note = asyncio.run(_archive_to_ask(archive))
        plan = plan_table(storyboard, None)
        ledger = None
        if clips is not None:
            ledger = clips.ledger
        batch = quote_batch(plan, ledger)
        if as_json:
            print_json(Quoted.of_batch(batch))
        else:
            show_batch_quote(batch, note)
        return
    story = load_story(storyboard, rows_of(table)).chosen(version)
    found, note = asyncio.run(_quote(story, archive, credentials))
    if as_json:
        print_json(Quoted.of_film(found))
    else:
        show_quote(found, note)


def rows_of(table: Path | None) -> VersionTable | None:
    """Return the versions of a table. Raises `TableInvalid`."""
    if table is None:
        return None
    return read_versions(text_of_table(table), str(table))


async def _quote(
    story: Story, archive: str | None, credentials: str | None
) -> tuple[FilmQuote, str]:
    access = await _input_access(credentials)
    clips, note = await _archive_to_ask(archive)
    picks = {}
    if clips is not None:
        picks = read_story_picks(story, clips)
    plan = plan_story(story, picks).together
    return await quote_film(plan, clips, access=access), note


async def _archive_to_ask(name: str | None) -> tuple[Archive | None, str]:
    """Return the archive of this name, or the default one if any, and what to say of it."""
    if name is None and not PREFECT_API_URL.value():
        told = (
            "No archive was asked what exists already: PREFECT_API_URL is not set, and no block "
            "is named with --archive."
        )
        return None, told
    try:
        block = await load_block(KlingArchive, name or "default")
    except (BlockMissing, httpx.ConnectError) as error:
        if name is not None:
            raise
        reason = str(error).splitlines()[0]
        return None, f"No archive could be asked ({reason})."
    found = block.get_archive()
    return found, f"Looked up in {found.bucket.uri('')}."


async def _input_access(credentials: str | None) -> InputAccess:
    """Return where the API is by the named block, or by the default one where there is one."""
    if credentials is None and not PREFECT_API_URL.value():
        return InputAccess(API_URL)
    try:
        block = await load_block(KlingCredentials, credentials or "default")
    except (BlockMissing, httpx.ConnectError):
        if credentials is not None:
            raise
        return InputAccess(API_URL)
    return block.input_access
