"""reference_video: each shot continues from the video of the one before."""

from prefect_kling.kling.models import DEFAULT_MODEL, find_model
from prefect_kling.studio.film.continuity.kind import Continuity, ShotContext
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.shot_compiler import Opening, from_video


class ReferenceVideo(Continuity):
    """Hands over the last seconds of a clip, from which the next one takes motion and scene."""

    name = "reference_video"
    is_serial = True
    given = frozenset({"edit_of", "end_frame", "first_frame"})

    def open_after(self, context: ShotContext, before: PlannedClip) -> Opening:
        """Begin from the clip before, as far as the model takes it as an input."""
        limit = find_model(context.settings.model or DEFAULT_MODEL).max_input_seconds
        return from_video(before, "feature", limit)
