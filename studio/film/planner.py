"""Turn a storyboard into a plan: one request per clip, checked before anything is paid."""

from collections.abc import Mapping

from prefect_kling.kling.models import find_model
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import InputUnusable, StoryboardInvalid
from prefect_kling.studio.film.continuity.kind import ShotContext
from prefect_kling.studio.film.continuity.registry import CONTINUITIES
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.plan import (
    FilmPlan,
    PlannedClip,
    PlannedScene,
    PlannedShot,
    StoryPlan,
    begins_anew,
)
from prefect_kling.studio.film.prompts import BY_PLACE, ShotInvalid, exhibit, full_text
from prefect_kling.studio.film.shot_compiler import (
    Opening,
    SceneContext,
    own_opening,
    request_fields,
    silence,
    with_reference_video,
)
from prefect_kling.studio.film.storyboard import Place, Shot, Storyboard
from prefect_kling.studio.film.takes import with_takes
from prefect_kling.studio.film.uploads import located
from prefect_kling.studio.film.versions import MOST_SHOTS, Story, story_of
from prefect_kling.studio.money.orders import ClipOrder


def plan_film(storyboard: Storyboard, picks: Mapping[str, int] | None = None) -> FilmPlan:
    """Turn a storyboard into orders. The same storyboard and picks give the same plan.

    Free and offline. Reads the files that references name. `picks` are takes that were picked
    elsewhere (`read_picks`), by the clip key of take 1; what the storyboard picks counts before
    them. A shot that is made from one without a pick is planned on its take 1.

    Raises `StoryboardInvalid`, whose `mistakes` name the scene and shot whose request breaks a
    rule, or the reference whose file is not usable; also for a storyboard with versions, which is
    planned by `plan_story`.
    """
    try:
        board = located(story_of(storyboard).single())
    except InputUnusable as error:
        raise _refused("other", ("references",), error.summary) from None

    for name in board.references:
        if BY_PLACE.fullmatch(name):
            raise _refused("name_of_place", ("references", name), name)

    shots = [shot for scene in board.scenes for shot in scene.shots]
    if not any(shot.shown for shot in shots):
        raise _refused("nothing_shown", ("scenes",))

    scenes = []
    for number, scene in enumerate(board.scenes, 1):
        scenes.append(_plan_scene(SceneContext(board, scene, number, picks or {})))
    return FilmPlan(
        title=board.title,
        slug=board.slug,
        earlier_slug=board.earlier_slug,
        scenes=tuple(scenes),
        remarks=board.remarks,
        tags=board.tags,
    )


def plan_story(story: Story, picks: Mapping[str, Mapping[str, int]] | None = None) -> StoryPlan:
    """Turn the films of a story into plans, by version. Free and offline, as `plan_film` is.

    `picks` are those of `plan_film`, by version.

    Raises `StoryboardInvalid` as `plan_film` does, and for versions whose films have the same
    clips.
    """
    given = picks or {}
    films: dict[str, FilmPlan] = {}
    named_after: dict[tuple[object, ...], str] = {}
    shots = 0
    for number, film in enumerate(story.films):
        plan = plan_film(film.board, given.get(film.name))
        films[film.name] = plan
        shots += sum(len(clip.shots) for clip in plan.clips)
        if shots > MOST_SHOTS:
            raise _refused("too_many_shots_of_versions", ("versions",), shots, MOST_SHOTS)
        seen = tuple((clip.clip_key, clip.shown, clip.crossfade) for clip in plan.clips)
        if seen in named_after:
            place = ("versions", number)
            raise _refused("version_alike", place, film.name, named_after[seen])
        named_after[seen] = film.name

    board = story.board if story.has_versions else story.single()
    remarks = dict.fromkeys(remark for plan in films.values() for remark in plan.remarks)
    return StoryPlan(
        title=board.title,
        slug=board.slug,
        earlier_slug=board.earlier_slug,
        films=films,
        remarks=tuple(remarks),
        tags=board.tags,
    )


def _refused(
    rule: str, place: Place, value: object = None, limit: object = None
) -> StoryboardInvalid:
    return StoryboardInvalid.of([Mistake(rule, place, value=value, limit=limit)])


def _plan_scene(context: SceneContext) -> PlannedScene:
    scene = context.scene
    continuity = CONTINUITIES[scene.continuity]
    with context.refusing():
        continuity.check(scene)
        if scene.pick is not None and not continuity.is_one_clip:
            raise ShotInvalid("pick_of_scene", field="pick", value=scene.pick)

    clips: list[PlannedClip] = []
    if continuity.is_one_clip:
        with context.refusing():
            planned = continuity.plan_scene(context)
            planned = with_takes(planned, scene, context.settings, context.picks)
        clips.extend(planned.every_take)
    else:
        before = None
        for index, shot in enumerate(scene.shots, 1):
            with context.refusing(index):
                before = _plan_shot(context, index, shot, before)
            clips.extend(before.every_take)

    return PlannedScene(
        number=context.number, title=scene.title, continuity=scene.continuity, clips=tuple(clips)
    )


def _plan_shot(
    context: SceneContext, index: int, shot: Shot, before: PlannedClip | None
) -> PlannedClip:
    settings = shot.over(context.settings)
    opening = _open(context, index, shot, before)
    prompt = full_text(shot.prompt, settings, context.board)
    shown = exhibit([prompt], settings, context.board)
    opening = with_reference_video(opening, shown)
    settings, notes = silence(shot, settings, opening)
    request = VideoRequest.model_validate(request_fields(settings, shown, opening, prompt))

    seconds: float = request.duration
    input_seconds = None
    if request.edits_video:
        # An edited clip is as long as its video. A video of unknown length counts as the longest.
        input_seconds = opening.input_seconds
        seconds = input_seconds or find_model(request.model).max_input_seconds

    crossfade = 0.0
    if begins_anew(request, opening.needs, before):
        crossfade = settings.crossfade or 0.0

    planned = PlannedClip(
        scene=context.number,
        shots=(PlannedShot(number=index, title=shot.title, seconds=seconds),),
        order=ClipOrder(request=request, take=shot.take),
        needs=opening.needs,
        input_seconds=input_seconds,
        crossfade=crossfade,
        shown=shot.shown,
        notes=(*opening.notes, *notes),
    )
    return with_takes(planned, shot, settings, context.picks)


def _open(context: SceneContext, index: int, shot: Shot, before: PlannedClip | None) -> Opening:
    """Return how a shot begins: by itself, or as its continuity has it."""
    own = own_opening(context.board, shot)
    scene = context.scene
    if before is None and shot.continuity not in (None, "cut", scene.continuity):
        raise ShotInvalid("first_of_scene", field="continuity", value=shot.continuity)

    continuity = CONTINUITIES[shot.continuity or scene.continuity]
    if continuity.is_serial and before is None:
        # The first shot of a chain begins as it says itself.
        return own
    continuity.require_free(shot)
    settings = shot.over(context.settings)
    shot_context = ShotContext(context, index, shot, settings, own)
    if before is not None and continuity.is_serial:
        return continuity.open_after(shot_context, before)
    return continuity.open(shot_context)
