"""Turn a storyboard into a plan: one request per clip, checked before anything is paid."""

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

# Characters of a prompt.
PROMPT_LIMIT = 2500
SEGMENT_LIMIT = 512

# Seconds of a clip.
SHORTEST_CLIP = 3
MULTI_SHOT_SECONDS = 15

# Shots of a multi_shot clip.
SEGMENTS = 6

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
        """Return the place of the scene, or of one of its shots, counted from 1."""
        if shot is None:
            return ("scenes", self.number - 1)
        return ("scenes", self.number - 1, "shots", shot - 1)

    @property
    def settings(self) -> ShotSettings:
        """The scene's settings over the film's defaults."""
        defaults = self.board.defaults.over(FIRST_SETTINGS)
        return self.scene.over(defaults)

    def sentences(self, error: ValidationError) -> str:
        """Say what is wrong with a request. The sentence of a rule names its field itself."""
        sentences = []
        for each in error.errors():
            if each["type"] == ERROR_TYPE:
                sentences.append(self.describe(each["ctx"]["violation"]))
            else:
                sentences.append(f"{in_words(each['loc'])}: {each['msg']}")
        return "; ".join(sentences)

    @contextmanager
    def refusing(self, shot: int | None = None) -> Iterator[None]:
        """Turn an error of a request or a shot into one that names the scene and the shot."""
        try:
            yield
        except ValidationError as error:
            told = self.sentences(error)
            raise StoryboardInvalid(f"{self.where(self.place(shot))}: {told}") from None
        except Unsayable as error:
            raise StoryboardInvalid(f"{self.where(self.place(shot))}: {error}") from None


def plan_film(
    storyboard: Storyboard,
    where: Callable[[Place], str] = in_words,
    describe: Callable[[Violation], str] = describe,
) -> FilmPlan:
    """Turn a storyboard into orders. The same storyboard gives the same plan.

    Free and offline. Reads the files that references name.

    `where` puts a place in the storyboard into words, `describe` a broken rule of the API.

    Raises `StoryboardInvalid`, which names the scene and shot whose request breaks a rule, or the
    reference whose file is not usable.
    """
    try:
        board = located(storyboard)
    except InputUnusable as error:
        raise StoryboardInvalid(f"{where(('references',))}: {error.summary}") from None

    for name in board.references:
        if BY_PLACE.fullmatch(name):
            told = f"<<<{name}>>> already points at a place in a request; take another name"
            raise StoryboardInvalid(f"{where(('references', name))}: {told}")

    shots = [shot for scene in board.scenes for shot in scene.shots]
    if not any(shot.shown for shot in shots):
        raise StoryboardInvalid(f"{where(('scenes',))}: no shot is shown, so there is no film")

    scenes = []
    for number, scene in enumerate(board.scenes, 1):
        page = _Page(board, scene, number, where, describe)
        scenes.append(_plan_scene(page))
    return FilmPlan(title=board.title, slug=board.slug, scenes=tuple(scenes), remarks=board.remarks)


def _plan_scene(page: _Page) -> PlannedScene:
    scene = page.scene
    with page.refusing():
        _check_keyframes(scene)

    clips: list[PlannedClip] = []
    if scene.continuity == "multi_shot":
        with page.refusing():
            clips.append(_plan_multi_shot(page))
    else:
        before = None
        for index, shot in enumerate(scene.shots, 1):
            with page.refusing(index):
                before = _plan_shot(page, index, shot, before)
            clips.append(before)

    return PlannedScene(
        number=page.number, title=scene.title, continuity=scene.continuity, clips=tuple(clips)
    )


def _check_keyframes(scene: Scene) -> None:
    """Raise `Unsayable` unless keyframes have a meaning here and their number fits."""
    shots = len(scene.shots)
    keyframes = len(scene.keyframes)

    if scene.continuity != "keyframes":
        if keyframes:
            raise Unsayable(
                "keyframes only have a meaning with continuity: keyframes, "
                f"this is {scene.continuity}"
            )
        return

    if keyframes not in (shots, shots + 1):
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

    seconds: float = request.duration
    input_seconds = None
    if request.edits_video:
        # An edited clip is as long as its video. A video of unknown length counts as the longest.
        input_seconds = opening.input_seconds
        seconds = input_seconds or find_model(request.model).max_input_seconds

    crossfade = 0.0
    if begins_anew(request, opening.needs, before):
        crossfade = settings.crossfade or 0.0

    return PlannedClip(
        scene=page.number,
        shots=(PlannedShot(number=index, title=shot.title, seconds=seconds),),
        order=ClipOrder(request=request, take=shot.take),
        needs=opening.needs,
        input_seconds=input_seconds,
        crossfade=crossfade,
        shown=shot.shown,
        notes=(*opening.notes, *notes),
    )


