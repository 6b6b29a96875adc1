"""Read the versions of a story from a table: a film for each row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.columns import OWN, written_cells
from prefect_kling.studio.film.reading.fields import mistake_of
from prefect_kling.studio.film.reading.table import read_fields
from prefect_kling.studio.film.storyboard import Storyboard, Version
from prefect_kling.studio.film.versions import MOST_VERSIONS

COLUMNS = tuple(name for name in Version.model_fields if name != "variables")
"""Columns that are fields of a version; any other is a variable, unless it begins with `x_`."""
_LISTS = ("characters", "references", "only", "without")


@dataclass(frozen=True)
class VersionTable:
    """The versions that a table has, and where it says them."""

    name: str
    versions: tuple[Version, ...]
    lines: tuple[int, ...]
    """For each version the line its row begins in, counted from 1."""

    def applied_to(self, board: Storyboard) -> Storyboard:
        """Return a storyboard with these versions.

        Raises `StoryboardInvalid` for one that has versions of its own.
        """
        if board.versions:
            raise StoryboardInvalid.of([Mistake("versions_twice", ("versions",))])
        return board.model_copy(update={"versions": list(self.versions)})

    def located(self, mistake: Mistake) -> Mistake:
        """Return a mistake in a version with the line of its row, and its column."""
        _, number, *place = mistake.place
        if place[:1] == ["variables"]:
            place = place[1:]
        rule = mistake.rule
        limit = mistake.limit
        if rule == "unused_variable" and isinstance(limit, tuple):
            rule = "unused_column"
            limit = (*limit, *COLUMNS)
        version = self.versions[int(number)].name
        if rule == "unused_column":
            version = ""
        return replace(
            mistake,
            rule=rule,
            limit=limit,
            place=tuple(place),
            version=version,
            line=self.lines[int(number)],
            document=self.name,
        )


def read_versions(text: str, name: str = "table") -> VersionTable:
    """Read a text called `name` as versions: a table, or a list in YAML, JSON or JSON Lines.

    Its columns are the fields of a version (`name`, `title`, settings such as `aspect_ratio`,
    `only`, `without`), and variables. Names in one cell are separated by commas. Free; sends
    nothing. Raises `TableInvalid` with the line, column and rule of each mistake.
    """
    versions: list[Version] = []
    lines: list[int] = []
    mistakes: list[Mistake] = []
    for line, given in read_fields(text, name, COLUMNS, MOST_VERSIONS):
        lines.append(line)
        try:
            versions.append(Version.model_validate(_version_fields(given)))
        except ValidationError as error:
            found = error.errors(include_url=False)
            mistakes.extend(_mistake(each, line, name) for each in found)
    if mistakes:
        raise TableInvalid.of(mistakes)
    return VersionTable(name, tuple(versions), tuple(lines))


def _mistake(error: Any, line: int, name: str) -> Mistake:
    mistake = mistake_of(error, Version)
    place = mistake.place
    if place[:1] == ("variables",):
        place = place[1:]
    return replace(mistake, place=place, line=line, document=name)


def _version_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row as the fields of a version."""
    fields: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for column, value in given.items():
        if column in COLUMNS:
            fields[column] = _meant(column, value)
        elif column == "variables" and isinstance(value, dict):
            variables |= value
        elif not column.startswith(OWN):
            variables[column] = _text(value)
    return {**fields, "variables": variables}


def _meant(column: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if column in _LISTS:
        return [part.strip() for part in value.split(",") if part.strip()]
    if column in ("sound", "aspect_ratio"):
        return written_cells([(column, value)]).get(column, value)
    return value


def _text(value: Any) -> Any:
    """Return a number as the text that is meant; anything else is left for its rule."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
