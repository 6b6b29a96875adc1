"""Read storyboards from YAML and JSON, and give editors their JSON Schema."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.planner import plan_film, plan_story
from prefect_kling.studio.film.reading.comments import cut_texts
from prefect_kling.studio.film.reading.fields import empty_mistakes, field_mistakes
from prefect_kling.studio.film.reading.names import beside, file_mistakes, name_mistakes
from prefect_kling.studio.film.reading.plain_text import decoded
from prefect_kling.studio.film.reading.version_table import VersionTable
from prefect_kling.studio.film.reading.yaml_text import Document, parse
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.versions import (
    MOST_SHOTS,
    Expanded,
    FilmVersion,
    Story,
    expand,
)

_MOST_REMARKS = 20


def load_storyboard(path: Path) -> Storyboard:
    """Read a YAML or JSON file. Relative paths in it start from its own folder.

    Free; sends nothing. Raises `StoryboardInvalid` with the file, line, place and rule of the
    mistakes, one to a line: twenty are told, and `mistakes` has all as facts.
    """
    return read_storyboard(_text_of(path), str(path), path.parent)


def load_story(path: Path, table: VersionTable | None = None) -> Story:
    """Read the films of a file: one, or one for each of its versions or each row of a table.

    See `load_storyboard`.
    """
    return read_story(_text_of(path), str(path), path.parent, table)


def _text_of(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise StoryboardInvalid.of([Mistake("no_utf8", line=line, document=str(path))]) from None
    except OSError as error:
        raise StoryboardInvalid(f"{path} cannot be read: {error.strerror or error}") from None


def read_storyboard(text: str, name: str = "storyboard", folder: Path = Path()) -> Storyboard:
    """Read a YAML or JSON text called `name`. Relative paths in it start from `folder`.

    One with versions is returned as it is written: `read_story` returns its films. See
    `load_storyboard`.
    """
    story = read_story(text, name, folder)
    if story.has_versions:
        return story.board
    return story.single()


def read_story(
    text: str, name: str = "storyboard", folder: Path = Path(), table: VersionTable | None = None
) -> Story:
    """Read the films of a text called `name`: one, or one for each version or row of a table.

    See `load_storyboard`.
    """
    document = parse(text, name)
    board = _board(document, name)
    remarks = [str(each) for each in cut_texts(text, document.tree)[:_MOST_REMARKS]]
    board = board.with_remarks(remarks)
    mistakes = list(empty_mistakes(document))
    try:
        if table is not None:
            board = table.applied_to(board)
        shots = sum(len(scene.shots) for scene in board.scenes)
        if shots > MOST_SHOTS:
            mistake = Mistake("too_many_shots_of_film", value=shots, limit=MOST_SHOTS)
            raise StoryboardInvalid.of([replace(mistake, document=name)])
        films = []
        for each in expand(board):
            film = replace(each, board=beside(each.board, folder))
            mistakes.extend(_mistakes_in(film, folder))
            films.append(film)
        if mistakes:
            raise StoryboardInvalid.of(_in_general(mistakes, len(films)))
        found = tuple(FilmVersion(name=film.name, board=film.board) for film in films)
        story = Story(board=board, films=found)
        _plan(story, films)
    except StoryboardInvalid as error:
        if not error.mistakes or all(each.document for each in error.mistakes):
            raise
        raise StoryboardInvalid.of(_located(error.mistakes, document, name, table)) from None
    return story


def _mistakes_in(film: Expanded, folder: Path) -> Iterator[Mistake]:
    """Yield the names and files of a film that are wrong, where they stand in the story."""
    for mistake in (*name_mistakes(film.board), *file_mistakes(film.board, folder)):
        yield film.in_story(mistake)


def _plan(story: Story, films: list[Expanded]) -> None:
    """Plan every film: some rules show only in whole requests, while lines are still known."""
    mistakes: list[Mistake] = []
    for film in films:
        try:
            plan_film(film.board)
        except StoryboardInvalid as error:
            if not error.mistakes:
                raise
            mistakes.extend(map(film.in_story, error.mistakes))
    if mistakes:
        raise StoryboardInvalid.of(_in_general(mistakes, len(films)))
    if story.has_versions:
        plan_story(story)


def _in_general(mistakes: list[Mistake], films: int) -> list[Mistake]:
    """Return mistakes once, without a version where all versions have them."""

    def what(mistake: Mistake) -> tuple[object, ...]:
        return mistake.place, mistake.rule, mistake.field, str(mistake.value)

    times = Counter(map(what, mistakes))
    general: dict[tuple[object, ...], Mistake] = {}
    for mistake in mistakes:
        version = mistake.version
        if times[what(mistake)] == films:
            version = ""
        general.setdefault(what(mistake), replace(mistake, version=version))
    return list(general.values())


def _located(
    mistakes: tuple[Mistake, ...], document: Document, name: str, table: VersionTable | None
) -> list[Mistake]:
    """Return mistakes with their lines: those of a table's versions with the lines of its rows."""
    of_rows: dict[tuple[object, ...], Mistake] = {}
    others = []
    for mistake in mistakes:
        if table is not None and mistake.place[:1] == ("versions",) and len(mistake.place) > 1:
            found = table.located(mistake)
            line = found.line
            if found.rule == "unused_column":
                # Told once, not in each of its rows.
                line = None
            of_rows.setdefault((line, found.rule, found.place, str(found.value)), found)
        else:
            others.append(mistake)
    return [*document.located(others, name), *of_rows.values()]