def _open(page: _Page, index: int, shot: Shot, before: PlannedClip | None) -> _Opening:
    """Return how a shot begins: by itself, or from the clip before it."""
    own = _own_opening(page.board, shot)
    scene = page.scene

    if scene.continuity == "keyframes" and shot.continuity is None:
        _demand_free(shot, "keyframes")
        return _Opening(frames=_frames(page.board, *scene.keyframes[index - 1 : index + 1]))

    if before is None and shot.continuity not in (None, "cut", scene.continuity):
        raise Unsayable(
            f"continuity: {shot.continuity} needs a shot before it, "
            "and this is the first of its scene"
        )

    link = shot.continuity or scene.continuity
    if before is None or link == "cut":
        return own
    _demand_free(shot, link)

    if link == "last_frame":
        if scene.handover == "sharpest":
            needs = Handover(kind="sharpest_frame", clip_key=before.clip_key)
        else:
            needs = Handover(kind="last_frame", clip_key=before.clip_key)
        first_frame = ImageInput(image_url=needs.address, type="first_frame")
        return _Opening(frames=(*own.frames, first_frame), needs=needs)

    settings = shot.over(page.settings)
    limit = find_model(settings.model or DEFAULT_MODEL).max_input_seconds
    if link == "edit":
        return _from_video(before, "base", limit)
    return _from_video(before, "feature", limit)


def _own_opening(board: Storyboard, shot: Shot) -> _Opening:
    """Return how a shot begins by itself: from its frames, or from the video that it edits."""
    frames_of_shot = (shot.first_frame, shot.end_frame)
    if shot.edit_of is None:
        return _Opening(frames=_frames(board, *frames_of_shot))

    reference = resolve(shot.edit_of, board)
    url = reference.video
    if url is None and reference.image == shot.edit_of:
        # A link without a name is resolved as a picture; here it is a video.
        url = shot.edit_of
    if url is None:
        raise Unsayable(f"edit_of: {shot.edit_of} is no video")
    video = VideoInput(video_url=url, refer_type="base")
    return _Opening(frames=_frames(board, *frames_of_shot), video=video)


def _frames(
    board: Storyboard, first: str | None = None, end: str | None = None
) -> tuple[ImageInput, ...]:
    """Return the pictures that a clip begins and ends with. Raises `Unsayable` for other things."""
    found = []
    for kind, name in (("first_frame", first), ("end_frame", end)):
        if name is None:
            continue
        image = resolve(name, board).image
        if image is None:
            raise Unsayable(f"{kind}: {name} is no picture")
        found.append(ImageInput.model_validate({"image_url": image, "type": kind}))
    return tuple(found)


def _demand_free(shot: Shot, link: str) -> None:
    """Raise `Unsayable` if a shot that continues another has a beginning of its own."""
    taken = ["edit_of", "end_frame", "first_frame"]
    if link == "last_frame":
        taken.remove("end_frame")

    for name in taken:
        if getattr(shot, name) is not None:
            raise Unsayable(
                f"{name}: with {link} the shot's beginning is given; "
                "say continuity: cut to begin anew"
            )


def _from_video(
    before: PlannedClip, refer_type: Literal["base", "feature"], limit: int
) -> _Opening:
    """Continue from the clip before as a video: its last `limit` seconds at most."""
    notes: tuple[str, ...] = ()
    if before.seconds > limit:
        if refer_type == "base":
            raise Unsayable(
                f"an edit takes at most {limit} seconds of video; "
                f"the shot before lasts {before.seconds:g}: shorten it"
            )
        note = (
            f"continues from the last {limit} of the {before.seconds:g} seconds before it: "
            "the API takes no more"
        )
        notes = (note,)

    needs = Handover(kind="tail", clip_key=before.clip_key)
    video = VideoInput(video_url=needs.address, refer_type=refer_type)
    seconds = min(before.seconds, limit)
    return _Opening(video=video, needs=needs, input_seconds=seconds, notes=notes)


