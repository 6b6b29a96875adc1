"""Put the files a storyboard names where the API can fetch them."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.script.inputs import has_files, upload_files
from prefect_kling.studio.script.storyboard import Storyboard
from prefect_kling.tasks.logs import run_logger
from prefect_kling.tasks.retries import FREE


async def upload_references(storyboard: Storyboard, archive: KlingArchive) -> Storyboard:
    """Return the storyboard with every local file uploaded to the archive; no task run where there is none.

    Free, repeatable: a file is named by its content. Raises `InputUnusable` for what the API would not take.
    """
    return await _upload(storyboard, archive) if has_files(storyboard) else storyboard


@task(task_run_name="upload references of {storyboard.title}", **FREE)
async def _upload(storyboard: Storyboard, archive: KlingArchive) -> Storyboard:
    uploaded = await in_thread(upload_files, storyboard, archive.get_archive())
    for name, reference in uploaded.references.items():
        run_logger().info("reference %s: %s", name, reference.image or reference.video or reference.element)
    return uploaded
