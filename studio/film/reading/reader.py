"""Read storyboards from YAML and JSON, and give editors their JSON Schema."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.comments import cut_texts
from prefect_kling.studio.film.reading.fields import empty_mistakes, field_mistakes
from prefect_kling.studio.film.reading.names import beside, file_mistakes, name_mistakes
from prefect_kling.studio.film.reading.plain_text import decoded
from prefect_kling.studio.film.reading.yaml_text import Document, parse
from prefect_kling.studio.film.storyboard import Storyboard

MOST_SHOTS = 1000
"""Of one film."""
_MOST_REMARKS = 20


def load_storyboard(path: Path) -> Storyboard:
    """Read a YAML or JSON file. Relative paths in it start from its own folder.

    Free; sends nothing. Raises `StoryboardInvalid` with the file, line, place and rule of the
    mistakes, one to a line: twenty are told, and `mistakes` has all as facts.
    """
    try:
        text = decoded(path.read_bytes())
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise StoryboardInvalid.of([Mistake("no_utf8", line=line, document=str(path))]) from None
    except OSError as error:
        raise StoryboardInvalid(f"{path} cannot be read: {error.strerror or error}") from None
    return read_storyboard(text, str(path), path.parent)


def read_storyboard(text: str, name: str = "storyboard", folder: Path = Path()) -> Storyboard:
    """Read a YAML or JSON text called `name`. Relative paths in it start from `folder`.

    See `load_storyboard`.
    """
    document = parse(text, name)
    board = _board(document, name)
    shots = sum(len(scene.shots) for scene in board.scenes)
    if shots > MOST_SHOTS:
        mistake = Mistake("too_many_shots_of_film", value=shots, limit=MOST_SHOTS, document=name)
        raise StoryboardInvalid.of([mistake])
    board = beside(board, folder)
    mistakes = [*empty_mistakes(document), *name_mistakes(board), *file_mistakes(board, folder)]
    if mistakes:
        raise StoryboardInvalid.of(document.located(mistakes, name))
    # Some rules show only in whole requests: planning finds out while the lines are still known.
    try:
        plan_film(board)
    except StoryboardInvalid as error:
        if not error.mistakes:
            raise
        raise StoryboardInvalid.of(document.located(error.mistakes, name)) from None
    remarks = [str(each) for each in cut_texts(text, document.tree)[:_MOST_REMARKS]]
    return board.with_remarks(remarks)


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
    for names in ("tags", "references", "characters"):
        _close(schema["properties"][names])

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
