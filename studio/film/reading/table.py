"""Read many requests from one text: a table, or a list in YAML, JSON or JSON Lines."""

import csv
import io
import json
import re
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
from prefect_kling.studio.film.reading.plain_text import TextInvalid, unwrapped
from prefect_kling.studio.film.reading.yaml_text import parse_json, read_text
from prefect_kling.studio.film.storyboard import Place

FRAMES = ("first_frame", "end_frame")
"""Columns of a table that hold links to pictures."""
COLUMNS = ("prompt", "model", "mode", "duration", "sound", "aspect_ratio", *FRAMES)
_SEPARATOR = re.compile(r"sep=(.)[ \t,;]*\r?\n", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::00)?")
_ON_OFF = {"true": "on", "yes": "on", "on": "on", "false": "off", "no": "off", "off": "off"}
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
        for number, row in enumerate(_rows(unwrapped(text), name), 1):
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
        mistakes.extend(error.mistakes)

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
            data = parse_json(line)
        except json.JSONDecodeError as error:
            raise _refused("no_json", number, error.msg) from None
        except TextInvalid as error:
            raise TextInvalid(*(replace(each, line=number) for each in error.mistakes)) from None
        except RecursionError:
            raise _refused("too_deep", number) from None
        yield _Row(data, number)


def _from_list(text: str, name: str) -> Iterator[_Row]:
    document = read_text(text, name)
    if not isinstance(document.data, list):
        return
    cut = cut_texts(text, document.tree)
    if cut:
        # A batch is paid without a quote that somebody would read.
        raise TextInvalid(*cut)
    for number, fields in enumerate(document.data):
        line, _ = document.position((number,))
        yield _Row(fields, line, ("requests", number))


def _from_table(text: str) -> Iterator[_Row]:
    table = text.lstrip()
    above = text.count("\n", 0, len(text) - len(table))
    # Excel's own first line says what separates cells.
    separator = _SEPARATOR.match(table)
    if separator is not None:
        table = table[separator.end() :]
        above += 1
        delimiter = separator[1]
    else:
        header = table.partition("\n")[0]
        delimiter = max("\t;,", key=header.count)

    # Strict: a quote that is left open would make one cell of all that follows.
    lines = io.StringIO(table, newline="")
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    begun = above + 1
    try:
        columns: list[str] = []
        for cells in rows:
            filled = [cell.strip() for cell in cells]
            if not columns:
                columns = _columns(filled, begun)
            elif any(filled):
                yield _Row(_request_fields(_by_column(filled, columns, begun)), begun)
            begun = above + rows.line_num + 1
    except csv.Error as error:
        raise _csv_mistake(str(error), begun) from None


def _columns(header: list[str], line: int) -> list[str]:
    """Return the names of the columns. Spreadsheets export empty ones at the right."""
    header = list(header)
    while header and not header[-1]:
        header.pop()
    for column in header:
        if column not in COLUMNS:
            raise _refused("unknown_column", line, column, COLUMNS)
        if header.count(column) > 1:
            raise _refused("column_twice", line, column)
    return header


def _by_column(cells: list[str], columns: list[str], line: int) -> dict[str, str]:
    """Return the cells that are filled. A line may have fewer cells than the header."""
    if any(cells[len(columns) :]):
        raise _refused("too_many_cells", line)
    return {name: _meant(name, cell) for name, cell in zip(columns, cells, strict=False) if cell}


def _meant(column: str, cell: str) -> str:
    """Return what a spreadsheet made something else of: `on` to TRUE, `16:9` to a time of day."""
    if column == "sound":
        return _ON_OFF.get(cell.lower(), cell)
    time = _TIME.fullmatch(cell)
    if column == "aspect_ratio" and time is not None:
        return f"{int(time[1])}:{int(time[2])}"
    return cell


def _csv_mistake(said: str, line: int) -> TextInvalid:
    """Return what the CSV reader said. `line` is where the row begins that it stumbled over."""
    if "unexpected end of data" in said:
        return _refused("open_quote_in_table", line)
    if "expected after" in said:
        return _refused("after_quote_in_table", line)
    if "field larger than" in said:
        return _refused("too_long_cell", line, limit=csv.field_size_limit())
    return _refused("no_table", line, said)


def _request_fields(cells: dict[str, str]) -> dict[str, Any]:
    """Return the cells of a line as fields of a request, with links to pictures in one list."""
    fields: dict[str, Any] = {name: cell for name, cell in cells.items() if name not in FRAMES}
    frames = [{"image_url": cells[kind], "type": kind} for kind in FRAMES if kind in cells]
    if frames:
        fields["image_list"] = frames
    return fields
