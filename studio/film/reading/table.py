"""Many requests as one text: a table with a clip in each line, or a list in YAML, JSON or JSON Lines."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from prefect_kling.kling.models import DEFAULT_MODEL
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.violations import ERROR_TYPE
from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.prompts import did_you_mean
from prefect_kling.studio.film.reading.yaml_text import parse

FRAMES = ("first_frame", "end_frame")
"""Columns of a table that hold links to pictures."""
COLUMNS = ("prompt", "model", "mode", "duration", "sound", "aspect_ratio", *FRAMES)
_MOST_TOLD = 20

Row = tuple[str, dict[str, Any]]


def read_requests(text: str, name: str = "table") -> list[VideoRequest]:
    """Read a text called `name` as requests, in order.

    A table has a header of `COLUMNS`, as many as are wanted, and its cells are parted by commas, semicolons or tabs;
    an empty cell says nothing. Lists hold the fields of `VideoRequest`. Without a word about the model it is
    `kling-v3-omni`. Free; sends nothing. Raises `TableInvalid` with line, field and rule of what is wrong.
    """
    requests, wrong = [], []
    # What spreadsheets put in front of a text they export.
    for place, row in _rows(text.removeprefix("\ufeff"), name):
        try:
            requests.append(VideoRequest.model_validate({"model": DEFAULT_MODEL} | row))
        except ValidationError as error:
            wrong += [
                f"{place}: {_in_words(each, is_table=place.startswith('line'))}"
                for each in error.errors()
            ]
    if wrong:
        more = [f"and {len(wrong) - _MOST_TOLD} more"] if len(wrong) > _MOST_TOLD else []
        raise TableInvalid("\n".join(f"{name}, {told}" for told in (*wrong[:_MOST_TOLD], *more)))
    if not requests:
        raise TableInvalid(f"{name}: there is no request in it")
    return requests


def _in_words(error: Any, *, is_table: bool) -> str:
    if is_table and error["loc"][:1] == ("image_list",):
        return f"{error['input']!r} is no link, and pictures are given as links"
    if error["type"] == ERROR_TYPE:
        return str(error["msg"])
    field = ".".join(str(step) for step in error["loc"])
    return f"{field}: {error['msg']}" if field else str(error["msg"])


def _rows(text: str, name: str) -> Iterator[Row]:
    """Yield each request's fields with the place it is written at."""
    beginning = text.lstrip()[:1]
    if beginning == "{":
        return _from_lines(text, name)
    return _from_list(text, name) if beginning in ("[", "-") else _from_table(text, name)


def _from_lines(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield f"line {number}", _fields(json.loads(line), f"{name}, line {number}")
            except json.JSONDecodeError as error:
                raise TableInvalid(
                    f"{name}, line {number}: this is no JSON ({error.msg})"
                ) from None


def _from_list(text: str, name: str) -> Iterator[Row]:
    try:
        data = parse(text, name).data
    except StoryboardInvalid as error:
        raise TableInvalid(error.message) from None
    for number, fields in enumerate(data if isinstance(data, list) else (), 1):
        yield f"request {number}", _fields(fields, f"{name}, request {number}")


def _fields(data: object, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TableInvalid(f"{place}: this is no request; one has a prompt, as in `prompt: A lamp`")
    return data


def _from_table(text: str, name: str) -> Iterator[Row]:
    header = text.lstrip().partition("\n")[0]
    parted = max("\t;,", key=header.count)
    table = csv.DictReader(
        io.StringIO(text.lstrip(), newline=""), delimiter=parted, skipinitialspace=True
    )
    columns = [column.strip() for column in table.fieldnames or ()]
    for column in columns:
        if column not in COLUMNS:
            told = did_you_mean(column, COLUMNS) or f"; there are {', '.join(COLUMNS)}"
            raise TableInvalid(f"{name}, line 1: there is no column {column!r}{told}")
    table.fieldnames = columns
    for cells in table:
        if None in cells:
            raise TableInvalid(
                f"{name}, line {table.line_num}: more cells than the header; a comma wants quotes"
            )
        yield (
            f"line {table.line_num}",
            _said({column: (cell or "").strip() for column, cell in cells.items()}),
        )


def _said(cells: dict[str, str]) -> dict[str, Any]:
    """Return what the cells of a line say, links to pictures as the list that requests hold."""
    said: dict[str, Any] = {
        column: cell for column, cell in cells.items() if cell and column not in FRAMES
    }
    frames = [{"image_url": cells[kind], "type": kind} for kind in FRAMES if cells.get(kind)]
    return said | ({"image_list": frames} if frames else {})
