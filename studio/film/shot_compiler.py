"""Compile a shot and its beginning into the fields of a request. Knows no continuity."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.models import DEFAULT_MODEL, ModelUnknown, find_model
from prefect_kling.kling.request import ImageInput, VideoInput, WatermarkInfo
from prefect_kling.kling.violations import ERROR_TYPE
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.mistakes import Mistake, of_violation
from prefect_kling.studio.film.plan import Handover, PlannedClip
from prefect_kling.studio.film.prompts import (
    AttachedReferences,
    ShotInvalid,
    of_length,
    resolve,
)
from prefect_kling.studio.film.storyboard import (
    Place,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    in_words,
)

FIRST_SETTINGS = ShotSettings(
    model=DEFAULT_MODEL, mode="std", aspect_ratio="16:9", sound="off", duration=5
)

SILENCED = "made without sound: Kling makes none where a video goes in"
_PREFIX = {"feature": "Based on <<<video_1>>>, the next shot: ", "base": "Edit <<<video_1>>>: "}


@dataclass(frozen=True)
class Opening:
    """How a clip begins: what the continuity adds to its request."""

    frames: tuple[ImageInput, ...] = ()
    video: VideoInput | None = None
    needs: Handover | None = None
    input_seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SceneContext:
    """The scene being planned."""

    board: Storyboard
    scene: Scene
    number: int
    picks: Mapping[str, int]
    """Takes that were picked outside of the storyboard, by the clip key of take 1."""

    def place(self, shot: int | None = None) -> Place:
        """Return the place of the scene, or of one of its shots, counted from 1."""
        if shot is None:
            return ("scenes", self.number - 1)
        return ("scenes", self.number - 1, "shots", shot - 1)

    @property
    def settings(self) -> ShotSettings:
        """The scene's settings over the film's defaults."""
        defaults = self.board.defaults.over(FIRST_SETTINGS)
        return self.scene.over(defaults)

    @contextmanager
    def refusing(self, shot: int | None = None) -> Iterator[None]:
        """Turn an error of a request or a shot into mistakes in the scene or the shot."""
        place = self.place(shot)
        try:
            yield
        except ValidationError as error:
            mistakes = [_mistake(each, place) for each in error.errors(include_url=False)]
            raise StoryboardInvalid.of(mistakes) from None
        except ShotInvalid as error:
            raise StoryboardInvalid.of([error.mistake.within(place)]) from None
        except ModelUnknown as error:
            mistake = Mistake("unknown_model", place, "model", error.name, error.known)
            raise StoryboardInvalid.of([mistake]) from None


def _mistake(error: ErrorDetails, place: Place) -> Mistake:
    """Return what is wrong with the request of a shot."""
    if error["type"] == ERROR_TYPE:
        return of_violation(error["ctx"]["violation"], place)
    return Mistake("other", place, in_words(error["loc"]), error["msg"])


def own_opening(board: Storyboard, shot: Shot) -> Opening:
    """Return how a shot begins by itself: from its frames, or from the video that it edits."""
    frames_of_shot = (shot.first_frame, shot.end_frame)
    if shot.edit_of is None:
        return Opening(frames=frames_of(board, *frames_of_shot))

    reference = resolve(shot.edit_of, board)
    url = reference.video
    if url is None and reference.image == shot.edit_of:
        # A link without a name is resolved as a picture; here it is a video.
        url = shot.edit_of
    if url is None:
        raise ShotInvalid("no_video", field="edit_of", value=shot.edit_of)
    video = VideoInput(video_url=url, refer_type="base")
    return Opening(frames=frames_of(board, *frames_of_shot), video=video)


def frames_of(
    board: Storyboard, first: str | None = None, end: str | None = None
) -> tuple[ImageInput, ...]:
    """Return the pictures that a clip begins and ends with.

    Raises `ShotInvalid` for other things.
    """
    found = []
    for kind, name in (("first_frame", first), ("end_frame", end)):
        if name is None:
            continue
        image = resolve(name, board).image
        if image is None:
            raise ShotInvalid("no_picture", field=kind, value=name)
        found.append(ImageInput.model_validate({"image_url": image, "type": kind}))
    return tuple(found)


def from_video(before: PlannedClip, refer_type: Literal["base", "feature"], limit: int) -> Opening:
    """Continue from the clip before as a video: its last `limit` seconds at most."""
    notes: tuple[str, ...] = ()
    if before.seconds > limit:
        if refer_type == "base":
            raise ShotInvalid("edit_too_long", value=f"{before.seconds:g}", limit=limit)
        note = (
            f"continues from the last {limit} of the {before.seconds:g} seconds before it: "
            "the API takes no more"
        )
        notes = (note,)

    needs = Handover(kind="tail", clip_key=before.clip_key)
    video = VideoInput(video_url=needs.address, refer_type=refer_type)
    seconds = min(before.seconds, limit)
    return Opening(video=video, needs=needs, input_seconds=seconds, notes=notes)


def with_reference_video(opening: Opening, shown: AttachedReferences) -> Opening:
    """Make a video that is referred to the one video of the request."""
    if shown.video is None:
        return opening
    if opening.video is None:
        video = VideoInput(video_url=shown.video, refer_type="feature")
        return replace(opening, video=video)
    if opening.video.video_url == shown.video:
        return opening
    raise ShotInvalid("second_video")


def silence(
    shot: Shot, settings: ShotSettings, opening: Opening
) -> tuple[ShotSettings, tuple[str, ...]]:
    """Switch inherited sound off where a video goes in.

    Sound that the shot itself asks for stays: the rules of the request refuse it.
    """
    if opening.video is None or settings.sound != "on" or shot.sound == "on":
        return settings, ()
    return settings.model_copy(update={"sound": "off"}), (SILENCED,)


def request_fields(
    settings: ShotSettings, shown: AttachedReferences, opening: Opening, prompt: str
) -> dict[str, object]:
    """Return the fields of a request.

    Raises `ShotInvalid` for a clip that is too short, or a prompt that is too long.
    """
    model = find_model(settings.model or DEFAULT_MODEL)
    duration = settings.duration or 0
    if duration < model.min_seconds:
        raise ShotInvalid(
            "clip_too_short", field="duration", value=duration, limit=model.min_seconds
        )

    videos = []
    if opening.video is not None:
        sound = settings.keep_original_sound or "no"
        videos.append(opening.video.model_copy(update={"keep_original_sound": sound}))
        if "<<<video_1>>>" not in shown.point(prompt):
            prompt = _PREFIX[opening.video.refer_type] + prompt

    watermark = None
    if settings.watermark:
        watermark = WatermarkInfo(enabled=True)

    return {
        **settings.model_dump(include={"model", "mode", "aspect_ratio", "sound", "duration"}),
        "prompt": of_length(shown.point(prompt), model.max_prompt_length),
        # Frames last, so that the pictures a prompt names by their place keep their numbers.
        "image_list": [*shown.images, *opening.frames],
        "element_list": shown.elements,
        "video_list": videos,
        "watermark_info": watermark,
    }
