"""Versions of a story: plain storyboards that differ in what a version says, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.pending import PendingFilm
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.planner import plan_film, plan_story
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import load_story
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.versions import expand, story_of

Said = dict[str, Any]
WORKSHOP = Path(__file__).parents[3] / "examples" / "workshop.yaml"
PICTURES = {f"key{number}": {"image": f"https://example.com/{number}.png"} for number in range(5)}


def film(*scenes: Said, **said: Any) -> Said:
    """A storyboard as a document."""
    return {"title": "T", "references": PICTURES, "scenes": [*scenes]} | said


def scene(*titles: str, **said: Any) -> Said:
    """A scene whose shots are called by these titles."""
    shots = [{"title": title, "prompt": f"Prompt {title}", "duration": 3} for title in titles]
    return {"shots": shots} | said


def films(document: Said) -> dict[str, Storyboard]:
    """The plain storyboards of a document, by version."""
    board = Storyboard.model_validate(document)
    return {each.name: each.board for each in expand(board)}


def plans(document: Said) -> dict[str, FilmPlan]:
    """The plans of a document, by version."""
    return plan_story(story_of(Storyboard.model_validate(document))).films


def shown(plan: FilmPlan) -> list[str]:
    """The titles of the shots that a film shows."""
    return [shot.title for clip in plan.clips if clip.shown for shot in clip.shots]


def keys(plan: FilmPlan) -> set[str]:
    """The keys of a film's clips."""
    return set(plan.by_key)


def test_a_storyboard_without_versions_and_variables_stays_as_it_is() -> None:
    """Whatever braces are in its texts: keys of earlier storyboards do not change."""
    board = Storyboard.model_validate(
        film({"shots": [{"prompt": "Say {{x}} and {y} and {{ z }}"}]})
    )
    [only] = expand(board)
    assert only.board is board
    [clip] = plan_film(board).clips
    assert clip.order.request.prompt == "Say {{x}} and {y} and {{ z }}"


def test_variables_stand_in_any_text() -> None:
    """Prompts, titles, looks, descriptions, names and links; a version's values before others."""
    document = film(
        {
            "title": "{{ product }}",
            "shots": [
                {"prompt": "{{product}} and <<<{{view}}>>>", "characters": ["{{who}}"]},
                {"prompt": "P", "first_frame": "{{view}}"},
            ],
        },
        title="A {{product}}",
        tags={"client": "{{who}}"},
        defaults={"look": "{{product}} colours", "duration": 3},
        references={"front": {"image": "https://example.com/{{product}}.png"}},
        characters={"Ada": {"description": "Ada with {{product}}"}},
        variables={"product": "mug", "view": "front", "who": "Ada"},
        versions=[{"name": "jug", "variables": {"product": "jug"}}, {"name": "mug", "mode": "pro"}],
    )
    made = films(document)
    assert [board.title for board in made.values()] == ["A jug: jug", "A mug: mug"]
    assert made["jug"].tags == {"client": "Ada"}
    assert made["jug"].scenes[0].title == "jug"
    first, second = plan_film(made["jug"]).clips
    prompt = "jug and <<<image_1>>>\nAda with jug\njug colours"
    assert first.order.request.prompt == prompt
    link = "https://example.com/jug.png"
    assert [image.image_url for image in first.order.request.image_list] == [link]
    assert [image.image_url for image in second.order.request.image_list] == [link]


def test_a_storyboard_with_variables_alone_is_one_film() -> None:
    """It is planned as it stands, with their values."""
    board = Storyboard.model_validate(
        film({"shots": [{"prompt": "{{product}} turns"}]}, variables={"product": "A mug"})
    )
    [clip] = plan_film(board).clips
    assert clip.order.request.prompt == "A mug turns"
    other = board.model_copy(update={"variables": {"product": "A jug"}})
    assert PendingFilm(storyboard=board).path != PendingFilm(storyboard=other).path


def test_settings_of_a_version_count_before_those_of_shots() -> None:
    """As if the whole film had been written so: what is inherited stays inherited."""
    document = film(
        scene("A", "B", mode="pro"),
        scene("C", "D", continuity="multi_shot"),
        scene("E", "F", continuity="reference_video", sound="off"),
        versions=[
            {"name": "as it is", "mode": "std"},
            {"name": "other", "mode": "pro", "aspect_ratio": "9:16", "duration": 4, "sound": "on"},
        ],
    )
    said = [clip.order.request for clip in plans(document)["other"].clips]
    assert {request.mode for request in said} == {"pro"}
    assert {request.aspect_ratio for request in said} == {"9:16"}
    assert [request.duration for request in said] == [4, 4, 8, 4, 4]
    # Sound is switched off where a video goes in, as any inherited sound is.
    assert [request.sound for request in said] == ["on", "on", "on", "on", "off"]


def test_shots_and_scenes_are_left_out_by_number_or_title() -> None:
    """A scene that has none left is gone."""
    story = film(
        scene("A", "B", title="One"),
        scene("C", "D", title="Two"),
        versions=[
            {"name": "titles", "without": ["B", "Two"]},
            {"name": "numbers", "only": ["1.2", "2"], "without": ["2.1"]},
        ],
    )
    made = plans(story)
    assert shown(made["titles"]) == ["A"]
    assert len(made["titles"].scenes) == 1
    assert shown(made["numbers"]) == ["B", "D"]


