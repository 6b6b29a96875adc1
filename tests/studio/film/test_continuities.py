"""What holds for every continuity, whichever there are."""

from itertools import pairwise
from typing import get_args

import pytest

from prefect_kling.studio.film.continuity.kind import Continuity
from prefect_kling.studio.film.continuity.registry import CONTINUITIES
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.storyboard import Link, Scene, Storyboard


def clips_of(kind: Continuity) -> tuple[PlannedClip, ...]:
    """Plan three shots of one scene."""
    scene: dict[str, object] = {
        "continuity": kind.name,
        "shots": [{"prompt": prompt} for prompt in ("A", "B", "C")],
    }
    if kind.name == "keyframes":
        scene["keyframes"] = [f"https://example.com/{number}.png" for number in range(4)]
    board = Storyboard.model_validate({"title": "T", "scenes": [scene]})
    return plan_film(board).clips


def test_storyboards_name_the_continuities_that_there_are() -> None:
    """The words of a storyboard and the registered kinds are the same."""
    assert set(get_args(Scene.model_fields["continuity"].annotation)) == set(CONTINUITIES)
    assert set(get_args(Link)) <= set(CONTINUITIES)


@pytest.mark.parametrize("kind", CONTINUITIES.values(), ids=lambda kind: kind.name)
def test_a_continuity_does_what_it_says_of_itself(kind: Continuity) -> None:
    """One clip or one for each shot; each waits for the clip before it exactly if it is serial."""
    clips = clips_of(kind)
    assert len(clips) == (1 if kind.is_one_clip else 3)

    assert clips[0].needs is None
    for before, clip in pairwise(clips):
        if not kind.is_serial:
            assert clip.needs is None
            continue
        assert clip.needs is not None
        assert clip.needs.clip_key == before.clip_key
        request = clip.order.request
        inputs = [image.image_url for image in request.image_list]
        inputs.extend(video.video_url for video in request.video_list)
        assert clip.needs.address in inputs
