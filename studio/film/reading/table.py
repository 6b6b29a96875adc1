"""Read many requests from one text: a table, or a list in YAML, JSON or JSON Lines."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from prefect_kling.kling.models import DEFAULT_MODEL
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.violations import ERROR_TYPE
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.prompts import did_you_mean
from prefect_kling.studio.film.reading.comments import cut_texts
from prefect_kling.studio.film.reading.yaml_text import TextInvalid, read_text

FRAMES = ("first_frame", "end_frame")
"""Columns of a table that hold links to pictures."""
COLUMNS = ("prompt", "model", "mode", "duration", "sound", "aspect_ratio", *FRAMES)
_MOST_TOLD = 20

Row = tuple[str, dict[str, Any]]


def read_requests(text: str, name: str = "table") -> list[VideoRequest]:
    """Read a text called `name` as requests, in order.

    A table has a header with any of `COLUMNS`. Its cells are separated by commas, semicolons or
    tabs, and an empty cell sets nothing. A list holds the fields of `VideoRequest`. The model is
    `kling-v3-omni` if none is given.

    Free; sends nothing. Raises `TableInvalid` with the line, field and rule of each mistake.
    """
    requests = []
    wrong: list[str] = []
    # Spreadsheets put a byte order mark in front of a text they export.
    for place, row in _rows(text.removeprefix("\ufeff"), name):
        is_table = place.startswith("line")
        try:
            requests.append(VideoRequest.model_validate({"model": DEFAULT_MODEL} | row))
        except ValidationError as error:
            told = [_in_words(each, is_table=is_table) for each in error.errors()]
            wrong.extend(f"{name}, {place}: {sentence}" for sentence in told)

    if len(wrong) > _MOST_TOLD:
        more = len(wrong) - _MOST_TOLD
        wrong = [*wrong[:_MOST_TOLD], f"{name}, and {more} more"]
    if wrong:
        raise TableInvalid("\n".join(wrong))
    if not requests:
        raise TableInvalid(f"{name}: there is no request in it")
    return requests


def _in_words(error: Any, *, is_table: bool) -> str:
    if is_table and error["loc"][:1] == ("image_list",):
        return f"{error['input']!r} is no link, and pictures are given as links"
    if error["type"] == ERROR_TYPE:
        return str(error["msg"])
    field = ".".join(str(step) for step in error["loc"])
    if not field:
        return str(error["msg"])
    return f"{field}: {error['msg']}"


def _rows(text: str, name: str) -> Iterator[Row]:
    """Yield each request's fields with the place it is written at."""
    beginning = text.lstrip()[:1]
    if beginning == "{":
        return _from_lines(text, name)
    if beginning in ("[", "-"):
        return _from_list(text, name)
    return _from_table(text, name)


def _from_lines(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableInvalid(f"{name}, {place}: this is no JSON ({error.msg})") from None
        yield place, _fields(data, f"{name}, {place}")


def _from_list(text: str, name: str) -> Iterator[Row]:
    try:
        document = read_text(text, name)
    except TextInvalid as error:
        raise TableInvalid(error.in_words(name)) from None
    if not isinstance(document.data, list):
        return
    cut = cut_texts(text, document.tree)
    if cut:
        # A batch is paid without a quote that somebody would read.
        raise TableInvalid("\n".join(f"{name}, {sentence}" for sentence in cut[:_MOST_TOLD]))
    for number, fields in enumerate(document.data, 1):
        yield f"request {number}", _fields(fields, f"{name}, request {number}")


def _fields(data: object, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TableInvalid(f"{place}: this is no request; one has a prompt, as in `prompt: A lamp`")
    return data


def _from_table(text: str, name: str) -> Iterator[Row]:
    header = text.lstrip().partition("\n")[0]
    delimiter = max("\t;,", key=header.count)
    lines = io.StringIO(text.lstrip(), newline="")
    table = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)

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
        filled = {}
        for column, cell in cells.items():
            # A line may have fewer cells than the header.
            if cell and cell.strip():
                filled[column] = cell.strip()
        yield f"line {table.line_num}", _request_fields(filled)


def _request_fields(cells: dict[str, str]) -> dict[str, Any]:
    """Return the cells of a line as fields of a request, with links to pictures in one list."""
    fields: dict[str, Any] = {name: cell for name, cell in cells.items() if name not in FRAMES}
    frames = [{"image_url": cells[kind], "type": kind} for kind in FRAMES if kind in cells]
    if frames:
        fields["image_list"] = frames
    return fields
