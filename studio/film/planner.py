"""From a storyboard to a plan: each continuity turned into requests, and its limits checked while nothing is paid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from prefect_kling.kling.models import DEFAULT_MODEL, find_model
from prefect_kling.kling.request import ImageInput, Segment, VideoInput, VideoRequest, WatermarkInfo
from prefect_kling.kling.violations import ERROR_TYPE, Violation, describe
from prefect_kling.studio.errors import InputUnusable, StoryboardInvalid
from prefect_kling.studio.film.plan import (
    FilmPlan,
    Handover,
    PlannedClip,
    PlannedScene,
    PlannedShot,
    begins_anew,
)
from prefect_kling.studio.film.prompts import (
    BY_PLACE,
    Exhibits,
    Unsayable,
    exhibit,
    full_text,
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
from prefect_kling.studio.film.uploads import located
from prefect_kling.studio.money.orders import ClipOrder

FIRST_SETTINGS = ShotSettings(
    model=DEFAULT_MODEL, mode="std", aspect_ratio="16:9", sound="off", duration=5
)
PROMPT_LIMIT, SEGMENT_LIMIT = 2500, 512
SHORTEST_CLIP, SEGMENTS, MULTI_SHOT_SECONDS = 3, 6, 15
SILENCED = "made without sound: Kling makes none where a video goes in"
_PREFIX = {"feature": "Based on <<<video_1>>>, the next shot: ", "base": "Edit <<<video_1>>>: "}


@dataclass(frozen=True)
class _Opening:
    """How a clip begins: what the continuity adds to its request."""

    frames: tuple[ImageInput, ...] = ()
    video: VideoInput | None = None
    needs: Handover | None = None
    input_seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Page:
    """The scene being planned, and how to name a place in it."""

    board: Storyboard
    scene: Scene
    number: int
    where: Callable[[Place], str]
    describe: Callable[[Violation], str]

    def place(self, shot: int | None = None) -> Place:
        scene: Place = ("scenes", self.number - 1)
        return scene if shot is None else (*scene, "shots", shot - 1)

    @property
    def settings(self) -> ShotSettings:
        return self.scene.over(self.board.defaults.over(FIRST_SETTINGS))

    def sentences(self, error: ValidationError) -> str:
        """Say what is wrong with a request and with which field; a rule's sentence names its field itself."""
        sentences = []
        for each in error.errors():
            if each["type"] == ERROR_TYPE:
                sentences.append(self.describe(each["ctx"]["violation"]))
            else:
                sentences.append(f"{in_words(each['loc'])}: {each['msg']}")
        return "; ".join(sentences)

    @contextmanager
    def refusing(self, shot: int | None = None) -> Iterator[None]:
        """Turn what goes wrong inside into an error that names the scene and the shot."""
        try:
            yield
        except ValidationError as error:
            raise StoryboardInvalid(
                f"{self.where(self.place(shot))}: {self.sentences(error)}"
            ) from None
        except Unsayable as error:
            raise StoryboardInvalid(f"{self.where(self.place(shot))}: {error}") from None


def plan_film(
    storyboard: Storyboard,
    where: Callable[[Place], str] = in_words,
    describe: Callable[[Violation], str] = describe,
) -> FilmPlan:
    """Turn a storyboard into orders. Free, and the same every time; reads the files that references name.

    Raises `StoryboardInvalid` naming the scene and shot whose request breaks a rule, or the reference whose file is
    not usable. `where` says how a place is named, `describe` how a broken rule of the API is.
    """
    try:
        board = located(storyboard)
    except InputUnusable as error:
        raise StoryboardInvalid(f"{where(('references',))}: {error.summary}") from None
    for name in filter(BY_PLACE.fullmatch, board.references):
        told = f"<<<{name}>>> already points at a place in a request; take another name"
        raise StoryboardInvalid(f"{where(('references', name))}: {told}")
    if not any(shot.shown for scene in board.scenes for shot in scene.shots):
        raise StoryboardInvalid(f"{where(('scenes',))}: no shot is shown, so there is no film")
    scenes = [
        _plan_scene(_Page(board, scene, number, where, describe))
        for number, scene in enumerate(board.scenes, 1)
    ]
    return FilmPlan(title=board.title, slug=board.slug, scenes=tuple(scenes))


def _plan_scene(page: _Page) -> PlannedScene:
    scene = page.scene
    with page.refusing():
        _check_keyframes(scene)
    clips: list[PlannedClip] = []
    if scene.continuity == "multi_shot":
        with page.refusing():
            clips.append(_plan_multi_shot(page))
    else:
        for index, shot in enumerate(scene.shots, 1):
            with page.refusing(index):
                clips.append(_plan_shot(page, index, shot, clips[-1] if clips else None))
    return PlannedScene(
        number=page.number, title=scene.title, continuity=scene.continuity, clips=tuple(clips)
    )


