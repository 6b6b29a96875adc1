"""Extract from a clip what the next shot is made from: a picture, or its last seconds."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.film.continuation import extract_continuation
from prefect_kling.studio.film.plan import Handover
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="hand over {label}", **IDEMPOTENT_TASK)
async def hand_over_clip(
    clip: Clip, handover: Handover, archive: KlingArchive, label: str = "clip"
) -> str:
    """Store what the next clip needs of this one, and return the address its request uses for it.

    Free, safe to repeat. Raises `InputUnusable` when the API would not accept it; then nothing is
    paid.
    """
    address = await in_thread(extract_continuation, clip, handover, archive.get_archive())
    run_logger().info("%s: %s kept", label, handover.kind.replace("_", " "))
    return address
