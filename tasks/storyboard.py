"""Read a storyboard, and put the files it names where the API can fetch them."""

from typing import Annotated

from prefect import task
from pydantic import WithJsonSchema

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.retries import FREE
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.remote_sources import fetch_storyboard, is_address, shown
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.uploads import has_files, upload_files
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.telemetry.logs import run_logger

# In forms it is one field for a text; programs that call a flow also hand over the document itself.
StoryboardGiven = Annotated[Storyboard | str, WithJsonSchema({"type": "string", "minLength": 1})]
"""A storyboard as data, as YAML or JSON text, or as the address of such a text."""


async def prepare_storyboard(given: Storyboard | str, archive: KlingArchive) -> Storyboard:
    """Return a storyboard whose files are in the archive; no task run where nothing is to be fetched or uploaded.

    Free, repeatable: a file is named by its content. Raises `StoryboardInvalid` with line and rule, `InputUnusable`
    for a file the API would not take.
    """
    if isinstance(given, str):
        if is_address(given):
            return await _fetch(given, archive, shown(given))
        given = read_storyboard(given)
        if has_files(given):
            told = "a pasted storyboard names links only: the run happens on another machine than yours"
            raise StoryboardInvalid(
                f"{told}; put the files beside it in the archive, and give its path there"
            )
    return await _upload(given, archive) if has_files(given) else given


@task(task_run_name="read {label}", **FREE)
async def _fetch(address: str, archive: KlingArchive, label: str) -> Storyboard:
    fetched = await in_thread(fetch_storyboard, address, archive.get_archive())
    run_logger().info("%s: %d scenes, from %s", fetched.title, len(fetched.scenes), label)
    return fetched


@task(task_run_name="upload references of {storyboard.title}", **FREE)
async def _upload(storyboard: Storyboard, archive: KlingArchive) -> Storyboard:
    uploaded = await in_thread(upload_files, storyboard, archive.get_archive())
    for name, reference in uploaded.references.items():
        run_logger().info(
            "reference %s: %s", name, reference.image or reference.video or reference.element
        )
    return uploaded
