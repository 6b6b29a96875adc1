"""One user story per file: a clip, a scene, a film, and what was left behind."""

from prefect_kling.flows.clip import generate_clip
from prefect_kling.flows.collect import collect_finished
from prefect_kling.flows.film import produce_film
from prefect_kling.flows.film_from_text import film_from_storyboard
from prefect_kling.flows.quick_clip import quick_clip
from prefect_kling.flows.scene import produce_scene

__all__ = [
    "collect_finished",
    "film_from_storyboard",
    "generate_clip",
    "produce_film",
    "produce_scene",
    "quick_clip",
]
