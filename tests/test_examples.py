"""The example storyboards: they can be made, editors accept them, together they show everything."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from PIL import Image
from pydantic import BaseModel
from ruamel.yaml import YAML

from prefect_kling.studio.film.planner import plan_story
from prefect_kling.studio.film.reading.reader import (
    load_story,
    read_story,
    storyboard_schema,
)
from prefect_kling.studio.film.storyboard import (
    Character,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    Version,
)
from prefect_kling.studio.film.uploads import local_file

FOLDER = Path(__file__).parent.parent / "examples"
SCHEMA = FOLDER / "storyboard.schema.json"
PATHS = sorted(FOLDER.glob("*.yaml"))
each_example = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def as_editors_read(text: str) -> Any:
    """A document by the rules of YAML 1.2, where `on` and `no` are texts; not by our reader."""
    return YAML(typ="safe", pure=True).load(text)


def accepted(document: Any) -> bool:
    """Whether an editor finds nothing to mark."""
    return jsonschema.Draft202012Validator(storyboard_schema()).is_valid(document)


def parts(path: Path) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    """Every part of an example with what is written there."""
    film = as_editors_read(path.read_text())
    yield Storyboard, film
    yield ShotSettings, film.get("defaults", {})
    yield from ((Reference, each) for each in film.get("references", {}).values())
    yield from ((Character, each) for each in film.get("characters", {}).values())
    yield from ((Version, each) for each in film.get("versions", []))
    for scene in film["scenes"]:
        yield Scene, scene
        yield from ((Shot, shot) for shot in scene["shots"])


@each_example
def test_every_example_can_be_made_as_it_is(path: Path) -> None:
    """It is read and planned, breaks not even a disputed rule, and nothing is warned of."""
    for plan in plan_story(load_story(path)).films.values():
        assert [dispute for clip in plan.clips for dispute in clip.order.request.disputes()] == []
        assert plan.notes == []
        assert len(plan.by_key) == len(plan.clips)


@each_example
def test_every_example_is_short(path: Path) -> None:
    """6 to 20 seconds: it is cheap to try, and fast to make in the sandbox."""
    for plan in plan_story(load_story(path)).films.values():
        clips = [clip for clip in plan.used if clip.shown]
        # A video of one's own counts as the longest there may be until it is looked at; the one
        # here lasts 3 seconds.
        seconds = sum(
            3 if clip.order.request.edits_video and not clip.needs else clip.seconds
            for clip in clips
        )
        assert 6 <= seconds - sum(clip.crossfade for clip in clips) <= 20


@each_example
def test_editors_accept_every_example(path: Path) -> None:
    """The first line names the schema beside it, and by YAML 1.2 the document fulfils it."""
    text = path.read_text()
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA.name}\n")
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(as_editors_read(text))


def test_the_schema_beside_the_examples_is_the_one_of_the_code() -> None:
    """Whoever changes the format writes the file anew."""
    told = "run `prefect-kling schema > examples/storyboard.schema.json`"
    assert SCHEMA.read_text() == json.dumps(storyboard_schema(), indent=2) + "\n", told


OWN_FIELDS = {
    Storyboard: set(Storyboard.model_fields),
    ShotSettings: set(ShotSettings.model_fields),
    Scene: set(Scene.model_fields) - set(ShotSettings.model_fields),
    Shot: set(Shot.model_fields) - set(ShotSettings.model_fields),
    Version: set(Version.model_fields) - set(ShotSettings.model_fields),
    Reference: set(Reference.model_fields),
    Character: set(Character.model_fields),
}


@pytest.mark.parametrize("model", OWN_FIELDS, ids=lambda model: model.__name__)
def test_every_field_has_an_example(model: type[BaseModel]) -> None:
    """A field that no example shows is a field that nobody finds."""
    shown = {
        field
        for path in PATHS
        for kind, said in parts(path)
        if issubclass(kind, model)
        for field in said
    }
    assert OWN_FIELDS[model] - shown == set()


def test_every_continuity_has_an_example() -> None:
    """All six that a scene can have, and a shot that begins differently from its scene."""
    said = {
        (kind, part["continuity"])
        for path in PATHS
        for kind, part in parts(path)
        if "continuity" in part
    }
    assert {name for kind, name in said if kind is Scene} == set(
        get_args(Scene.model_fields["continuity"].annotation)
    )
    assert [name for kind, name in said if kind is Shot]


def test_the_pictures_are_small_and_all_are_used() -> None:
    """A picture has at most 30 kB, a video 60 kB, and each belongs to an example."""
    used = {
        path
        for example in PATHS
        for film in load_story(example).films
        for reference in film.board.references.values()
        if (path := local_file(reference))
    }
    media = {path for path in FOLDER.rglob("*") if path.suffix in (".jpg", ".png", ".mp4")}
    assert used == media
    assert {
        path.name
        for path in media
        if path.stat().st_size > (60_000 if path.suffix == ".mp4" else 30_000)
    } == set()
    for path in media - {path for path in media if path.suffix == ".mp4"}:
        with Image.open(path) as picture:
            assert min(picture.size) >= 300


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    if isinstance(schema, dict):
        yield schema
        yield from (inner for value in schema.values() for inner in schemas(value))
    elif isinstance(schema, list):
        yield from (inner for value in schema for inner in schemas(value))


def test_the_schema_describes_every_field() -> None:
    """Editors show a sentence for each field, on one line, and the choices as a plain list."""
    schema = storyboard_schema()
    fields = [
        each for part in [schema, *schema["$defs"].values()] for each in part["properties"].items()
    ]
    assert [name for name, field in fields if "\n" in field.get("description", "\n")] == []
    assert not any("anyOf" in each or each.get("type") == "null" for each in schemas(schema))
    assert not any(
        "default" in each and each["default"] in (None, [], {}, "") for each in schemas(schema)
    )
    shot = schema["$defs"]["Shot"]["properties"]
    assert shot["sound"]["enum"] == ["on", "off"]
    assert (shot["duration"]["minimum"], shot["duration"]["maximum"], shot["take"]["default"]) == (
        1,
        15,
        1,
    )


SHOT = {"prompt": "P"}


@pytest.mark.parametrize(
    "said",
    [
        {"titel": "T"},
        {"scenes": []},
        {"scenes": [{"shots": []}]},
        {"scenes": [{"shots": [{"title": "A"}]}]},
        {"scenes": [{"continuity": "last-frame", "shots": [SHOT]}]},
        {"scenes": [{"shots": [SHOT | {"continuity": "multi_shot"}]}]},
        {"scenes": [{"shots": [SHOT | {"look": None}]}]},
        {"defaults": {"duration": 40}},
        {"defaults": {"duration": 2.5}},
        {"references": {"a": {}}},
        {"references": {"a": {"image": "a.png", "video": "a.mp4"}}},
        {"references": {"two words": {"element": 1}}},
        {"characters": {"a": {"references": []}}},
        {"characters": {"a" * 61: {"description": "A"}}},
    ],
    ids=str,
)
def test_editors_mark_what_would_be_refused(said: dict[str, Any]) -> None:
    """Mistakes in fields, choices, ranges and names are seen while they are typed."""
    good = {"title": "T", "scenes": [{"shots": [SHOT]}]}
    assert accepted(good)
    assert accepted(good | {"$schema": "storyboard.schema.json"})
    assert not accepted(good | said)


@each_example
def test_what_editors_accept_is_read(path: Path) -> None:
    """The schema allows nothing that the reader refuses: an example is the same film as JSON."""
    document = as_editors_read(path.read_text())
    assert accepted(document)
    assert read_story(json.dumps(document), "film.json", FOLDER) == load_story(path)
