"""The plan of a film: every clip with its order, its inputs and its price."""

from collections.abc import Sequence
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

_MOST_NAMES = 20


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
    """One clip of a plan: its order, and what it needs of another clip first.

    `takes` says how many takes there are of what it shows, and `pick` which of them is picked: None
    while none is, and take 1 counts.
    """

    model_config = ConfigDict(frozen=True)

    version: str = ""
    """The version of the story it belongs to, where its plan has several."""
    scene: int
    shots: tuple[PlannedShot, ...]
    order: ClipOrder
    needs: Handover | None = None
    input_seconds: float | None = None
    crossfade: float = 0.0
    shown: bool = True
    takes: int = 1
    pick: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def clip_key(self) -> str:
        """The key of its order."""
        return self.order.clip_key

    @property
    def first_take_key(self) -> str:
        """The key of take 1 of the same request, which names the shot for picks."""
        return self.order.model_copy(update={"take": 1}).clip_key

    @property
    def is_used(self) -> bool:
        """Whether this is the take that counts: the only one, the picked one, or else take 1."""
        return self.takes == 1 or self.order.take == (self.pick or 1)

    @property
    def is_open(self) -> bool:
        """Whether there are several takes and none is picked."""
        return self.takes > 1 and self.pick is None

    @property
    def every_take(self) -> tuple["PlannedClip", ...]:
        """The clips of all takes, this one among them."""
        if self.takes == 1:
            return (self,)
        found = []
        for take in range(1, self.takes + 1):
            order = ClipOrder(request=self.order.request, take=take)
            found.append(self.model_copy(update={"order": order}))
        return tuple(found)

    @property
    def name(self) -> str:
        """Short and unique within the film.

        `2.1 The door opens`, `2.1-2.4 The door opens` for four shots, or `2.1 The door opens, take
        2` where there are several takes.
        """
        if self.takes == 1:
            return self.shot_name
        return f"{self.shot_name}, take {self.order.take}"

    @property
    def shot_name(self) -> str:
        """The name of what it shows, the same for all its takes."""
        first = self.shots[0]
        last = self.shots[-1]
        numbers = f"{self.scene}.{first.number}"
        if last != first:
            numbers = f"{numbers}-{self.scene}.{last.number}"
        return _named(f"{numbers} {first.title}", self.version)

    @property
    def label(self) -> str:
        """Its name; without a title of its own, with the beginning of its prompt."""
        if self.shots[0].title:
            return self.name
        label = f"{self.shot_name} {self.order.request.headline}"
        if self.takes == 1:
            return label
        return f"{label}, take {self.order.take}"

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


