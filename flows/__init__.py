"""One user story per file: a clip, a scene, a film."""

from prefect_kling.flows.clip import generate_clip
from prefect_kling.flows.film import produce_film
from prefect_kling.flows.scene import produce_scene

__all__ = ["generate_clip", "produce_film", "produce_scene"]
