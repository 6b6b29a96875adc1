"""Join clips into a film."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.studio.archive import Clip
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.films import Film, assemble
from prefect_kling.studio.script.plan import FilmPlan
from prefect_kling.tasks.assets import describe_asset
from prefect_kling.tasks.logs import run_logger
from prefect_kling.tasks.retries import FREE


@task(task_run_name="assemble {plan.title}", **FREE)
async def assemble_film(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> Film:
    """Join clips, given by key, as planned; store film, contact sheet and manifest. Free, repeatable."""
    film = await in_thread(assemble, plan, clips, archive.get_archive())
    describe_asset(
        archive.film_uri(plan.slug), film=film.uri, sha256=film.sha256, seconds=film.seconds, usd=str(film.usd)
    )
    how = "re-encoded" if film.re_encoded else "joined without re-encoding"
    run_logger().info("%s: %.2f s, %s, %s", film.title, film.seconds, how, film.uri)
    return film