@pytest.mark.parametrize("continuity", ["last_frame", "reference_video", "edit"])
def test_a_left_out_shot_that_a_later_one_is_made_from_is_not_shown(continuity: str) -> None:
    """So a cut has no clips of its own: it is the film with less of it."""
    story = film(
        scene("A", "B", "C", "D", continuity=continuity),
        versions=[
            {"name": "whole", "mode": "std"},
            {"name": "cut", "without": ["B", "D"]},
        ],
    )
    made = plans(story)
    assert shown(made["cut"]) == ["A", "C"]
    assert keys(made["cut"]) < keys(made["whole"])
    assert len(made["cut"].clips) == 3


def test_a_chain_that_begins_anew_needs_nothing_of_what_is_left_out_before() -> None:
    """A shot with `continuity: cut` ends what its scene would chain."""
    chain = scene("A", "B", "C", continuity="last_frame")
    chain["shots"][1]["continuity"] = "cut"
    story = film(chain, versions=[{"name": "cut", "only": ["B", "C"]}])
    assert [shot.title for clip in plans(story)["cut"].clips for shot in clip.shots] == ["B", "C"]


def test_shots_with_keyframes_keep_their_pictures() -> None:
    """The others still begin and end with the pictures that their places gave them."""
    story = film(
        scene("A", "B", "C", continuity="keyframes", keyframes=["key0", "key1", "key2"]),
        versions=[{"name": "whole", "mode": "std"}, {"name": "cut", "without": ["A"]}],
    )
    made = plans(story)
    assert shown(made["cut"]) == ["B", "C"]
    assert keys(made["cut"]) < keys(made["whole"])
    assert len(made["cut"].clips) == 2


def test_a_multi_shot_scene_without_a_shot_is_another_clip() -> None:
    """The model cuts it; nothing of it can be hidden."""
    story = film(
        scene("A", "B", "C", continuity="multi_shot"),
        versions=[{"name": "whole", "mode": "std"}, {"name": "cut", "without": ["B"]}],
    )
    made = plans(story)
    assert [shot.title for shot in made["cut"].clips[0].shots] == ["A", "C"]
    assert keys(made["cut"]).isdisjoint(keys(made["whole"]))


async def test_what_does_not_differ_is_in_the_quote_once() -> None:
    """Three shapes, two languages, two cuts: 15 clips for 32, at the price of 15."""
    plan = plan_story(load_story(WORKSHOP))
    assert len(plan.together.clips) == 32
    assert len(plan.together.by_key) == 15
    quote = await quote_film(plan.together, None)
    assert quote.usd == sum(clip.price.usd for clip in plan.together.by_key.values())
    assert [(cost.clips, cost.shared) for cost in quote.by_version] == [
        *[(4, 0)] * 3,
        *[(4, 3)] * 3,
        *[(4, 4)] * 2,
    ]
    assert sum(cost.usd for cost in quote.by_version) == quote.usd
    assert [cost.seconds for cost in quote.by_version[-2:]] == [9, 6]


def test_the_films_of_versions_have_names_of_their_own_and_one_budget() -> None:
    """Names of parts begin with the version only where several films are shown together."""
    plan = plan_story(load_story(WORKSHOP))
    assert plan.together.slug == "from-the-workshop"
    assert len({film.slug for film in plan.films.values()}) == 8
    assert plan.films["tall"].clips[0].name == "1.1 Clay"
    assert "tall: 1.1 Clay" in [clip.name for clip in plan.together.clips]
    assert "tall: scene 1 The workshop" in [scene.name for scene in plan.together.scenes]


def test_notes_are_about_one_version_and_not_about_their_differences() -> None:
    """Versions of two shapes are no film of two shapes."""
    two = [{"name": "wide", "aspect_ratio": "16:9"}, {"name": "tall", "aspect_ratio": "9:16"}]
    plan = plan_story(story_of(Storyboard.model_validate(film(scene("A", "B"), versions=two))))
    assert plan.together.notes == []
    mixed = scene("A", "B")
    mixed["shots"][0]["mode"] = "pro"
    plan = plan_story(story_of(Storyboard.model_validate(film(mixed, versions=two))))
    assert [note.partition(": shots differ in")[0] for note in plan.together.notes] == [
        "wide",
        "tall",
    ]


def test_one_film_is_not_planned_from_several_versions() -> None:
    """Who plans a film is told what makes them all."""
    board = Storyboard.model_validate(film(scene("A"), versions=[{"name": "a", "mode": "pro"}]))
    with pytest.raises(StoryboardInvalid, match=r"has versions \(a\), and this makes one film"):
        plan_film(board)


def test_versions_are_chosen_by_name() -> None:
    """A name that there is not is told with the one that was meant."""
    story = load_story(WORKSHOP)
    assert [film.name for film in story.chosen(["tall-de", "wide"]).films] == ["wide", "tall-de"]
    assert story.chosen([]) is story
    with pytest.raises(StoryboardInvalid, match="no version 'tal'; did you mean 'tall'"):
        story.chosen(["tal"])
