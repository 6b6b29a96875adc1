"""Read a storyboard, and put the files it names where the API can fetch them."""

from typing import Annotated

from prefect import task
from pydantic import WithJsonSchema

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.failures import fails_without_traceback, result_of
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.remote_sources import fetch_storyboard, is_address, redacted
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.uploads import has_files, upload_files
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger

# Forms show one field for a text; programs that call a flow may pass the document itself.
StoryboardInput = Annotated[Storyboard | str, WithJsonSchema({"type": "string", "minLength": 1})]
"""A storyboard as data, as YAML or JSON text, or as the address of such a text."""


async def prepare_storyboard(given: StoryboardInput, archive: KlingArchive) -> Storyboard:
    """Return a storyboard whose files are in the archive.

    There is a task run only where something is fetched or uploaded. Free, safe to repeat: a file is
    named by its content. Raises `StoryboardInvalid` with line and rule of every mistake,
    `InputUnusable` for a file that the API would not accept.
    """
    if isinstance(given, Storyboard):
        if has_files(given):
            return await result_of(await _upload(given, archive))
        return given
    if is_address(given):
        return await result_of(await _fetch(given, archive, redacted(given)))

    pasted = await in_thread(read_storyboard, given)
    if has_files(pasted):
        raise StoryboardInvalid(
            "a pasted storyboard names links only: the run happens on another machine than yours;"
            " put the files beside it in the archive, and give its path there"
        )
    return pasted


@task(task_run_name="read {label}", **IDEMPOTENT_TASK)
@fails_without_traceback
async def _fetch(address: str, archive: KlingArchive, label: str) -> Storyboard:
    storyboard = await in_thread(fetch_storyboard, address, archive.get_archive())
    run_logger().info("%s: %d scenes, from %s", storyboard.title, len(storyboard.scenes), label)
    return storyboard


@task(task_run_name="upload references of {storyboard.name}", **IDEMPOTENT_TASK)
@fails_without_traceback
async def _upload(storyboard: Storyboard, archive: KlingArchive) -> Storyboard:
    uploaded = await in_thread(upload_files, storyboard, archive.get_archive())
    for name, reference in uploaded.references.items():
        source = reference.image or reference.video or reference.element
        run_logger().info("reference %s: %s", name, source)
    return uploaded
