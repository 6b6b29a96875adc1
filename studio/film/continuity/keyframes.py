"""keyframes: neighbours share planned pictures, and are made side by side."""

from prefect_kling.studio.film.continuity.kind import Continuity, ShotContext
from prefect_kling.studio.film.prompts import ShotInvalid
from prefect_kling.studio.film.shot_compiler import Opening, frames_of
from prefect_kling.studio.film.storyboard import Scene


class Keyframes(Continuity):
    """Each shot begins with one of the scene's keyframes and ends with the next."""

    name = "keyframes"
    given = frozenset({"edit_of", "end_frame", "first_frame"})

    def check(self, scene: Scene) -> None:
        """Raise `ShotInvalid` unless there is a keyframe for each beginning."""
        shots = len(scene.shots)
        keyframes = len(scene.keyframes)
        if keyframes not in (shots, shots + 1):
            raise ShotInvalid("keyframes", value=keyframes, limit=(shots, shots + 1))

    def open(self, context: ShotContext) -> Opening:
        """Begin and end with the pictures at the shot's place."""
        keyframes = context.scene.scene.keyframes[context.index - 1 : context.index + 1]
        return Opening(frames=frames_of(context.scene.board, *keyframes))