def _with_reference_video(opening: _Opening, shown: Exhibits) -> _Opening:
    """Make a video that is referred to the one video of the request."""
    if shown.video is None:
        return opening
    if opening.video is None:
        video = VideoInput(video_url=shown.video, refer_type="feature")
        return replace(opening, video=video)
    if opening.video.video_url == shown.video:
        return opening
    raise Unsayable("a request takes one video, and this shot begins from one already")


def _silence(
    shot: Shot, settings: ShotSettings, opening: _Opening
) -> tuple[ShotSettings, tuple[str, ...]]:
    """Switch inherited sound off where a video goes in.

    Sound that the shot itself asks for stays: the rules of the request refuse it.
    """
    if opening.video is None or settings.sound != "on" or shot.sound == "on":
        return settings, ()
    return settings.model_copy(update={"sound": "off"}), (SILENCED,)


def _fields(
    settings: ShotSettings, shown: Exhibits, opening: _Opening, prompt: str
) -> dict[str, object]:
    """Return the fields of a request.

    Raises `Unsayable` for a clip that is too short, or a prompt that is too long.
    """
    duration = settings.duration or 0
    if duration < SHORTEST_CLIP:
        raise Unsayable(
            f"duration ({duration}): a clip has at least 3 seconds; "
            "shorter shots need a multi_shot scene"
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
        "prompt": of_length(shown.point(prompt), PROMPT_LIMIT, "the prompt"),
        # Frames last, so that the pictures a prompt names by their place keep their numbers.
        "image_list": [*shown.images, *opening.frames],
        "element_list": shown.elements,
        "video_list": videos,
        "watermark_info": watermark,
    }


def _plan_multi_shot(page: _Page) -> PlannedClip:
    """Plan a scene as one request. With a single shot, the model decides where to cut."""
    shots = page.scene.shots
    _check_segments(shots)

    each = [shot.over(page.settings) for shot in shots]
    texts = []
    for shot, settings in zip(shots, each, strict=True):
        texts.append(full_text(shot.prompt, settings, page.board))

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

    planned = []
    segments = []
    for number, (shot, settings) in enumerate(zip(shots, each, strict=True), 1):
        duration = settings.duration or 0
        planned.append(PlannedShot(number=number, title=shot.title, seconds=duration))
        if len(shots) > 1:
            text = shown.point(texts[number - 1])
            text = of_length(text, SEGMENT_LIMIT, f"the prompt of shot {number}")
            segments.append(Segment(prompt=text, duration=duration))

    fields = _fields(together, shown, opening, texts[0])
    fields["multi_shot"] = True
    if segments:
        fields["shot_type"] = "customize"
        fields["multi_prompt"] = segments
        fields["prompt"] = None
    else:
        fields["shot_type"] = "intelligence"

    # Raising the take of any shot has the whole clip made once more.
    take = 1 + sum(shot.take - 1 for shot in shots)
    request = VideoRequest.model_validate(fields)
    return PlannedClip(
        scene=page.number,
        shots=tuple(planned),
        order=ClipOrder(request=request, take=take),
        crossfade=each[0].crossfade or 0.0,
        notes=notes,
    )


def _check_segments(shots: Sequence[Shot]) -> None:
    """Raise `Unsayable` for too many shots, or for a field that only the whole clip can have."""
    if len(shots) > SEGMENTS:
        raise Unsayable(
            f"a multi_shot scene has at most {SEGMENTS} shots, this one has {len(shots)}"
        )

    for number, shot in enumerate(shots, 1):
        allowed = {"prompt", "title", "duration", "look", "characters", "references", "take"}
        if number == 1:
            allowed |= {"first_frame", "crossfade"}

        # Compared with the default: a storyboard that went through JSON has every field set.
        others = []
        for name, value in shot:
            if name not in allowed and value != Shot.model_fields[name].default:
                others.append(name)
        if others:
            raise Unsayable(
                f"shot {number}: in a multi_shot scene {' and '.join(sorted(others))} "
                "can only be said for the whole scene"
            )


def _each_once(lists: Iterable[list[str] | None]) -> list[str]:
    names: dict[str, None] = {}
    for some in lists:
        names.update(dict.fromkeys(some or ()))
    return list(names)
