"""`{{name}}` in the texts of a storyboard, and what stands in its place."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prefect_kling.studio.film.storyboard import Place, Storyboard, Version

VARIABLE = re.compile(r"\{\{\s*([\w-]+)\s*\}\}")
ALMOST_VARIABLE = re.compile(r"(?<!\{)\{\s*([\w-]+)\s*\}(?!\})")


def filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return data whose texts say the values of variables."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: variables[found[1]], value)
    if isinstance(value, dict):
        return {name: filled(each, variables) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [filled(each, variables) for each in value]
    return value


def values_of(text: str, board: Storyboard) -> list[str]:
    """Return what a text of a storyboard says in its versions, each once.

    What no version gives a value to stays as it is.
    """
    found: dict[str, None] = {}
    versions: Iterable[Version | None] = board.versions or [None]
    for version in versions:
        found[filled_where_known(text, variables_of(board, version))] = None
    return list(found)


def filled_where_known(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with the values of variables; what has no value stays as it is."""
    return VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def variables_of(board: Storyboard, version: Version | None) -> dict[str, str]:
    """Return the variables of a version, or of a story that has none."""
    if version is None:
        return board.variables
    return board.variables | version.variables


def texts_in(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield every text in data, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_in(each, (*place, name))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from texts_in(each, (*place, index))
