"""Join clips into a film."""

from prefect import task

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.retries import IDEMPOTENT_TASK
from prefect_kling.studio.film.assembly import Film, assemble
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.assets import describe_asset
from prefect_kling.telemetry.logs import run_logger


@task(task_run_name="assemble {plan.name}", **IDEMPOTENT_TASK)
async def assemble_film(plan: FilmPlan, clips: dict[str, Clip], archive: KlingArchive) -> Film:
    """Join clips, given by key, as planned; store film, contact sheet and manifest.

    Free, safe to repeat. Raises what `assemble` raises.
    """
    film = await in_thread(assemble, plan, clips, archive.get_archive())
    describe_asset(
        archive.film_uri(plan.slug),
        film=film.uri,
        sha256=film.sha256,
        seconds=film.seconds,
        usd=str(film.usd),
    )
    how = "joined without re-encoding"
    if film.re_encoded:
        how = "re-encoded"
    run_logger().info("%s: %.2f s, %s, %s", film.title, film.seconds, how, film.uri)
    return film
