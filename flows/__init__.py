"""One user story per file: a clip, a scene, a film, a batch, jobs left behind, and accounts."""

from prefect_kling.flows.batch import generate_batch, make_batch_chunk, submit_batch
from prefect_kling.flows.clip import generate_clip
from prefect_kling.flows.collect import collect_finished
from prefect_kling.flows.film import produce_film
from prefect_kling.flows.first_call import generate_clip_sync
from prefect_kling.flows.quick_clip import quick_clip
from prefect_kling.flows.report import report_spending
from prefect_kling.flows.scene import produce_scene
from prefect_kling.flows.submit_film import advance_films, submit_film
from prefect_kling.flows.versions import produce_versions

__all__ = [
    "advance_films",
    "collect_finished",
    "generate_batch",
    "generate_clip",
    "generate_clip_sync",
    "make_batch_chunk",
    "produce_film",
    "produce_scene",
    "produce_versions",
    "quick_clip",
    "report_spending",
    "submit_batch",
    "submit_film",
]
