"""Read many requests from one text: a table, or a list in YAML, JSON or JSON Lines."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.models import DEFAULT_MODEL
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.comments import cut_texts
from prefect_kling.studio.film.reading.fields import mistake_of
from prefect_kling.studio.film.reading.yaml_text import TextInvalid, read_text
from prefect_kling.studio.film.storyboard import Place

FRAMES = ("first_frame", "end_frame")
"""Columns of a table that hold links to pictures."""
COLUMNS = ("prompt", "model", "mode", "duration", "sound", "aspect_ratio", *FRAMES)
MOST_REQUESTS = 10_000
"""Of one table. Each is paid."""


@dataclass(frozen=True)
class _Row:
    """The fields of a request, and where they are written."""

    fields: Any
    line: int
    place: Place = ()
    """Which of a list, where requests share lines."""


def read_requests(text: str, name: str = "table") -> list[VideoRequest]:
    """Read a text called `name` as requests, in order.

    A table has a header with any of `COLUMNS`. Its cells are separated by commas, semicolons or
    tabs, and an empty cell sets nothing. A list holds the fields of `VideoRequest`. The model is
    `kling-v3-omni` if none is given. There are at most `MOST_REQUESTS`.

    Free; sends nothing. Raises `TableInvalid` with the line, field and rule of the mistakes: twenty
    are told, and `mistakes` has all as facts.
    """
    requests: list[VideoRequest] = []
    mistakes: list[Mistake] = []
    try:
        # Spreadsheets put a byte order mark in front of a text they export.
        for number, row in enumerate(_rows(text.removeprefix("\ufeff"), name), 1):
            if number > MOST_REQUESTS:
                raise _refused("too_many_requests", row.line, limit=MOST_REQUESTS)
            if not isinstance(row.fields, dict):
                raise TextInvalid(Mistake("no_request", row.place, line=row.line))
            try:
                requests.append(VideoRequest.model_validate({"model": DEFAULT_MODEL} | row.fields))
            except ValidationError as error:
                found = [_mistake(each, row) for each in error.errors(include_url=False)]
                mistakes.extend(found)
    except TextInvalid as error:
        # Nothing behind it can be trusted to be what it looks like.
        mistakes.append(error.mistake)

    if not mistakes and not requests:
        mistakes.append(Mistake("no_requests"))
    if mistakes:
        raise TableInvalid.of(replace(each, document=name) for each in mistakes)
    return requests


def _refused(rule: str, line: int, value: object = None, limit: object = None) -> TextInvalid:
    return TextInvalid(Mistake(rule, value=value, limit=limit, line=line))


def _mistake(error: ErrorDetails, row: _Row) -> Mistake:
    mistake = mistake_of(error, VideoRequest)
    if error["loc"][:1] == ("image_list",) and mistake.rule == "other":
        mistake = Mistake("no_link", value=error["input"])
    return replace(mistake.within(row.place), line=row.line)


def _rows(text: str, name: str) -> Iterator[_Row]:
    """Yield each request's fields with the place it is written at. Raises `TextInvalid`."""
    beginning = text.lstrip()[:1]
    if beginning == "{":
        return _from_lines(text)
    if beginning in ("[", "-"):
        return _from_list(text, name)
    return _from_table(text)


def _from_lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise _refused("no_json", number, error.msg) from None
        except ValueError as error:
            raise _refused("no_json", number, str(error)) from None
        except RecursionError:
            raise _refused("too_deep", number) from None
        yield _Row(data, number)


def _from_list(text: str, name: str) -> Iterator[_Row]:
    document = read_text(text, name)
    if not isinstance(document.data, list):
        return
    # A batch is paid without a quote that somebody would read.
    for mistake in cut_texts(text, document.tree):
        raise TextInvalid(mistake)
    for number, fields in enumerate(document.data):
        line, _ = document.position((number,))
        yield _Row(fields, line, ("requests", number))


def _from_table(text: str) -> Iterator[_Row]:
    beginning = text[: len(text) - len(text.lstrip())]
    above = beginning.count("\n")
    header = text.lstrip().partition("\n")[0]
    delimiter = max("\t;,", key=header.count)
    lines = io.StringIO(text.lstrip(), newline="")
    # Strict: a quote that is left open would make one cell of all that follows.
    table = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        yield from _cells(table, above)
    except csv.Error as error:
        raise _refused("no_table", above + max(table.line_num, 1), str(error)) from None


def _cells(table: "csv.DictReader[str]", above: int) -> Iterator[_Row]:
    columns = [column.strip() for column in table.fieldnames or ()]
    for column in columns:
        if column not in COLUMNS:
            raise _refused("unknown_column", above + 1, column, COLUMNS)
    table.fieldnames = columns

    for cells in table:
        line = above + table.line_num
        if None in cells:
            raise _refused("too_many_cells", line)
        filled = {}
        for column, cell in cells.items():
            # A line may have fewer cells than the header.
            if cell and cell.strip():
                filled[column] = cell.strip()
        yield _Row(_request_fields(filled), line)


def _request_fields(cells: dict[str, str]) -> dict[str, Any]:
    """Return the cells of a line as fields of a request, with links to pictures in one list."""
    fields: dict[str, Any] = {name: cell for name, cell in cells.items() if name not in FRAMES}
    frames = [{"image_url": cells[kind], "type": kind} for kind in FRAMES if kind in cells]
    if frames:
        fields["image_list"] = frames
    return fields
