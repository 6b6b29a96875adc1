"""Takes and picks in a plan: which clips there are, which one counts, and what is refused."""

from typing import Any

import pytest

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.pending import PendingFilm
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.storyboard import Storyboard


def board(*shots: dict[str, Any], takes: int | None = None, **scene: Any) -> Storyboard:
    """A film of one scene; each shot gets a prompt."""
    spoken = [{"prompt": f"Shot {number}"} | shot for number, shot in enumerate(shots, 1)]
    document = {"title": "T", "scenes": [{"shots": spoken} | scene]}
    if takes is not None:
        document["defaults"] = {"takes": takes}
    return Storyboard.model_validate(document)


def names(plan: FilmPlan) -> list[str]:
    """What the clips of a plan are called."""
    return [clip.name for clip in plan.clips]


def used(plan: FilmPlan) -> list[int]:
    """Which take of each shot counts."""
    return [clip.order.take for clip in plan.used]


def test_the_nearest_word_says_how_many_takes() -> None:
    """Each take is a clip of its own with the same request; a shot that says `take` has only it."""
    plan = plan_film(board({}, {"takes": 1}, {"take": 2}, {"takes": 2, "title": "Door"}, takes=3))
    assert names(plan) == [
        "1.1, take 1",
        "1.1, take 2",
        "1.1, take 3",
        "1.2",
        "1.3",
        "1.4 Door, take 1",
        "1.4 Door, take 2",
    ]
    assert [clip.order.take for clip in plan.clips] == [1, 2, 3, 1, 2, 1, 2]
    assert len({clip.first_take_key for clip in plan.clips}) == 4
    assert len(plan.by_key) == 7
    assert plan.usd == 7 * plan.clips[0].price.usd


def test_takes_change_no_key_that_was_there() -> None:
    """Take 1 of a shot is the clip of the same shot without takes, in a chain, too."""
    chain = {"continuity": "last_frame"}
    without = plan_film(board({}, {}, **chain))
    with_takes = plan_film(board({}, {}, takes=4, **chain))
    assert {clip.clip_key for clip in without.clips} <= set(with_takes.by_key)
    assert with_takes.used[1].clip_key == without.clips[1].clip_key


def test_a_pending_film_keeps_the_name_it_had_before_there_were_takes() -> None:
    """A storyboard without takes is written as earlier versions did; one with takes says them."""
    before = board({}, {"take": 2})
    assert "pick" not in before.model_dump_json()
    assert "takes" not in before.model_dump_json()
    assert PendingFilm(storyboard=before).path == "pending/t.08f0fd8ac9647fe6b8be90185d39ab11.json"
    said = board({"takes": 2, "pick": 2})
    assert Storyboard.model_validate_json(said.model_dump_json()) == said


def test_a_pick_counts_for_the_film_and_for_what_is_made_from_it() -> None:
    """The storyboard's own word before the archive's; without one take 1 counts and it is told."""
    chain: dict[str, Any] = {"continuity": "last_frame", "takes": 3}
    open_plan = plan_film(board({"title": "Door"}, {}, **chain))
    assert used(open_plan) == [1, 1]
    assert [clip.shot_name for clip in open_plan.open_picks] == ["1.1 Door", "1.2"]
    assert open_plan.notes == ["no take is picked of 1.1 Door, 1.2: take 1 counts until one is"]
    first = open_plan.used[0]
    assert open_plan.used[1].needs is not None
    assert open_plan.used[1].needs.clip_key == first.clip_key

    picked = plan_film(board({"title": "Door"}, {}, **chain), {first.clip_key: 2})
    assert used(picked) == [2, 1]
    assert picked.used[1].needs is not None
    assert picked.used[1].needs.clip_key == first.every_take[1].clip_key
    assert picked.used[1].clip_key not in open_plan.by_key

    said = plan_film(board({"title": "Door", "pick": 3}, {}, **chain), {first.clip_key: 2})
    assert used(said) == [3, 1]
    assert said.used[0].first_take_key == first.clip_key


def test_a_pick_is_asked_anew_when_the_shot_before_is_picked_anew() -> None:
    """It belongs to exactly one request; what does not hang on the change keeps its pick."""
    chain: dict[str, Any] = {"continuity": "last_frame", "takes": 2}
    first, second = plan_film(board({}, {}, **chain)).used
    picks = {first.clip_key: 1, second.clip_key: 2}
    assert used(plan_film(board({}, {}, **chain), picks)) == [1, 2]
    changed = plan_film(board({}, {}, **chain), picks | {first.clip_key: 2})
    assert used(changed) == [2, 1]
    assert [clip.shot_name for clip in changed.open_picks] == ["1.2"]


