"""Hand a clip's picture or video to the next shot."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.retries import FREE
from prefect_kling.studio.film.continuation import hand_over
from prefect_kling.studio.film.plan import Handover
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="hand over {label}", **FREE)
async def hand_over_clip(
    clip: Clip, handover: Handover, archive: KlingArchive, label: str = "clip"
) -> str:
    """Keep what the next clip needs of this one and return the address by which a request names it. Free, repeatable.

    Raises `InputUnusable` when the API would not take it; nothing is paid then.
    """
    address = await in_thread(hand_over, clip, handover, archive.get_archive())
    run_logger().info("%s: %s kept", label, handover.kind.replace("_", " "))
    return address
