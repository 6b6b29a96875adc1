"""Words and pictures: what a prompt becomes, and what is attached to it."""

from typing import Any

import pytest

from prefect_kling.studio.film.prompts import ShotInvalid, exhibit, full_text, of_length, resolve
from prefect_kling.studio.film.storyboard import ShotSettings, Storyboard

LINK = "https://example.com"
REFERENCES: dict[str, Any] = {
    "face": {"image": f"{LINK}/face.png"},
    "back": {"image": f"{LINK}/back.png"},
    "boat": {"element": 7},
    "street": {"video": f"{LINK}/street.mp4"},
    "alley": {"video": f"{LINK}/alley.mp4"},
    "夜": {"image": f"{LINK}/night.png"},
}
CHARACTERS: dict[str, Any] = {
    "Lina": {"description": "Lina, 30, red coat", "references": ["face", "back"]},
    "Jon": {"description": "Jon, as tall as <<<boat>>>", "references": []},
}
BOARD = Storyboard.model_validate(
    {
        "title": "T",
        "references": REFERENCES,
        "characters": CHARACTERS,
        "scenes": [{"shots": [{"prompt": "P"}]}],
    }
)


def settings(**said: Any) -> ShotSettings:
    """Settings of a shot."""
    return ShotSettings.model_validate(said)


def pointed(text: str, **said: Any) -> tuple[list[str], list[int], str | None, str]:
    """What a shot with this text shows the model, and the text as it is sent."""
    text = full_text(text, settings(**said), BOARD)
    shown = exhibit([text], settings(**said), BOARD)
    pictures = [image.image_url.removeprefix(f"{LINK}/") for image in shown.images]
    return (
        pictures,
        [element.element_id for element in shown.elements],
        shown.video,
        shown.point(text),
    )


def test_descriptions_and_look_follow_the_prompt_word_for_word() -> None:
    """Prompt, characters in the order they are listed, look: a line each."""
    told = full_text("She waits.", settings(characters=["Jon", "Lina"], look="35 mm, grain"), BOARD)
    assert told == "She waits.\nJon, as tall as <<<boat>>>\nLina, 30, red coat\n35 mm, grain"


def test_what_is_not_said_leaves_no_empty_line() -> None:
    """Without characters and with an empty look the prompt stays as it is."""
    assert full_text("She waits.", settings(look="", characters=[]), BOARD) == "She waits."


def test_a_mention_attaches_a_reference_and_points_at_its_place() -> None:
    """Each kind is counted by itself, from 1, in the order of the lists."""
    pictures, elements, video, told = pointed(
        "<<<back>>> and <<<boat>>> in <<<street>>>, then <<<face>>>"
    )
    assert (pictures, elements, video) == (["back.png", "face.png"], [7], f"{LINK}/street.mp4")
    assert told == "<<<image_1>>> and <<<element_1>>> in <<<video_1>>>, then <<<image_2>>>"


def test_everything_is_attached_once() -> None:
    """A reference listed, brought by a character and mentioned twice is one picture."""
    pictures, _, _, told = pointed(
        "<<<face>>>, <<<face>>>", references=["back", "back"], characters=["Lina"]
    )
    assert pictures == ["back.png", "face.png"]
    assert told.startswith("<<<image_2>>>, <<<image_2>>>\n")


def test_listed_references_come_before_the_characters_and_these_before_the_mentions() -> None:
    """So a reference that is only mentioned does not move the others."""
    pictures, *_ = pointed("<<<夜>>>", references=[f"{LINK}/sea.png"], characters=["Lina"])
    assert pictures == ["sea.png", "face.png", "back.png", "night.png"]


def test_a_description_and_a_look_may_mention_references_too() -> None:
    """What is repeated in every prompt is pointed at in every prompt."""
    pictures, elements, _, told = pointed("Rain.", characters=["Jon"], look="light as in <<<夜>>>")
    assert (pictures, elements) == (["night.png"], [7])
    assert told == "Rain.\nJon, as tall as <<<element_1>>>\nlight as in <<<image_1>>>"


def test_a_link_is_a_picture_without_a_name() -> None:
    """Where a reference's name may stand, a link may stand, and be mentioned."""
    pictures, _, _, told = pointed(f"like <<<{LINK}/sea.png>>>", references=[f"{LINK}/sky.png"])
    assert (pictures, told) == (["sky.png", "sea.png"], "like <<<image_2>>>")
    assert resolve("HTTPS://example.com/sea.png", BOARD).image == "HTTPS://example.com/sea.png"


def test_places_can_be_pointed_at_directly() -> None:
    """What is written the way the API writes it is sent as it is, and attaches nothing."""
    pictures, _, _, told = pointed("<<<image_2>>> near <<<image_1>>>", references=["face", "back"])
    assert (pictures, told) == (["face.png", "back.png"], "<<<image_2>>> near <<<image_1>>>")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"text": "<<<fase>>>"}, r"no reference called 'fase'; did you mean 'face'\?"),
        ({"text": "<<< face >>>"}, r"no reference called ' face '; did you mean 'face'\?"),
        ({"text": "<<<zzz>>>"}, "no reference called 'zzz'; this storyboard has "),
        ({"text": "P", "references": ["bak"]}, r"no reference called 'bak'; did you mean 'back'\?"),
        ({"text": "P", "references": [""]}, "no reference called ''; this storyboard has "),
        (
            {"text": "P", "characters": ["Line"]},
            r"no character called 'Line'; did you mean 'Lina'\?",
        ),
        ({"text": "P", "look": "<<<夛>>>"}, "no reference called '夛'; this storyboard has "),
        (
            {"text": "<<<street>>> into <<<alley>>>"},
            "2 videos are referred to; a request takes one",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_said_is_told(said: dict[str, Any], words: str) -> None:
    """An unknown name is told with the nearest one there is; a request has room for one video."""
    with pytest.raises(ShotInvalid, match=words):
        pointed(said.pop("text"), **said)


def test_a_prompt_has_a_length() -> None:
    """The limit itself is allowed, one character more is told with both numbers."""
    assert of_length("a" * 20, 20) == "a" * 20
    with pytest.raises(ShotInvalid, match="the prompt has 21 characters; the limit here is 20"):
        of_length("a" * 21, 20)


def test_a_name_in_unicode_is_a_name() -> None:
    """References may be called anything without angle brackets and blanks."""
    assert resolve("夜", BOARD).image == f"{LINK}/night.png"
