"""A film before it is made: every clip, what it is made from, its key and its price."""

from decimal import Decimal
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.prices import Quote, quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.violations import describe
from prefect_kling.studio.money.archive import STANDIN
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout


class Handover(BaseModel):
    """What one clip gives to the next: its sharpest final picture, its literal last one, or its last ten seconds."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["sharpest_frame", "last_frame", "tail"]
    clip_key: str

    @property
    def path(self) -> str:
        """Where it is kept; known before the clip is made."""
        if self.kind == "sharpest_frame":
            return layout.sharpest_frame(self.clip_key)
        if self.kind == "last_frame":
            return layout.last_frame(self.clip_key)
        return layout.tail(self.clip_key)

    @property
    def address(self) -> str:
        """How a request names it."""
        return STANDIN + self.path


class PlannedShot(BaseModel):
    """One shot of the storyboard, and how many seconds of its clip it is to fill."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: str
    seconds: float


class PlannedClip(BaseModel):
    """One clip, ready to be made: its order, its price, and what it needs of another clip first."""

    model_config = ConfigDict(frozen=True)

    scene: int
    shots: tuple[PlannedShot, ...]
    order: ClipOrder
    needs: Handover | None = None
    input_seconds: float | None = None
    crossfade: float = 0.0
    shown: bool = True
    notes: tuple[str, ...] = ()

    @property
    def clip_key(self) -> str:
        """The key of its order."""
        return self.order.clip_key

    @property
    def name(self) -> str:
        """Short and unique within the film: `2.1 The door opens`, or `2.1-2.4 The door opens` for four shots."""
        first, last = self.shots[0], self.shots[-1]
        until = f"-{self.scene}.{last.number}" if last != first else ""
        return f"{self.scene}.{first.number}{until} {first.title}".rstrip()

    @property
    def seconds(self) -> float:
        """How long the clip is to last."""
        return sum(shot.seconds for shot in self.shots)

    @property
    def price(self) -> Quote:
        """What making it costs, if it is not in the archive yet."""
        return quote(self.order.request, input_seconds=self.input_seconds)

    @property
    def at_most_usd(self) -> Decimal:
        """What is set aside for it before it is sent."""
        return quote(self.order.request).at_most_usd


def begins_anew(request: VideoRequest, needs: Handover | None, before: PlannedClip | None) -> bool:
    """Whether a viewer sees a clip begin with something else than the one before it ends with."""
    if before is None or not before.shown:
        return True
    first, end = (
        request.image_of_type("first_frame"),
        before.order.request.image_of_type("end_frame"),
    )
    shared = first is not None and end is not None and first.image_url == end.image_url
    return needs is None and not shared


class PlannedScene(BaseModel):
    """A scene's clips in the order in which they are seen."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: str
    continuity: str
    clips: tuple[PlannedClip, ...]

    @property
    def name(self) -> str:
        """Number and title."""
        return f"scene {self.number} {self.title}".rstrip()

    @cached_property
    def priorities(self) -> dict[str, float]:
        """Per clip key, the seconds of video of the longest chain that begins with it; the longest should go first."""
        longest = {clip.clip_key: clip.seconds for clip in self.clips}
        # Clips need earlier ones only, so going backwards sees every follower before its leader.
        for clip in reversed(self.clips):
            if clip.needs is not None:
                leader = next(each for each in self.clips if each.clip_key == clip.needs.clip_key)
                chain = leader.seconds + longest[clip.clip_key]
                longest[leader.clip_key] = max(longest[leader.clip_key], chain)
        return longest


class FilmPlan(BaseModel):
    """All scenes of a film, planned: a graph whose nodes are clips and whose arrows are their `needs`."""

    model_config = ConfigDict(frozen=True)

    title: str
    slug: str
    scenes: tuple[PlannedScene, ...]

    @property
    def clips(self) -> tuple[PlannedClip, ...]:
        """All clips in the order in which they are seen."""
        return tuple(clip for scene in self.scenes for clip in scene.clips)

    @cached_property
    def by_key(self) -> dict[str, PlannedClip]:
        """Each clip once; shots that are alike share one."""
        return {clip.clip_key: clip for clip in reversed(self.clips)}

    def only(self, scene: int) -> "FilmPlan":
        """Return the plan of one scene, counted from 1, as if it were the film."""
        return FilmPlan(title=self.title, slug=self.slug, scenes=(self.scenes[scene - 1],))

    @property
    def usd(self) -> Decimal:
        """What the film costs when nothing of it is in the archive yet."""
        return sum((clip.price.usd for clip in self.by_key.values()), Decimal(0))

    @property
    def notes(self) -> list[str]:
        """What somebody should know before paying."""
        told = [
            f"{clip.name}: {note}"
            for clip in self.clips
            for note in (*clip.notes, *map(describe, clip.order.request.disputes()))
        ]
        shown = [clip.order.request for clip in self.clips if clip.shown]
        shapes = sorted({f"{r.aspect_ratio} {r.mode}" for r in shown if _has_own_shape(r)})
        if len(shapes) > 1:
            told.append(
                f"shots differ in shape ({', '.join(shapes)}): the film takes the most common one, "
                "the others get black bars, and all is encoded anew"
            )
        modes = sorted({r.mode for r in shown if not r.edits_video})
        if len(shapes) <= 1 < len(modes):
            told.append(
                f"shots differ in size (mode {', '.join(modes)}): all of the film is encoded anew"
            )
        return told


def _has_own_shape(request: VideoRequest) -> bool:
    """Whether nothing but mode and aspect ratio decides the shape."""
    return not request.edits_video and request.image_of_type("first_frame") is None
