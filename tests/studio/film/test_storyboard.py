"""The storyboard as a model: what is nearest counts, and names that folders and people can bear."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from prefect_kling.kling.models import ModelSpecification, register_model, unregister_model
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard, storyboard_schema
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    in_words,
)


def board(**fields: Any) -> Storyboard:
    """A film of one shot with these fields."""
    return Storyboard.model_validate(
        {"title": "T", "scenes": [{"shots": [{"prompt": "P"}]}]} | fields
    )


def test_what_is_nearest_to_the_shot_wins() -> None:
    """What a shot leaves open is taken from its scene, and then from the defaults."""
    shot = Shot(prompt="P", duration=3, look="")
    scene = Scene(mode="pro", duration=4, look="grain", shots=[shot])
    nearest = shot.over(scene.over(ShotSettings(mode="std", sound="on", duration=5)))
    assert nearest.settings() == {"mode": "pro", "sound": "on", "duration": 3, "look": ""}


@pytest.mark.parametrize(
    ("title", "slug"), [("Harbour, éclair", "harbour-eclair"), ("  A -- b_c! ", "a-b-c")]
)
def test_the_slug_is_a_folder_name(title: str, slug: str) -> None:
    """Titles become plain lower-case folder names."""
    assert board(title=title).slug == slug


def test_films_do_not_share_a_folder_because_of_their_script() -> None:
    """A title without Latin letters is named by its hash, so budgets and films stay apart."""
    assert len({board(title=title).slug for title in ("港", "夏", "Лето", "film")}) == 4


@pytest.mark.parametrize(
    ("titles", "earlier"),
    [
        (("上海之夜 1", "北京之晨 1"), "1"),
        (("Серия 2", "Фильм 2"), "2"),
        (("فيلم A", "مسلسل A"), "a"),
        (("Straße", "Strase", "Stra e"), ""),
    ],
)
def test_titles_that_ascii_cannot_tell_apart_are_different_films(
    titles: tuple[str, ...], earlier: str
) -> None:
    """The slug that they once shared is known, for what is stored there counts."""
    assert len({board(title=title).slug for title in titles}) == len(titles)
    if earlier:
        assert {board(title=title).earlier_slug for title in titles} == {earlier}


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("First light", "first-light"),
        ("Ålesund № 5, „Übergang“ … ½", "alesund-no-5-ubergang-12"),
        ("Café ☕ 12", "cafe-12"),
        ("\uff26\uff55\uff4c\uff4c width", "full-width"),
        ("e\u0301te\u0301", "ete"),
        ("¡Olé! ¿Qué?", "ole-que"),
    ],
)
def test_all_other_slugs_stay_as_they_were(title: str, slug: str) -> None:
    """Folders and budgets of earlier versions are named by them."""
    assert board(title=title).slug == slug
    assert board(title=title).earlier_slug == ""


@pytest.mark.parametrize(
    "said", [{}, {"image": "a.png", "video": "a.mp4"}, {"image": "a.png", "element": 7}]
)
def test_a_reference_is_one_thing(said: dict[str, Any]) -> None:
    """Nothing, or two things at once, is refused with one error."""
    with pytest.raises(ValidationError) as caught:
        Reference.model_validate(said)
    assert [error["type"] for error in caught.value.errors()] == ["one_of"]


@pytest.mark.parametrize(
    ("model", "said", "type_"),
    [
        (Shot, {"prompt": ""}, "string_too_short"),
        (Shot, {"prompt": "P", "take": 0}, "greater_than_equal"),
        (Shot, {"prompt": "P", "continuity": "multi_shot"}, "literal_error"),
        (Scene, {"shots": []}, "too_short"),
        (Character, {"references": []}, "missing"),
        (ShotSettings, {"duration": 16}, "less_than_equal"),
        (ShotSettings, {"crossfade": 3.1}, "less_than_equal"),
        (ShotSettings, {"characters": ["two words"]}, "string_pattern_mismatch"),
        (Storyboard, {"title": "T", "scenes": []}, "too_short"),
    ],
    ids=str,
)
def test_limits_of_fields_are_kept(
    model: type[BaseModel], said: dict[str, Any], type_: str
) -> None:
    """Each field refuses what it cannot hold."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(said)
    assert [error["type"] for error in caught.value.errors()] == [type_]


@pytest.mark.parametrize("name", ["two words", "a<b", ""])
def test_names_can_be_mentioned_in_a_prompt(name: str) -> None:
    """A name with a space or a bracket could not be found between `<<<` and `>>>`."""
    with pytest.raises(ValidationError):
        board(references={name: {"element": 1}})
    with pytest.raises(ValidationError):
        board(characters={name: {"description": "A"}})


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((), "the storyboard"),
        (("scenes", 0, "shots", 1, "duration"), "scene 1, shot 2, duration"),
        (("scenes", 2, "keyframes", 0), "scene 3, keyframe 1"),
        (("references", "hero", "image"), "references, hero, image"),
    ],
)
def test_places_are_said_in_words(place: Place, words: str) -> None:
    """Scenes and shots are counted from 1, as people do."""
    assert in_words(place) == words


def test_a_storyboard_survives_json() -> None:
    """It is a parameter of flows, and they send their parameters as JSON."""
    one = board(references={"hero": {"element": 7}}, defaults={"look": "grain"})
    assert Storyboard.model_validate_json(one.model_dump_json()) == one


@pytest.fixture
def longer_model() -> Iterator[str]:
    """A model whose clips and prompts may be longer than those of the built-in models."""
    specification = ModelSpecification(
        name="kling-v4",
        as_of=date(2026, 11, 26),
        source="the price list of an account",
        max_seconds=20,
        max_prompt_length=3000,
        rates={"std": {"plain": Decimal("0.07")}, "pro": {"plain": Decimal("0.09")}},
    )
    register_model(specification)
    yield specification.name
    unregister_model(specification.name)


def film_text(model: str, duration: int) -> str:
    """A storyboard of one shot."""
    return (
        f"title: T\ndefaults: {{model: {model}}}\n"
        f"scenes:\n- shots:\n  - prompt: P\n    duration: {duration}\n"
    )


def test_a_duration_of_an_added_model_is_valid(longer_model: str) -> None:
    """A storyboard accepts what the model it names makes."""
    film = read_storyboard(film_text(longer_model, 20))
    assert film.scenes[0].shots[0].duration == 20


@pytest.mark.parametrize(
    ("model", "duration", "words"),
    [
        ("kling-v4", 21, "line 6: scene 1, shot 1, duration: 21 is too much; the most is 20"),
        ("kling-v3-omni", 16, "kling-v3-omni makes 3 to 15 seconds"),
    ],
)
@pytest.mark.usefixtures("longer_model")
def test_a_wrong_duration_is_refused_with_the_limit(model: str, duration: int, words: str) -> None:
    """Each shot is held to the limits of its own model."""
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(film_text(model, duration))
    assert words in caught.value.message


def test_the_json_schema_follows_the_known_models(longer_model: str) -> None:
    """Editors accept what some known model makes, and no more."""
    shot = storyboard_schema()["$defs"]["Shot"]["properties"]
    assert longer_model in shot["model"]["enum"]
    assert shot["duration"]["maximum"] == 20
    assert shot["prompt"]["maxLength"] == 3000
