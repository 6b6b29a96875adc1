"""Join clips into a film."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.films import Film, assemble
from prefect_kling.studio.plan import FilmPlan
from prefect_kling.tasks.logs import run_logger
from prefect_kling.tasks.retries import RETRIES, RETRY_DELAYS, RETRY_JITTER, is_passing


@task(
    task_run_name="assemble {plan.title}",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS,
    retry_jitter_factor=RETRY_JITTER,
    retry_condition_fn=is_passing,
    cache_policy=NO_CACHE,
)
async def assemble_film(plan: FilmPlan, clips: list[Clip], archive: KlingArchive) -> Film:
    """Join clips in the plan's order; store film, contact sheet and manifest. Free, repeatable."""
    film = await in_thread(assemble, plan, clips, archive.get_archive())
    how = "re-encoded" if film.re_encoded else "joined without re-encoding"
    run_logger().info("%s: %.2f s, %s, %s", film.title, film.seconds, how, film.uri)
    return film
