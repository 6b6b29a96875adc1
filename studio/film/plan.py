"""The plan of a film: every clip with its order, its inputs and its price."""

from decimal import Decimal
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.prices import Quote, quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.server_words import printable
from prefect_kling.kling.violations import describe
from prefect_kling.studio.money.archive import ARCHIVE_URL
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout


class Handover(BaseModel):
    """What one clip gives to the next.

    This is its sharpest final picture, its literal last picture, or its last ten seconds.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["sharpest_frame", "last_frame", "tail"]
    clip_key: str

    @property
    def path(self) -> str:
        """Its path in the bucket, known before the clip is made."""
        if self.kind == "sharpest_frame":
            return layout.sharpest_frame(self.clip_key)
        if self.kind == "last_frame":
            return layout.last_frame(self.clip_key)
        return layout.tail(self.clip_key)

    @property
    def address(self) -> str:
        """The address by which a request names it."""
        return ARCHIVE_URL + self.path


class PlannedShot(BaseModel):
    """One shot of the storyboard, and how many seconds of its clip it is to fill."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: str
    seconds: float


class PlannedClip(BaseModel):
    """One clip of a plan: its order, and what it needs of another clip first."""

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
        """Short and unique within the film.

        `2.1 The door opens`, or `2.1-2.4 The door opens` for four shots.
        """
        first = self.shots[0]
        last = self.shots[-1]
        numbers = f"{self.scene}.{first.number}"
        if last != first:
            numbers = f"{numbers}-{self.scene}.{last.number}"
        return printable(f"{numbers} {first.title}".rstrip())

    @property
    def label(self) -> str:
        """Its name; without a title of its own, with the beginning of its prompt."""
        if self.shots[0].title:
            return self.name
        return f"{self.name} {self.order.request.headline}"

    @property
    def seconds(self) -> float:
        """Planned length of the clip."""
        return sum(shot.seconds for shot in self.shots)

    @property
    def price(self) -> Quote:
        """Expected price in US dollars, if the clip is not in the archive yet."""
        return quote(self.order.request, input_seconds=self.input_seconds)

    @property
    def at_most_usd(self) -> Decimal:
        """Highest price in US dollars: what is set aside before it is sent."""
        return quote(self.order.request).at_most_usd


def begins_anew(request: VideoRequest, needs: Handover | None, before: PlannedClip | None) -> bool:
    """Whether a viewer sees a clip begin with something else than the one before it ends with."""
    if before is None or not before.shown:
        return True
    if needs is not None:
        return False

    first = request.image_of_type("first_frame")
    end = before.order.request.image_of_type("end_frame")
    if first is None or end is None:
        return True
    return first.image_url != end.image_url


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
        return printable(f"scene {self.number} {self.title}".rstrip())

    @cached_property
    def priorities(self) -> dict[str, float]:
        """Seconds of video of the longest chain that begins with each clip, by clip key.

        The clip with the longest chain should go first.
        """
        longest = {clip.clip_key: clip.seconds for clip in self.clips}
        # Clips need earlier ones only, so going backwards sees every follower before its leader.
        for clip in reversed(self.clips):
            if clip.needs is None:
                continue
            leader = next(each for each in self.clips if each.clip_key == clip.needs.clip_key)
            chain = leader.seconds + longest[clip.clip_key]
            longest[leader.clip_key] = max(longest[leader.clip_key], chain)
        return longest


class FilmPlan(BaseModel):
    """All scenes of a film: a graph whose nodes are clips and whose edges are their `needs`."""

    model_config = ConfigDict(frozen=True)

    title: str
    slug: str
    earlier_slug: str = ""
    """The slug that earlier versions gave to this title; what they stored there counts."""
    scenes: tuple[PlannedScene, ...]
    remarks: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    """Who pays for the film."""

    @property
    def name(self) -> str:
        """The title, as it can be shown and kept everywhere."""
        return printable(self.title)

    @property
    def clips(self) -> tuple[PlannedClip, ...]:
        """All clips in the order in which they are seen."""
        return tuple(clip for scene in self.scenes for clip in scene.clips)

    @cached_property
    def by_key(self) -> dict[str, PlannedClip]:
        """Each clip once, by key. Shots that are alike share a clip."""
        return {clip.clip_key: clip for clip in reversed(self.clips)}

    def only(self, scene: int) -> "FilmPlan":
        """Return the plan of one scene, counted from 1, as if it were the film."""
        return FilmPlan(
            title=self.title,
            slug=self.slug,
            earlier_slug=self.earlier_slug,
            scenes=(self.scenes[scene - 1],),
            remarks=self.remarks,
            tags=self.tags,
        )

    @property
    def usd(self) -> Decimal:
        """Expected price in US dollars when no clip is in the archive yet."""
        return sum((clip.price.usd for clip in self.by_key.values()), Decimal(0))

    @property
    def notes(self) -> list[str]:
        """What somebody should know before paying, one sentence each."""
        told: list[str] = list(self.remarks)
        shapes: set[str] = set()
        modes: set[str] = set()

        for clip in self.clips:
            request = clip.order.request
            notes = [*clip.notes, *map(describe, request.disputes())]
            told.extend(f"{clip.name}: {note}" for note in notes)

            if clip.shown and not request.edits_video:
                modes.add(request.mode)
                # A first frame decides the shape of its clip by itself.
                if request.image_of_type("first_frame") is None:
                    shapes.add(f"{request.aspect_ratio} {request.mode}")

        if len(shapes) > 1:
            told.append(
                f"shots differ in shape ({', '.join(sorted(shapes))}): the film takes the most "
                "common one, the others get black bars, and all is encoded anew"
            )
        elif len(modes) > 1:
            told.append(
                f"shots differ in size (mode {', '.join(sorted(modes))}): "
                "all of the film is encoded anew"
            )
        return told