def _board(document: Document, name: str) -> Storyboard:
    if not isinstance(document.data, dict):
        rule = "no_storyboard"
        if document.data is None:
            rule = "empty_document"
        raise StoryboardInvalid.of([Mistake(rule, line=1, document=name)])

    fields = dict(document.data)
    # The address of the schema is for editors.
    fields.pop("$schema", None)
    try:
        return Storyboard.model_validate(fields)
    except ValidationError as error:
        mistakes = document.located(field_mistakes(error, document), name)
        raise StoryboardInvalid.of(mistakes) from None


def storyboard_schema() -> dict[str, Any]:
    """Return the JSON Schema of storyboards for editors. The same every time.

    It is a little stricter than the reader, which also takes numbers in quotes, and `null` for a
    field that is not set.
    """
    schema: dict[str, Any] = _plain(Storyboard.model_json_schema())
    # Exactly one: said by counting, which editors explain better than `oneOf`.
    schema["$defs"]["Reference"] |= {"minProperties": 1, "maxProperties": 1}
    for names in ("tags", "references", "characters", "variables"):
        _close(schema["properties"][names])
    _close(schema["$defs"]["Version"]["properties"]["variables"])

    told = "Where editors find this schema; it is not part of the film."
    address = {"$schema": {"type": "string", "description": told}}
    schema["properties"] = address | schema["properties"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Storyboard"}
    return head | schema


def _plain(schema: Any) -> Any:
    """Remove what pydantic adds and editors do not need.

    These are nulls, titles, empty defaults and line breaks.
    """
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(value) for name, value in schema.items() if not _is_noise(name, value)}

    kinds = [each for each in plain.pop("anyOf", []) if each != {"type": "null"}]
    if len(kinds) == 1:
        plain = kinds[0] | plain
    elif kinds:
        plain["anyOf"] = kinds

    told = plain.get("description")
    if isinstance(told, str):
        plain["description"] = " ".join(told.split())
    return plain


def _is_noise(name: str, value: object) -> bool:
    if name == "default":
        return value in (None, "", []) or isinstance(value, dict)
    return name == "title" and isinstance(value, str)


def _close(names: dict[str, Any]) -> None:
    """Make every name of a mapping follow its pattern.

    In pydantic's schema, names that do not follow it may have any value.
    """
    [(pattern, thing)] = names.pop("patternProperties").items()
    names["additionalProperties"] = thing
    names["propertyNames"] = {"pattern": pattern} | names["propertyNames"]
