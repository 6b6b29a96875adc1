"""From a storyboard to orders: every clip key and price is known before anything is made."""

from collections.abc import Callable
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_kling.kling.prices import Quote, quote
from prefect_kling.kling.request import ImageInput, VideoRequest
from prefect_kling.studio.archive import STANDIN, last_frame_path
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.orders import ClipOrder
from prefect_kling.studio.storyboard import Look, Scene, Shot, Storyboard

FIRST_LOOK = Look(model="kling-v3-omni", mode="std", aspect_ratio="16:9", sound="off", duration=5)


class PlannedShot(BaseModel):
    """One shot, ready to be made: its order, its price, and the clip it begins from."""

    model_config = ConfigDict(frozen=True)

    scene: int
    shot: int
    title: str
    order: ClipOrder
    begins_from: str | None = None

    @property
    def name(self) -> str:
        """Short and unique within the film: `2.1 The door opens`."""
        return f"{self.scene}.{self.shot} {self.title}".rstrip()

    @property
    def price(self) -> Quote:
        """What making it costs, if it is not in the archive yet."""
        return quote(self.order.request)


class PlannedScene(BaseModel):
    """A scene's shots in order; `serial` when each needs the one before."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: str
    serial: bool
    shots: tuple[PlannedShot, ...]


class FilmPlan(BaseModel):
    """All scenes of a film, planned."""

    model_config = ConfigDict(frozen=True)

    title: str
    slug: str
    scenes: tuple[PlannedScene, ...]

    @property
    def shots(self) -> tuple[PlannedShot, ...]:
        """All shots in the order in which they are seen."""
        return tuple(shot for scene in self.scenes for shot in scene.shots)

    @property
    def usd(self) -> Decimal:
        """What the film costs when nothing of it is in the archive yet."""
        return sum((price.usd for price in self.prices.values()), Decimal(0))

    @property
    def prices(self) -> dict[str, Quote]:
        """The price of each clip; shots that are alike share one."""
        return {shot.order.clip_key: shot.price for shot in self.shots}


def _where(scene: int, shot: int) -> str:
    return f"scene {scene}, shot {shot}"


def plan_film(storyboard: Storyboard, where: Callable[[int, int], str] = _where) -> FilmPlan:
    """Turn a storyboard into orders. Free, and the same every time.

    Raises `StoryboardInvalid` naming the scene and shot whose request breaks a rule.
    """
    scenes = [
        plan_scene(scene, storyboard.defaults, number, where) for number, scene in enumerate(storyboard.scenes, 1)
    ]
    return FilmPlan(title=storyboard.title, slug=storyboard.slug, scenes=tuple(scenes))


def plan_scene(
    scene: Scene, defaults: Look, number: int = 1, where: Callable[[int, int], str] = _where
) -> PlannedScene:
    """Turn one scene into orders; see `plan_film`."""
    shots: list[PlannedShot] = []
    look = scene.over(defaults.over(FIRST_LOOK))
    for index, shot in enumerate(scene.shots, 1):
        serial = scene.continuity == "last_frame" and shots
        before = shots[-1].order.clip_key if serial else None
        try:
            request = _request(shot, look, before)
        except ValidationError as error:
            told = "; ".join(mistake["msg"] for mistake in error.errors())
            raise StoryboardInvalid(f"{where(number, index)}: {told}") from None
        order = ClipOrder(request=request, take=shot.take)
        shots.append(PlannedShot(scene=number, shot=index, title=shot.title, order=order, begins_from=before))
    return PlannedScene(number=number, title=scene.title, serial=scene.continuity == "last_frame", shots=tuple(shots))


def _request(shot: Shot, look: Look, before: str | None) -> VideoRequest:
    images = list(shot.image_list)
    if before is not None:
        # Last, so that the pictures a prompt names by their number keep their numbers.
        images.append(ImageInput(image_url=STANDIN + last_frame_path(before), type="first_frame"))
    return VideoRequest.model_validate(
        {
            **shot.over(look).settings(),
            "prompt": shot.prompt,
            "image_list": images,
            "element_list": shot.element_list,
        }
    )
