"""Storyboards: a document with errors that name the line."""

import json
from pathlib import Path

import pytest

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.plan import plan_film
from prefect_kling.studio.storyboard import Storyboard
from prefect_kling.studio.storyboard_file import load_storyboard, read_storyboard

ROOT = Path(__file__).parent.parent.parent
GOOD = """\
title: Harbour, éclair
defaults:
  duration: 4
  sound: on
scenes:
  - title: One
    continuity: last_frame
    mode: pro
    shots:
      - prompt: First
      - prompt: Second
        duration: 3
        sound: off
"""


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_can_be_planned(path: Path) -> None:
    """The shipped storyboards obey their own rules."""
    assert plan_film(load_storyboard(path)).shots


def test_what_is_nearest_to_the_shot_wins() -> None:
    """Shot over scene over film; a bare YAML `on` means the word."""
    first, second = plan_film(read_storyboard(GOOD)).shots
    assert (first.order.request.duration, second.order.request.duration) == (4, 3)
    assert (first.order.request.sound, second.order.request.sound) == ("on", "off")
    assert first.order.request.mode == second.order.request.mode == "pro"


def test_the_slug_is_a_folder_name() -> None:
    """Titles become plain lower-case folder names, whatever script they use."""
    assert read_storyboard(GOOD).slug == "harbour-eclair"
    slugs = {read_storyboard(GOOD.replace("Harbour, éclair", title)).slug for title in ("港", "夏", "Лето")}
    assert len(slugs) == 3, "films do not share a folder or a budget because of their script"


def test_json_is_read_too(tmp_path: Path) -> None:
    """The same film as JSON, indented with tabs, is the same film."""
    path = tmp_path / "film.json"
    path.write_text(json.dumps(json.loads(read_storyboard(GOOD).model_dump_json()), indent="\t"))
    assert load_storyboard(path) == read_storyboard(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("duration: 3", "duration: 40", 12, "scene 1, shot 2, duration"),
        ("prompt: Second", "prompt: ''", 11, "shot 2, prompt"),
        ("      - prompt: First\n", "      - title: First\n", 10, "prompt: this is required"),
        ("mode: pro", "mode: 4k", 8, "'std' or 'pro'"),
        ("continuity: last_frame", "continuity: jump", 7, "continuity"),
        ("    shots:", "    takes:", 6, "shots: this is required"),
        ("sound: off", "sound: quiet", 13, "'on' or 'off'"),
        ("duration: 4", "durations: 4", 3, "durations"),
        ("title: Harbour, éclair", "title: [a, b]", 1, "title"),
        ("scenes:\n", "scenes: none\nx:\n", 5, "scenes: Input should be a valid list"),
        ("- prompt: Second", "- prompt: : Second", 11, "mapping values"),
        ("duration: 4", "duration: 4\n  duration: 5", 4, "duration is given twice"),
        ("title: Harbour", "title: 'Harbour", 14, "found unexpected end of stream"),
    ],
    ids=lambda value: str(value)[:24].strip(),
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, words: str) -> None:
    """One mistake gives the file, the line, the field and the rule."""
    assert old in GOOD
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(GOOD.replace(old, new, 1), "film.yaml")
    assert f"film.yaml, line {line}" in str(caught.value)
    assert words in str(caught.value)


def test_a_ratio_needs_no_quotes() -> None:
    """YAML 1.1 would read 16:9 as a number of minutes."""
    board = read_storyboard(GOOD.replace("duration: 4", "aspect_ratio: 9:16"))
    assert board.defaults.aspect_ratio == "9:16"


def test_a_document_may_name_its_schema() -> None:
    """`$schema` is for editors and not part of the film."""
    assert read_storyboard('{"$schema": "x.json", "title": "T", "scenes": [{"shots": [{"prompt": "P"}]}]}').title == "T"


@pytest.mark.parametrize("text", ["", "just words", "[]", "{", "\x00", "[" * 5000, "title: 2024-99-99"])
def test_what_is_no_storyboard_is_refused(text: str) -> None:
    """Empty files, other documents and garbage give the same kind of error."""
    with pytest.raises(StoryboardInvalid):
        read_storyboard(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, or one that is no text, is told with its path."""
    with pytest.raises(StoryboardInvalid, match=r"nothing\.yaml"):
        load_storyboard(tmp_path / "nothing.yaml")
    (tmp_path / "film.mp4").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(StoryboardInvalid, match=r"film\.mp4"):
        load_storyboard(tmp_path / "film.mp4")


def test_a_rule_broken_by_the_combination_names_scene_and_shot() -> None:
    """What only the whole request shows is refused at planning, before anything is sent."""
    with pytest.raises(StoryboardInvalid, match=r"film.yaml, line 11: scene 1, shot 2: .*makes 3 to 10"):
        plan_film(
            read_storyboard(GOOD.replace("duration: 3", "duration: 12\n        model: kling-video-o1"), "film.yaml")
        )


def test_a_chain_knows_every_key_before_anything_is_made() -> None:
    """Changing a shot changes the keys of exactly the shots that follow it in the chain."""
    board = GOOD + "      - prompt: Third\n"
    before = [shot.order.clip_key for shot in plan_film(read_storyboard(board)).shots]
    after = [shot.order.clip_key for shot in plan_film(read_storyboard(board.replace("Second", "Zweite"))).shots]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]


def test_cut_shots_do_not_depend_on_each_other() -> None:
    """In a scene of cuts a change stays where it was made."""
    board = GOOD.replace("last_frame", "cut") + "      - prompt: Third\n"
    before = [shot.order.clip_key for shot in plan_film(read_storyboard(board)).shots]
    after = [shot.order.clip_key for shot in plan_film(read_storyboard(board.replace("Second", "Zweite"))).shots]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_the_inherited_frame_leaves_the_numbers_of_pictures_alone() -> None:
    """In a chain <<<image_1>>> stays the shot's own first picture."""
    own = "image_list: [{image_url: https://example.com/face.png}]"
    board = GOOD.replace("- prompt: Second", f"- prompt: <<<image_1>>> smiles\n        {own}")
    images = plan_film(read_storyboard(board)).shots[1].order.request.image_list
    assert [image.type for image in images] == [None, "first_frame"]


def test_shots_that_are_alike_are_priced_once() -> None:
    """Two equal shots are one clip and cost as much as one."""
    shot = "{prompt: Rain, duration: 5}"
    plan = plan_film(read_storyboard(f"title: T\nscenes:\n  - shots: [{shot}, {shot}]"))
    assert plan.usd == plan.shots[0].price.usd


def test_the_schema_describes_every_field() -> None:
    """Editors get a description for each field of the document."""
    schema = Storyboard.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    bare = [name for part in parts for name, field in part.get("properties", {}).items() if "description" not in field]
    assert [name for name in bare if name != "defaults"] == []