def _check_keyframes(scene: Scene) -> None:
    shots, keyframes = len(scene.shots), len(scene.keyframes)
    if scene.continuity != "keyframes":
        if keyframes:
            raise Unsayable(
                f"keyframes only have a meaning with continuity: keyframes, this is {scene.continuity}"
            )
    elif keyframes not in (shots, shots + 1):
        needed = f"{shots + 1} keyframes, or {shots} if the last shot may end freely"
        raise Unsayable(f"{shots} shots share {needed}, and not {keyframes}")


def _plan_shot(page: _Page, index: int, shot: Shot, before: PlannedClip | None) -> PlannedClip:
    settings = shot.over(page.settings)
    opening = _open(page, index, shot, before)
    prompt = full_text(shot.prompt, settings, page.board)
    shown = exhibit([prompt], settings, page.board)
    opening = _with_reference_video(opening, shown)
    settings, notes = _silence(shot, settings, opening)
    request = VideoRequest.model_validate(_fields(settings, shown, opening, prompt))
    seconds = (
        (opening.input_seconds or find_model(request.model).max_input_seconds)
        if request.edits_video
        else request.duration
    )
    return PlannedClip(
        scene=page.number,
        shots=(PlannedShot(number=index, title=shot.title, seconds=seconds),),
        order=ClipOrder(request=request, take=shot.take),
        needs=opening.needs,
        input_seconds=opening.input_seconds if request.edits_video else None,
        crossfade=settings.crossfade or 0.0 if begins_anew(request, opening.needs, before) else 0.0,
        shown=shot.shown,
        notes=(*opening.notes, *notes),
    )


def _open(page: _Page, index: int, shot: Shot, before: PlannedClip | None) -> _Opening:
    """Say how a shot begins: by itself, or from the clip before it."""
    own = _own_opening(page.board, shot)
    scene = page.scene
    if scene.continuity == "keyframes" and shot.continuity is None:
        _demand_free(shot, "keyframes")
        return _Opening(frames=_frames(page.board, *scene.keyframes[index - 1 : index + 1]))
    if before is None and shot.continuity not in (None, "cut", scene.continuity):
        raise Unsayable(
            f"continuity: {shot.continuity} needs a shot before it, and this is the first of its scene"
        )
    link = shot.continuity or scene.continuity
    if before is None or link == "cut":
        return own
    _demand_free(shot, link)
    if link == "last_frame":
        needs = Handover(
            kind="sharpest_frame" if scene.handover == "sharpest" else "last_frame",
            clip_key=before.clip_key,
        )
        frames = *own.frames, ImageInput(image_url=needs.address, type="first_frame")
        return _Opening(frames=frames, needs=needs)
    limit = find_model(shot.over(page.settings).model or DEFAULT_MODEL).max_input_seconds
    return _from_video(before, "base" if link == "edit" else "feature", limit)


def _own_opening(board: Storyboard, shot: Shot) -> _Opening:
    video = None
    if shot.edit_of is not None:
        reference = resolve(shot.edit_of, board)
        url = reference.video or (shot.edit_of if reference.image == shot.edit_of else None)
        if url is None:
            raise Unsayable(f"edit_of: {shot.edit_of} is no video")
        video = VideoInput(video_url=url, refer_type="base")
    return _Opening(frames=_frames(board, shot.first_frame, shot.end_frame), video=video)


def _frames(
    board: Storyboard, first: str | None = None, end: str | None = None
) -> tuple[ImageInput, ...]:
    found = []
    for kind, name in (("first_frame", first), ("end_frame", end)):
        if name is not None:
            image = resolve(name, board).image
            if image is None:
                raise Unsayable(f"{kind}: {name} is no picture")
            found.append(ImageInput.model_validate({"image_url": image, "type": kind}))
    return tuple(found)


def _demand_free(shot: Shot, link: str) -> None:
    """A shot that continues another has no beginning of its own."""
    taken = {"first_frame", "edit_of"} | (set() if link == "last_frame" else {"end_frame"})
    for name in sorted(taken):
        if getattr(shot, name) is not None:
            raise Unsayable(
                f"{name}: with {link} the shot's beginning is given; say continuity: cut to begin anew"
            )


def _from_video(
    before: PlannedClip, refer_type: Literal["base", "feature"], limit: int
) -> _Opening:
    """Continue from the clip before as a video: its last `limit` seconds at most."""
    notes: tuple[str, ...] = ()
    if before.seconds > limit:
        if refer_type == "base":
            raise Unsayable(
                f"an edit takes at most {limit} seconds of video; the shot before lasts {before.seconds:g}: shorten it"
            )
        notes = (
            f"continues from the last {limit} of the {before.seconds:g} seconds before it: the API takes no more",
        )
    needs = Handover(kind="tail", clip_key=before.clip_key)
    video = VideoInput(video_url=needs.address, refer_type=refer_type)
    seconds = min(before.seconds, limit)
    return _Opening(video=video, needs=needs, input_seconds=seconds, notes=notes)


