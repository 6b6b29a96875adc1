"""Read a storyboard, and put the files it names where the API can fetch them."""

from typing import Annotated

from prefect import task
from pydantic import WithJsonSchema

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.failures import fails_without_traceback, result_of
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.reader import read_story
from prefect_kling.studio.film.reading.remote_sources import (
    fetch_story,
    fetch_table,
    is_address,
    redacted,
)
from prefect_kling.studio.film.reading.version_table import VersionTable, read_versions
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.uploads import has_files, upload_files
from prefect_kling.studio.film.versions import Story, require_single, story_of
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger

# Forms show one field for a text; programs that call a flow may pass the document itself.
StoryboardInput = Annotated[Storyboard | str, WithJsonSchema({"type": "string", "minLength": 1})]
"""A storyboard as data, as YAML or JSON text, or as the address of such a text."""
StoryInput = Annotated[Story | Storyboard | str, WithJsonSchema({"type": "string", "minLength": 1})]
"""A storyboard that may have versions, given likewise, or the films that were read from one."""


async def prepare_storyboard(given: StoryboardInput, archive: KlingArchive) -> Storyboard:
    """Return a storyboard of one film, whose files are in the archive. See `prepare_story`.

    Raises `StoryboardInvalid` for one with versions, too.
    """
    if isinstance(given, Storyboard):
        require_single(given)
    return (await prepare_story(given, archive)).single()


async def prepare_story(given: StoryInput, archive: KlingArchive, table: str = "") -> Story:
    """Return the films of a storyboard, whose files are in the archive: one, or one a version.

    `table` is the text or the address of a table of versions. There is a task run only where
    something is fetched or uploaded. Free, safe to repeat: a file is named by its content. Raises
    `StoryboardInvalid` and `TableInvalid` with line and rule of every mistake, `InputUnusable` for
    a file that the API would not accept.
    """
    rows = None
    if table:
        rows = await _read_rows(table, archive)
    if isinstance(given, str):
        return await _read(given, archive, rows)

    story = given
    if isinstance(story, Storyboard):
        if rows is not None:
            story = rows.applied_to(story)
        story = story_of(story)
    elif rows is not None:
        raise StoryboardInvalid.of([Mistake("versions_twice")])
    if _has_files(story):
        return await result_of(await _upload(story, archive))
    return story


async def _read(given: str, archive: KlingArchive, rows: VersionTable | None) -> Story:
    if is_address(given):
        return await result_of(await _fetch(given, archive, redacted(given), rows))
    pasted = await in_thread(read_story, given, table=rows)
    if _has_files(pasted):
        raise StoryboardInvalid(
            "a pasted storyboard names links only: the run happens on another machine than yours;"
            " put the files beside it in the archive, and give its path there"
        )
    return pasted


async def _read_rows(table: str, archive: KlingArchive) -> VersionTable:
    if not is_address(table):
        return await in_thread(read_versions, table)
    text = await in_thread(fetch_table, table, archive.get_archive())
    return await in_thread(read_versions, text, redacted(table))


def _has_files(story: Story) -> bool:
    return any(has_files(film.board) for film in story.films)


@task(task_run_name="read {label}", **IDEMPOTENT_TASK)
@fails_without_traceback
async def _fetch(
    address: str, archive: KlingArchive, label: str, rows: VersionTable | None
) -> Story:
    story = await in_thread(fetch_story, address, archive.get_archive(), rows)
    board = story.board
    run_logger().info("%s: %d scenes, from %s", board.title, len(board.scenes), label)
    return story


@task(task_run_name="upload references of {story.board.name}", **IDEMPOTENT_TASK)
@fails_without_traceback
async def _upload(story: Story, archive: KlingArchive) -> Story:
    clips = archive.get_archive()
    uploaded = await in_thread(story.changed, lambda board: upload_files(board, clips))
    told: set[tuple[str, object]] = set()
    for film in uploaded.films:
        for name, reference in film.board.references.items():
            source = reference.image or reference.video or reference.element
            if (name, source) not in told:
                run_logger().info("reference %s: %s", name, source)
            told.add((name, source))
    return uploaded
