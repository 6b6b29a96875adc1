"""Read many requests from one text: a table, or a list in YAML, JSON or JSON Lines."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.models import DEFAULT_MODEL
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.columns import (
    COLUMNS,
    OWN,
    near_column,
    request_fields,
    tag_columns,
    unescaped,
    written_cells,
)
from prefect_kling.studio.film.reading.comments import cut_texts
from prefect_kling.studio.film.reading.fields import mistake_of
from prefect_kling.studio.film.reading.plain_text import TextInvalid, unwrapped
from prefect_kling.studio.film.reading.yaml_text import parse_json, read_text
from prefect_kling.studio.film.storyboard import Place, Storyboard
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.tags import TAG_PREFIX, TAGS

_SEPARATOR = re.compile(r"sep=(.)[ \t,;]*\r?\n", re.IGNORECASE)
MOST_REQUESTS = 100_000
"""Of one table. Each is paid."""
MOST_COLUMNS = 500


@dataclass(frozen=True)
class _Row:
    """The fields of a request, and where they are written."""

    fields: Any
    line: int
    place: Place = ()
    """Which of a list, where requests share lines."""
    mistakes: tuple[Mistake, ...] = ()
    """What is wrong with single cells."""


@dataclass(frozen=True)
class TableRow:
    """One row of a table: what was given, and the order that it means, or what is wrong with it."""

    line: int
    """Line of the text it begins in, counted from 1."""
    given: dict[str, JsonValue]
    """All its columns that are filled, the user's own among them."""
    order: ClipOrder | None
    """What to make; None if the row has mistakes."""
    mistakes: tuple[Mistake, ...] = ()


def read_requests(text: str, name: str = "table") -> list[VideoRequest]:
    """Read a text called `name` as requests, in order. See `read_rows`.

    Takes and columns of the user's own are left out. Free; sends nothing. Raises `TableInvalid`
    with the line, field and rule of the mistakes: twenty are told, and `mistakes` has all as facts.
    """
    rows = require_right(read_rows(text, name))
    return [row.order.request for row in rows if row.order is not None]


def require_right(rows: Iterable[TableRow]) -> list[TableRow]:
    """Return the rows of a table that has no mistake. Raises `TableInvalid` with all of them."""
    right: list[TableRow] = []
    mistakes: list[Mistake] = []
    for row in rows:
        mistakes.extend(row.mistakes)
        if not mistakes:
            right.append(row)
    if mistakes:
        raise TableInvalid.of(mistakes)
    return right


def read_rows(text: str, name: str = "table") -> Iterator[TableRow]:
    """Yield the rows of a text called `name`, in order, those with mistakes included.

    A table has a header with any of `columns.COLUMNS`, and columns of the user's own. Its cells are
    separated by commas, semicolons or tabs, and an empty cell sets nothing. A list holds the same
    as fields. The model is `kling-v3-omni` if none is given. There are at most `MOST_REQUESTS`.

    Free; sends nothing. Raises `TableInvalid`, perhaps after some rows, for a text that is broken
    in structure: nothing in it can be trusted to be what it looks like.
    """
    number = 0
    earlier: list[Mistake] = []
    try:
        for number, row in enumerate(_rows(unwrapped(text), name), 1):
            if number > MOST_REQUESTS:
                raise _refused("too_many_requests", row.line, limit=MOST_REQUESTS)
            if not isinstance(row.fields, dict):
                raise TextInvalid(Mistake("no_request", row.place, line=row.line))
            found = _table_row(row, name)
            earlier.extend(found.mistakes)
            yield found
    except TextInvalid as error:
        mistakes = [*earlier, *(replace(each, document=name) for each in error.mistakes)]
        raise TableInvalid.of(mistakes) from None
    if number == 0:
        raise TableInvalid.of([Mistake("no_requests", document=name)])


