"""multi_shot: the whole scene is one clip, and the model cuts."""

from collections.abc import Iterable, Sequence

from prefect_kling.kling.models import DEFAULT_MODEL, ModelSpecification, find_model
from prefect_kling.kling.request import Segment, VideoRequest
from prefect_kling.studio.film.continuity.kind import Continuity
from prefect_kling.studio.film.plan import PlannedClip, PlannedShot
from prefect_kling.studio.film.prompts import ShotInvalid, exhibit, full_text, of_length
from prefect_kling.studio.film.shot_compiler import (
    SceneContext,
    own_opening,
    request_fields,
    silence,
    with_reference_video,
)
from prefect_kling.studio.film.storyboard import Shot
from prefect_kling.studio.money.orders import ClipOrder


class MultiShot(Continuity):
    """One request whose segments are the shots."""

    name = "multi_shot"
    is_one_clip = True

    def plan_scene(self, context: SceneContext) -> PlannedClip:
        """Plan a scene as one request. With a single shot, the model decides where to cut."""
        shots = context.scene.shots
        model = find_model(context.settings.model or DEFAULT_MODEL)
        _check_segments(shots, model)

        each = [shot.over(context.settings) for shot in shots]
        texts = []
        for shot, settings in zip(shots, each, strict=True):
            texts.append(full_text(shot.prompt, settings, context.board))

        total = sum(settings.duration or 0 for settings in each)
        if not model.min_seconds <= total <= model.max_seconds:
            limits = (model.min_seconds, model.max_seconds)
            raise ShotInvalid("scene_length", value=total, limit=limits)

        together = context.settings.model_copy(
            update={
                "duration": total,
                "characters": _each_once(settings.characters for settings in each),
                "references": _each_once(settings.references for settings in each),
            }
        )
        shown = exhibit(texts, together, context.board)
        opening = with_reference_video(own_opening(context.board, shots[0]), shown)
        together, notes = silence(shots[0], together, opening)

        planned = []
        segments = []
        for number, (shot, settings) in enumerate(zip(shots, each, strict=True), 1):
            duration = settings.duration or 0
            planned.append(PlannedShot(number=number, title=shot.title, seconds=duration))
            if len(shots) > 1:
                text = shown.point(texts[number - 1])
                of_length(text, model.max_shot_prompt_length, ("shots", number - 1))
                segments.append(Segment(prompt=text, duration=duration))

        fields = request_fields(together, shown, opening, texts[0])
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
            scene=context.number,
            shots=tuple(planned),
            order=ClipOrder(request=request, take=take),
            crossfade=each[0].crossfade or 0.0,
            notes=notes,
        )


def _check_segments(shots: Sequence[Shot], model: ModelSpecification) -> None:
    """Raise `ShotInvalid` for too many shots, or for a field that only the whole clip can have."""
    # The rules of the request refuse a model that makes no multi-shot clip.
    if model.max_shots and len(shots) > model.max_shots:
        raise ShotInvalid("too_many_shots", value=len(shots), limit=model.max_shots)

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
            raise ShotInvalid(
                "only_for_scene", place=("shots", number - 1), value=tuple(sorted(others))
            )


def _each_once(lists: Iterable[list[str] | None]) -> list[str]:
    names: dict[str, None] = {}
    for some in lists:
        names.update(dict.fromkeys(some or ()))
    return list(names)