def _with_reference_video(opening: _Opening, shown: Exhibits) -> _Opening:
    """Let a video that is referred to be the one video of the request."""
    if shown.video is None or (opening.video and opening.video.video_url == shown.video):
        return opening
    if opening.video is not None:
        raise Unsayable("a request takes one video, and this shot begins from one already")
    return replace(opening, video=VideoInput(video_url=shown.video, refer_type="feature"))


def _silence(
    shot: Shot, settings: ShotSettings, opening: _Opening
) -> tuple[ShotSettings, tuple[str, ...]]:
    """Switch inherited sound off where a video goes in; sound the shot itself asks for is left for the rules."""
    if opening.video is None or settings.sound != "on" or shot.sound == "on":
        return settings, ()
    return settings.model_copy(update={"sound": "off"}), (SILENCED,)


def _fields(
    settings: ShotSettings, shown: Exhibits, opening: _Opening, prompt: str
) -> dict[str, object]:
    duration, video = settings.duration or 0, opening.video
    if duration < SHORTEST_CLIP:
        raise Unsayable(
            f"duration ({duration}): a clip has at least 3 seconds; shorter shots need a multi_shot scene"
        )
    if video is not None:
        video = video.model_copy(
            update={"keep_original_sound": settings.keep_original_sound or "no"}
        )
        if "<<<video_1>>>" not in shown.point(prompt):
            prompt = _PREFIX[video.refer_type] + prompt
    return {
        **settings.model_dump(include={"model", "mode", "aspect_ratio", "sound", "duration"}),
        "prompt": of_length(shown.point(prompt), PROMPT_LIMIT, "the prompt"),
        # Frames last, so that the pictures a prompt names by their place keep their numbers.
        "image_list": [*shown.images, *opening.frames],
        "element_list": shown.elements,
        "video_list": [video] if video else [],
        "watermark_info": WatermarkInfo(enabled=True) if settings.watermark else None,
    }


def _plan_multi_shot(page: _Page) -> PlannedClip:
    """Plan a scene as one request; a single shot leaves it to the model where to cut."""
    shots = page.scene.shots
    _check_segments(shots)
    each = [shot.over(page.settings) for shot in shots]
    texts = [
        full_text(shot.prompt, settings, page.board)
        for shot, settings in zip(shots, each, strict=True)
    ]
    total = sum(settings.duration or 0 for settings in each)
    if not SHORTEST_CLIP <= total <= MULTI_SHOT_SECONDS:
        limits = f"{SHORTEST_CLIP} to {MULTI_SHOT_SECONDS}"
        raise Unsayable(f"its shots last {total} seconds together; a multi_shot scene has {limits}")
    together = page.settings.model_copy(
        update={
            "duration": total,
            "characters": _each_once(settings.characters for settings in each),
            "references": _each_once(settings.references for settings in each),
        }
    )
    shown = exhibit(texts, together, page.board)
    opening = _with_reference_video(_own_opening(page.board, shots[0]), shown)
    together, notes = _silence(shots[0], together, opening)
    several: dict[str, object] = {"multi_shot": True, "shot_type": "intelligence"}
    if len(shots) > 1:
        segments = [
            Segment(
                prompt=of_length(shown.point(text), SEGMENT_LIMIT, f"the prompt of shot {number}"),
                duration=settings.duration or 0,
            )
            for number, (text, settings) in enumerate(zip(texts, each, strict=True), 1)
        ]
        several |= {"shot_type": "customize", "multi_prompt": segments, "prompt": None}
    fields = _fields(together, shown, opening, texts[0]) | several
    return PlannedClip(
        scene=page.number,
        shots=tuple(
            PlannedShot(number=number, title=shot.title, seconds=settings.duration or 0)
            for number, (shot, settings) in enumerate(zip(shots, each, strict=True), 1)
        ),
        order=ClipOrder(
            request=VideoRequest.model_validate(fields),
            take=1 + sum(shot.take - 1 for shot in shots),
        ),
        crossfade=each[0].crossfade or 0.0,
        notes=notes,
    )


def _check_segments(shots: Sequence[Shot]) -> None:
    """A segment has a prompt and a length of its own; everything else is the clip's."""
    if len(shots) > SEGMENTS:
        raise Unsayable(
            f"a multi_shot scene has at most {SEGMENTS} shots, this one has {len(shots)}"
        )
    own = {"prompt", "title", "duration", "look", "characters", "references", "take"}
    for number, shot in enumerate(shots, 1):
        allowed = own | ({"first_frame", "crossfade"} if number == 1 else set())
        # By what stands there: a storyboard that went through JSON has every field set, most of them to nothing.
        others = sorted(
            {name for name, value in shot if value != Shot.model_fields[name].default} - allowed
        )
        if others:
            raise Unsayable(
                f"shot {number}: in a multi_shot scene {' and '.join(others)} can only be said for the whole scene"
            )


def _each_once(lists: Iterable[list[str] | None]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names or ()))