def read_fields(
    text: str, name: str, columns: Sequence[str], most: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of any table or list as their lines and fields, as they are written.

    A table's header has at least one of `columns`. Free; sends nothing. Raises `TableInvalid`,
    perhaps after some rows, for a text that is broken in structure or has more than `most` rows.
    """
    number = 0
    try:
        for number, row in enumerate(_rows(unwrapped(text), name, columns), 1):
            if number > most:
                raise _refused("too_many_rows", row.line, limit=most)
            if not isinstance(row.fields, dict):
                raise TextInvalid(Mistake("no_row", line=row.line))
            yield row.line, row.fields
    except TextInvalid as error:
        raise TableInvalid.of(replace(each, document=name) for each in error.mistakes) from None
    if number == 0:
        raise TableInvalid.of([Mistake("no_rows", document=name)])


def _table_row(row: _Row, name: str) -> TableRow:
    mistakes = list(row.mistakes)
    order = None
    request = {"model": DEFAULT_MODEL} | request_fields(row.fields)
    take = row.fields.get("take")
    if take is None:
        take = 1
    try:
        order = ClipOrder.model_validate({"request": request, "take": take})
    except ValidationError as error:
        mistakes += [_mistake(each, row.place) for each in error.errors(include_url=False)]
    mistakes += _tag_mistakes(row)
    if mistakes:
        order = None
    told = tuple(replace(each, line=row.line, document=name) for each in mistakes)
    return TableRow(row.line, row.fields, order, told)


def _tag_mistakes(row: _Row) -> list[Mistake]:
    """Return what is wrong with the columns that say who pays."""
    try:
        TAGS.validate_python(tag_columns(row.fields))
    except ValidationError as error:
        found = []
        for each in error.errors(include_url=False):
            within = each.copy()
            within["loc"] = ("tags", *each["loc"])
            mistake = mistake_of(within, Storyboard)
            if each["loc"]:
                mistake = replace(mistake, place=(f"{TAG_PREFIX}{each['loc'][0]}",))
            found.append(mistake.within(row.place))
        return found
    return []


def _refused(rule: str, line: int, value: object = None, limit: object = None) -> TextInvalid:
    return TextInvalid(Mistake(rule, value=value, limit=limit, line=line))


def _mistake(error: ErrorDetails, place: Place) -> Mistake:
    location = error["loc"]
    if location[:1] != ("request",):
        return mistake_of(error, ClipOrder).within(place)

    within = error.copy()
    within["loc"] = location[1:]
    mistake = mistake_of(within, VideoRequest)
    if location[1:2] == ("image_list",) and mistake.rule == "other":
        mistake = Mistake("no_link", value=error["input"])
    return mistake.within(place)


def _near_misses(names: Iterable[str], place: Place = ()) -> Iterator[Mistake]:
    """Yield the names that are nearly those of columns: carried along, they would set nothing."""
    for name in names:
        near = near_column(name)
        if near:
            rule = "near_field" if place else "near_column"
            yield Mistake(rule, place, value=name, limit=(near, OWN + name))


def _rows(text: str, name: str, columns: Sequence[str] = COLUMNS) -> Iterator[_Row]:
    """Yield each row's fields with the place it is written at. Raises `TextInvalid`.

    Values and near misses of columns are looked at in tables of requests only.
    """
    beginning = text.lstrip()[:1]
    if beginning == "{":
        return _from_lines(text, columns)
    if beginning in ("[", "-"):
        return _from_list(text, name, columns)
    return _from_table(text, columns)


def _from_lines(text: str, columns: Sequence[str]) -> Iterator[_Row]:
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
        yield _list_row(data, number, (), columns)


def _from_list(text: str, name: str, columns: Sequence[str]) -> Iterator[_Row]:
    document = read_text(text, name)
    if not isinstance(document.data, list):
        return
    cut = cut_texts(text, document.tree)
    if cut:
        # A batch is paid without a quote that somebody would read.
        raise TextInvalid(*cut)
    for number, fields in enumerate(document.data):
        line, _ = document.position((number,))
        yield _list_row(fields, line, ("requests", number), columns)


def _list_row(fields: Any, line: int, place: Place, columns: Sequence[str]) -> _Row:
    if not isinstance(fields, dict) or columns != COLUMNS:
        return _Row(fields, line, place)
    names = [str(name) for name in fields]
    return _Row(fields, line, place, tuple(_near_misses(names, place)))


def _from_table(text: str, known: Sequence[str]) -> Iterator[_Row]:
    table = text.lstrip()
    above = text.count("\n", 0, len(text) - len(table))
    # Excel's own first line says what separates cells.
    separator = _SEPARATOR.match(table)
    if separator is not None:
        table = table[separator.end() :]
        above += 1
        delimiter = separator[1]
    else:
        first = table.partition("\n")[0]
        delimiter = max("\t;,", key=first.count)

    # First without making anything of them: what is broken, or too much, is told at once.
    count = sum(1 for _ in _filled_lines(table, delimiter, above))
    if count > MOST_REQUESTS + 1:
        raise _refused("too_many_requests", above + 1, limit=MOST_REQUESTS)

    lines = _filled_lines(table, delimiter, above)
    nothing: tuple[int, list[str]] = (above + 1, [])
    line, header = next(lines, nothing)
    columns = _columns(header, line, known)
    for begun, cells in lines:
        if known != COLUMNS:
            yield _as_written(cells, columns, begun)
            continue
        yield _by_column(unescaped(columns, cells), columns, begun)


def _filled_lines(table: str, delimiter: str, above: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines in which any cell is filled, with the number of the line each begins in."""
    # Strict: a quote that is left open would make one cell of all that follows.
    text = io.StringIO(table, newline="")
    lines = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
    begun = above + 1
    try:
        for cells in lines:
            filled = [cell.strip() for cell in cells]
            if any(filled):
                yield begun, filled
            begun = above + lines.line_num + 1
    except csv.Error as error:
        raise _csv_mistake(str(error), begun) from None


def _columns(header: list[str], line: int, known: Sequence[str]) -> list[str]:
    """Return the names of the columns. Spreadsheets export empty ones at the right."""
    header = list(header)
    while header and not header[-1]:
        header.pop()
    if not header:
        raise TextInvalid(Mistake("no_requests"))
    if len(header) > MOST_COLUMNS:
        raise _refused("too_many_columns", line, len(header), MOST_COLUMNS)
    # A table without a header looks like this, too.
    is_of_requests = known == COLUMNS
    if not any(column in known or (is_of_requests and near_column(column)) for column in header):
        raise _refused("unknown_column", line, header[0], tuple(known))
    mistakes = []
    if is_of_requests:
        mistakes += [replace(each, line=line) for each in _near_misses(header)]
    for column, times in Counter(header).items():
        if not column:
            mistakes.append(Mistake("column_without_name", line=line))
        elif times > 1:
            mistakes.append(Mistake("column_twice", value=column, line=line))
    if mistakes:
        raise TextInvalid(*mistakes)
    return header


def _as_written(cells: list[str], columns: list[str], line: int) -> _Row:
    """Return the cells that are filled, as they are written."""
    if any(cells[len(columns) :]):
        raise _refused("too_many_cells", line)
    return _Row({name: cell for name, cell in zip(columns, cells, strict=False) if cell}, line)


def _by_column(cells: list[str], columns: list[str], line: int) -> _Row:
    """Return the cells that are filled. A line may have fewer cells than the header."""
    if any(cells[len(columns) :]):
        raise _refused("too_many_cells", line)
    try:
        return _Row(written_cells(zip(columns, cells, strict=False)), line)
    except TextInvalid as error:
        written = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
        return _Row(written, line, mistakes=error.mistakes)


def _csv_mistake(said: str, line: int) -> TextInvalid:
    """Return what the CSV reader said. `line` is where the row begins that it stumbled over."""
    if "unexpected end of data" in said:
        return _refused("open_quote_in_table", line)
    if "expected after" in said:
        return _refused("after_quote_in_table", line)
    if "field larger than" in said:
        return _refused("too_long_cell", line, limit=csv.field_size_limit())
    return _refused("no_table", line, said)
