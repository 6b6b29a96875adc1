"""What every continuity says of itself."""

from dataclasses import dataclass
from typing import ClassVar

from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.prompts import ShotInvalid
from prefect_kling.studio.film.shot_compiler import Opening, SceneContext
from prefect_kling.studio.film.storyboard import Scene, Shot, ShotSettings


@dataclass(frozen=True)
class ShotContext:
    """A shot to be begun, and the scene it stands in.

    `index` counts from 1. `own` is the beginning that the shot itself names.
    """

    scene: SceneContext
    index: int
    shot: Shot
    settings: ShotSettings
    own: Opening


class Continuity:
    """A kind of continuity. Subclasses say what differs.

    What a continuity hands over from clip to clip is the `needs` of the `Opening` that it forms;
    where the film cuts the clip that hands over is said by `studio.film.continuation`.
    """

    name: ClassVar[str]
    """The word in a storyboard."""
    is_serial: ClassVar[bool] = False
    """Whether a shot waits for the clip before it."""
    is_one_clip: ClassVar[bool] = False
    """Whether the whole scene is one request, formed by `plan_scene`."""
    given: ClassVar[frozenset[str]] = frozenset()
    """Fields of a shot that decide its beginning or end, and that the continuity decides here."""

    def check(self, scene: Scene) -> None:
        """Raise `ShotInvalid` if the scene says what has no meaning with this continuity."""
        if scene.keyframes:
            raise ShotInvalid("no_keyframes", field="keyframes", value=scene.continuity)

    def require_free(self, shot: Shot) -> None:
        """Raise `ShotInvalid` if a shot names a beginning that the continuity gives it."""
        for name in sorted(self.given):
            if getattr(shot, name) is not None:
                raise ShotInvalid("beginning_given", field=name, limit=self.name)

    def open(self, context: ShotContext) -> Opening:
        """Return how a shot begins that waits for no other."""
        return context.own

    def open_after(self, context: ShotContext, before: PlannedClip) -> Opening:
        """Return how a shot begins from the clip before it, where `is_serial` says so."""
        raise NotImplementedError(f"{self.name} begins no shot from another")

    def plan_scene(self, context: SceneContext) -> PlannedClip:
        """Plan the scene as one clip, where `is_one_clip` says so."""
        raise NotImplementedError(f"{self.name} plans shot by shot")