def test_what_hangs_on_an_open_pick_is_left_out_until_it_is_picked() -> None:
    """All takes of the open shot are made, nothing behind it in the chain."""
    chain: dict[str, Any] = {"continuity": "last_frame"}
    plan = plan_film(board({}, {"takes": 2}, {"takes": 2}, {}, {"continuity": "cut"}, **chain))
    assert names(plan.until_open_picks) == ["1.1", "1.2, take 1", "1.2, take 2", "1.5"]
    key = plan.open_picks[0].clip_key
    then = plan_film(
        board({}, {"takes": 2}, {"takes": 2}, {}, {"continuity": "cut"}, **chain), {key: 2}
    )
    assert names(then.until_open_picks) == [
        "1.1",
        "1.2, take 1",
        "1.2, take 2",
        "1.3, take 1",
        "1.3, take 2",
        "1.5",
    ]


def test_the_takes_of_a_multi_shot_scene_are_those_of_its_clip() -> None:
    """The scene says how many, and which one is picked."""
    plan = plan_film(board({}, {}, continuity="multi_shot", takes=2, pick=2))
    assert names(plan) == ["1.1-1.2, take 1", "1.1-1.2, take 2"]
    assert used(plan) == [2]
    shots = ({"take": 2}, {})
    assert names(plan_film(board(*shots, takes=3, continuity="multi_shot"))) == ["1.1-1.2"]


def test_shots_that_are_alike_share_takes_and_the_pick_of_the_archive() -> None:
    """They are one request; only the storyboard can show another take of it in each place."""
    alike = ({"prompt": "Rain"}, {"prompt": "Rain"})
    plan = plan_film(board(*alike, takes=2))
    assert len(plan.by_key) == 2
    assert len(plan.open_picks) == 1
    assert used(plan_film(board(*alike, takes=2), {plan.open_picks[0].clip_key: 2})) == [2, 2]
    shown = ({"prompt": "Rain", "pick": 2}, {"prompt": "Rain"})
    assert [clip.shot_name for clip in plan_film(board(*shown, takes=2)).open_picks] == ["1.2"]


def test_a_pick_of_more_takes_than_there_are_now_does_not_count() -> None:
    """Whoever lowers `takes` is told, and asked again."""
    key = plan_film(board({"takes": 3})).clips[0].clip_key
    plan = plan_film(board({"takes": 2}), {key: 3})
    assert used(plan) == [1]
    assert plan.notes == [
        "no take is picked of 1.1: take 1 counts until one is",
        "1.1: take 3 was picked, and there are 2: the pick does not count",
    ]


@pytest.mark.parametrize(
    ("shot", "told"),
    [
        ("takes: 2, pick: 3", "shot 1, pick: there is no take 3 to pick, only 1 to 2; `takes: 3`"),
        ("pick: 2", "shot 1, pick: there is one take only to pick from; say how many to make, as"),
        ("take: 2, takes: 3", "shot 1, takes: `take: 2` makes that take only; say `takes: 2` and"),
        ("take: 2, pick: 2", "shot 1, pick: `take: 2` makes that take only; say `takes: 2` and"),
        ("takes: 11", "shot 1, takes: 11 is too much; the most is 10"),
        ("takes: 0", "shot 1, takes: 0 is too little; the least is 1"),
        ("pick: first", "shot 1, pick: a whole number belongs here, like 5, not 'first'"),
    ],
)
def test_a_wrong_pick_is_told_with_its_line_and_what_to_say(shot: str, told: str) -> None:
    """Before anything is paid."""
    text = f"title: T\nscenes:\n  - shots:\n      - prompt: A\n      - {{prompt: B, {shot}}}\n"
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(text)
    line = f"storyboard, line 5: scene 1, {told.replace('shot 1', 'shot 2')}"
    assert str(caught.value).startswith(line)


def test_where_a_pick_of_a_scene_belongs_is_told() -> None:
    """A chain has a pick for each shot, a multi_shot scene one of its own."""
    chain = "title: T\nscenes:\n  - pick: 2\n    shots:\n      - {prompt: A}\n"
    with pytest.raises(StoryboardInvalid, match="line 3: scene 1, pick: a take is picked for each"):
        read_storyboard(chain)
    one = (
        "title: T\nscenes:\n  - continuity: multi_shot\n    shots:\n      - {prompt: A, pick: 2}\n"
    )
    with pytest.raises(StoryboardInvalid, match="pick can only be said for the whole scene"):
        read_storyboard(one)
