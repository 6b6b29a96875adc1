"""Put the takes of each shot side by side."""

from collections.abc import Mapping

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.film.comparison import keep_comparison
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="compare takes of {plan.name}", **IDEMPOTENT_TASK)
async def compare_takes(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> None:
    """Keep a picture of the takes of every shot that has several, given by clip key.

    Free, safe to repeat: what is there is not made again. Raises storage errors.
    """
    await in_thread(_keep_all, plan, clips, archive.get_archive())
    run_logger().info("takes of %d shots stand side by side", len(plan.shots_with_takes))


def _keep_all(plan: FilmPlan, clips: Mapping[str, Clip], archive: Archive) -> None:
    for planned in plan.shots_with_takes:
        keep_comparison(planned, clips, plan.slug, archive)
