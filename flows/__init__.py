"""One user story per file: a clip, a scene, a film, and what was left behind."""

from prefect_kling.flows.clip import generate_clip
from prefect_kling.flows.collect import collect_finished
from prefect_kling.flows.film import produce_film
from prefect_kling.flows.scene import produce_scene

__all__ = ["collect_finished", "generate_clip", "produce_film", "produce_scene"]
