"""Hand a clip's last picture to the next shot."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.bucket import in_thread
from prefect_kling.tasks.logs import run_logger
from prefect_kling.tasks.retries import FREE


@task(task_run_name="last frame of {label}", **FREE)
async def extract_last_frame(clip: Clip, archive: KlingArchive, label: str = "clip") -> str:
    """Store the clip's true last picture and return the address by which a request can name it. Free, repeatable."""
    address = await in_thread(archive.get_archive().keep_last_frame, clip)
    run_logger().info("%s: last frame kept", label)
    return address