def _named(words: str, version: str) -> str:
    """Return the name of a part of a film, with the version it belongs to."""
    if version:
        words = f"{version}: {words}"
    return printable(words.rstrip())


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
    version: str = ""
    """The version of the story it belongs to, where its plan has several."""

    @property
    def name(self) -> str:
        """Number and title."""
        return _named(f"scene {self.number} {self.title}", self.version)

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

    @property
    def until_open_picks(self) -> "PlannedScene":
        """The scene without the clips that hang on a take that is still to be picked."""
        blocked = {clip.clip_key for clip in self.clips if clip.is_open}
        clips = []
        for clip in self.clips:
            if clip.needs is not None and clip.needs.clip_key in blocked:
                blocked.add(clip.clip_key)
            else:
                clips.append(clip)
        return PlannedScene(
            number=self.number,
            title=self.title,
            continuity=self.continuity,
            clips=tuple(clips),
            version=self.version,
        )


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
    versions: tuple[str, ...] = ()
    """The versions of the story that it has, where it is the plan of several films."""

    @property
    def name(self) -> str:
        """The title, as it can be shown and kept everywhere."""
        return printable(self.title)

    @property
    def clips(self) -> tuple[PlannedClip, ...]:
        """All clips in the order in which they are seen; all takes of a shot in a row."""
        return tuple(clip for scene in self.scenes for clip in scene.clips)

    @property
    def used(self) -> tuple[PlannedClip, ...]:
        """The clips that count: of several takes the picked one, or take 1."""
        return tuple(clip for clip in self.clips if clip.is_used)

    @property
    def shots_with_takes(self) -> tuple[PlannedClip, ...]:
        """The clips that count where there are several takes. Shots that are alike share them."""
        several = {clip.first_take_key: clip for clip in reversed(self.used) if clip.takes > 1}
        return tuple(reversed(several.values()))

    @property
    def open_picks(self) -> tuple[PlannedClip, ...]:
        """Those of which nobody has picked a take, so that take 1 counts."""
        # An open shot is planned on take 1, so its clip key names it.
        found = {clip.clip_key: clip for clip in reversed(self.used) if clip.is_open}
        return tuple(reversed(found.values()))

    @cached_property
    def by_key(self) -> dict[str, PlannedClip]:
        """Each clip once, by key. Shots that are alike share a clip."""
        return {clip.clip_key: clip for clip in reversed(self.clips)}

    @property
    def has_versions(self) -> bool:
        """Whether it is the plan of several films."""
        return len(self.versions) > 1

    def only(self, scene: int) -> "FilmPlan":
        """Return the plan of one scene, counted from 1, as if it were the film."""
        return self._of((self.scenes[scene - 1],))

    @property
    def until_open_picks(self) -> "FilmPlan":
        """The plan without the clips that hang on a take that is still to be picked."""
        return self._of(tuple(scene.until_open_picks for scene in self.scenes))

    def _of(self, scenes: tuple[PlannedScene, ...]) -> "FilmPlan":
        return FilmPlan(
            title=self.title,
            slug=self.slug,
            earlier_slug=self.earlier_slug,
            scenes=scenes,
            remarks=self.remarks,
            tags=self.tags,
            versions=self.versions,
        )

    @property
    def usd(self) -> Decimal:
        """Expected price in US dollars when no clip is in the archive yet."""
        return sum((clip.price.usd for clip in self.by_key.values()), Decimal(0))

    def of_version(self, version: str) -> "FilmPlan":
        """Return the plan with the name of a version in the names of its scenes and clips."""
        scenes = []
        for scene in self.scenes:
            clips = [clip.model_copy(update={"version": version}) for clip in scene.clips]
            update = {"version": version, "clips": tuple(clips)}
            scenes.append(scene.model_copy(update=update))
        return self._of(tuple(scenes))

    @property
    def told_of_open_picks(self) -> str:
        """Of which shots no take is picked, in one sentence; empty where all are."""
        names = [clip.shot_name for clip in self.open_picks]
        if not names:
            return ""
        if len(names) > _MOST_NAMES:
            names[_MOST_NAMES:] = [f"{len(names) - _MOST_NAMES} more"]
        return f"no take is picked of {', '.join(names)}: take 1 counts until one is"

    @property
    def notes(self) -> list[str]:
        """What somebody should know before paying, one sentence each."""
        told: list[str] = list(self.remarks)
        if self.open_picks:
            told.append(self.told_of_open_picks)
        for clip in self.used:
            notes = [*clip.notes, *map(describe, clip.order.request.disputes())]
            told.extend(f"{clip.shot_name}: {note}" for note in notes)
        for version in self.versions or ("",):
            clips = [clip for clip in self.used if clip.version == version]
            told.extend(_named(note, version) for note in _differences(clips))
        return told


def _differences(clips: Sequence[PlannedClip]) -> list[str]:
    """Say where the clips of one film differ so that it must be encoded anew."""
    shapes: set[str] = set()
    modes: set[str] = set()
    for clip in clips:
        request = clip.order.request
        if clip.shown and not request.edits_video:
            modes.add(request.mode)
            # A first frame decides the shape of its clip by itself.
            if request.image_of_type("first_frame") is None:
                shapes.add(f"{request.aspect_ratio} {request.mode}")

    told = []
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


class StoryPlan(BaseModel):
    """The plans of a story's films: one for each version, by name."""

    model_config = ConfigDict(frozen=True)

    title: str
    slug: str
    """Names the folder of the page and the budget, which all versions share."""
    earlier_slug: str = ""
    films: dict[str, FilmPlan]
    remarks: tuple[str, ...] = ()
    tags: dict[str, str] = {}

    @cached_property
    def together(self) -> FilmPlan:
        """All films as one plan, to be quoted, approved and shown; a shared clip is in it once.

        The names of its scenes and clips begin with the version.
        """
        scenes: list[PlannedScene] = []
        for version, film in self.films.items():
            scenes.extend(film.of_version(version).scenes)
        return FilmPlan(
            title=self.title,
            slug=self.slug,
            earlier_slug=self.earlier_slug,
            scenes=tuple(scenes),
            remarks=self.remarks,
            tags=self.tags,
            versions=tuple(self.films),
        )
