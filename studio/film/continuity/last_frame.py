"""last_frame: each shot begins with the last picture of the one before."""

from prefect_kling.kling.request import ImageInput
from prefect_kling.studio.film.continuity.kind import Continuity, ShotContext
from prefect_kling.studio.film.plan import Handover, PlannedClip
from prefect_kling.studio.film.shot_compiler import Opening


class LastFrame(Continuity):
    """Hands over the sharpest final picture, where the film then cuts, or the literal last one."""

    name = "last_frame"
    is_serial = True
    given = frozenset({"edit_of", "first_frame"})

    def open_after(self, context: ShotContext, before: PlannedClip) -> Opening:
        """Begin with the picture handed over; a picture to end with may still be named."""
        key = before.clip_key
        if context.scene.scene.handover == "sharpest":
            needs = Handover(kind="sharpest_frame", clip_key=key)
        else:
            needs = Handover(kind="last_frame", clip_key=key)
        first_frame = ImageInput(image_url=needs.address, type="first_frame")
        return Opening(frames=(*context.own.frames, first_frame), needs=needs)
