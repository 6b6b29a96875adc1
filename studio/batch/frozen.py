"""A table as it was when it was first read: its rows with their orders, in the bucket, by hash.

What is quoted, approved, made and made again is this copy. A table that is overwritten meanwhile is
another one.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticSerializationError

from prefect_kling.kling.parameters import STORED
from prefect_kling.kling.prices import Quote, quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.server_words import printable
from prefect_kling.studio.errors import LedgerUnreadable, TableInvalid, WrongTable
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.columns import RESULTS, tag_columns
from prefect_kling.studio.film.reading.table import TableRow
from prefect_kling.studio.film.storyboard import latin_words
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.tags import usable_tags
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

_HASH_LENGTH = 16
_NAME_LENGTH = 40
_MOST_SAMPLES = 10
_MOST_OF_ID = 40
_ID = re.compile(r"[a-z0-9-]{1,60}\.[0-9a-f]{16}")


class FrozenTable(BaseModel):
    """Which table: its name, for people, and the hash of all its rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    hash: Annotated[str, Field(min_length=_HASH_LENGTH, max_length=_HASH_LENGTH)]

    @property
    def id(self) -> str:
        """Name and hash: the name of its folder under `batches/`."""
        return f"{self.name}.{self.hash}"

    @classmethod
    def parse(cls, table_id: str) -> "FrozenTable":
        """Return the table with this id. Raises `WrongTable` for a text that is none."""
        table_id = table_id.strip()
        if not is_table_id(table_id):
            raise WrongTable(
                f"{table_id[:100]!r} is no id of a table, such as mugs.0123456789abcdef"
            )
        name, _, content_hash = table_id.rpartition(".")
        return cls(name=name, hash=content_hash)

    def __str__(self) -> str:
        return self.id


class FrozenRow(BaseModel):
    """One row of a frozen table."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Counted from 1."""
    line: int | None = None
    """Where it stood in the text that was read."""
    given: dict[str, JsonValue] = {}
    """All its columns as they were given, the user's own among them."""
    order: ClipOrder | None = None
    """What to make; None for a row with mistakes."""
    wrong: str = ""
    """What is wrong with it."""

    @property
    def tags(self) -> dict[str, str]:
        """Who pays for it: its columns such as `tag.project`."""
        return usable_tags(tag_columns(self.given))

    @property
    def own_id(self) -> str:
        """What its column `id` says, as a short name of one line; empty without one."""
        given = printable(str(self.given.get("id") or ""))
        return " ".join(given.split())[:_MOST_OF_ID]


class BatchPlan(BaseModel):
    """A frozen table, or some of its rows, and what its clips cost.

    It holds about 300 bytes a row; the rows themselves stay in the bucket.
    """

    model_config = ConfigDict(frozen=True)

    table: FrozenTable
    first: int = 1
    """The first of the rows that are meant, counted from 1."""
    last: int = 0
    """The last of them."""
    wrong: int = 0
    """How many of them have mistakes, and are left out."""
    quotes: dict[str, Quote] = {}
    """The price of each different clip, by key, in the order of the rows."""
    repeats: dict[str, list[int]] = {}
    """The numbers of all rows that order the same clip, where there are several."""
    samples: tuple[str, ...] = ()
    """The beginnings of the first prompts, for people who are asked about the table."""

    @property
    def rows(self) -> int:
        """How many rows are meant."""
        return self.last - self.first + 1


def table_name(address: str) -> str:
    """Return a name for the table at an address: the name of its file."""
    stem = PurePosixPath(address.rstrip("/")).name.partition(".")[0]
    return latin_words(stem)[:_NAME_LENGTH].strip("-") or "table"


def rows_of_requests(requests: Iterable[VideoRequest]) -> Iterator[TableRow]:
    """Return requests that a program made as rows of a table."""
    for number, request in enumerate(requests, 1):
        yield TableRow(number, {}, ClipOrder(request=request))


def is_table_id(given: str) -> bool:
    """Whether a text is the id of a frozen table, and not a table or its address."""
    return _ID.fullmatch(given.strip()) is not None


def freeze(
    rows: Iterable[TableRow], name: str, bucket: Bucket | None, *, skip_wrong: bool = False
) -> BatchPlan:
    """Keep a copy of a table in the bucket, if there is one, and return what its clips cost.

    Free, blocking, safe to repeat: equal tables are one. Raises `TableInvalid` for a row with
    mistakes before anything is stored. With `skip_wrong` such a row is kept with its mistakes and
    ordered by nobody, unless all rows are wrong. Raises what `rows` raises, and storage errors.
    """
    with TemporaryFile("w+b") as file:
        digest = hashlib.sha256()
        content = hashlib.sha256()
        mistakes: list[Mistake] = []
        count = 0
        for count, row in enumerate(rows, 1):
            mistakes += row.mistakes
            line = _written(_frozen(count, row))
            # Of what the copy says: JSON has no infinite numbers, for example.
            content.update(_identity(_parse(line)))
            digest.update(line)
            file.write(line)
        if mistakes and not skip_wrong:
            raise TableInvalid.of(mistakes)
        table = FrozenTable(name=name, hash=content.hexdigest()[:_HASH_LENGTH])
        file.seek(0)
        plan = _plan(table, map(_parse, file), 1, count)
        if not plan.quotes:
            raise TableInvalid.of(mistakes)
        if bucket is None:
            return plan
        size = file.seek(0, 2)
        path = layout.frozen_table(table.id)
        if bucket.put_file(path, file, size, digest.hexdigest(), "application/jsonl"):
            return plan
        # The same table was frozen before, and that copy stays, if it is one.
        return plan_frozen(table, bucket)


def _frozen(number: int, row: TableRow) -> FrozenRow:
    wrong = "; ".join(str(mistake) for mistake in row.mistakes)
    # A table of results may be read again; what is in it of a former run says nothing of this one.
    given = {name: value for name, value in row.given.items() if not name.startswith(RESULTS)}
    return FrozenRow(number=number, line=row.line, given=given, order=row.order, wrong=wrong)


def _written(row: FrozenRow) -> bytes:
    """Return a row as a line of JSON. Raises `TableInvalid` for a text that no file can hold."""
    try:
        return row.model_dump_json().encode() + b"\n"
    except PydanticSerializationError:
        raise TableInvalid(
            f"row {row.number} holds half of a pair of characters, which no file can hold"
        ) from None


def _identity(row: FrozenRow) -> bytes:
    """Return what makes a row what it is, whatever versions of this package write about it."""
    clip_key = ""
    if row.order is not None:
        clip_key = row.order.clip_key
    written = json.dumps([row.given, clip_key], sort_keys=True, separators=(",", ":"))
    return written.encode() + b"\n"


def _parse(line: bytes) -> FrozenRow:
    return FrozenRow.model_validate_json(line, context=STORED)


def read_frozen(table: FrozenTable, bucket: Bucket) -> Iterator[FrozenRow]:
    """Yield the rows of a frozen table, from a copy on disk. Free, blocking.

    Raises `WrongTable` if there is no such table, and `LedgerUnreadable` for a damaged copy.
    """
    path = layout.frozen_table(table.id)
    if path not in bucket.names(path):
        raise WrongTable(f"there is no frozen table {table.id} in {bucket.uri(layout.BATCHES)}")
    with TemporaryFile("w+b") as file:
        bucket.fetch(path, file)
        file.seek(0)
        try:
            yield from map(_parse, file)
        except ValueError as error:
            told = f"{bucket.uri(path)} cannot be read"
            raise LedgerUnreadable(told, detail=str(error)[:300]) from None


def plan_frozen(
    table: FrozenTable, bucket: Bucket, first: int = 1, last: int | None = None
) -> BatchPlan:
    """Return what the clips of a frozen table cost, or those of some of its rows.

    Free, blocking. Raises what `read_frozen` raises, and `LedgerUnreadable` for a copy that is not
    what its hash says: nobody has quoted or approved that.
    """
    return _plan(table, _verified(table, read_frozen(table, bucket)), first, last)


def _verified(table: FrozenTable, rows: Iterable[FrozenRow]) -> Iterator[FrozenRow]:
    """Yield all rows; raise `LedgerUnreadable` behind the last one if they are others."""
    content = hashlib.sha256()
    for row in rows:
        content.update(_identity(row))
        yield row
    if content.hexdigest()[:_HASH_LENGTH] != table.hash:
        raise LedgerUnreadable(f"the copy of the table {table} was changed after it was frozen")


def _plan(table: FrozenTable, rows: Iterable[FrozenRow], first: int, last: int | None) -> BatchPlan:
    wrong = 0
    samples: list[str] = []
    number = first - 1
    numbers: dict[str, int] = {}
    quotes: dict[str, Quote] = {}
    repeats: dict[str, list[int]] = {}
    # Most rows have one of a few prices.
    known: dict[Quote, Quote] = {}
    for row in rows:
        if row.number < first or (last is not None and row.number > last):
            continue
        number = row.number
        if row.order is None:
            wrong += 1
            continue
        clip_key = row.order.clip_key
        if clip_key in numbers:
            repeats.setdefault(clip_key, [numbers[clip_key]]).append(row.number)
            continue
        numbers[clip_key] = row.number
        if len(samples) < _MOST_SAMPLES:
            samples.append(row.order.request.headline)
        price = quote(row.order.request)
        quotes[clip_key] = known.setdefault(price, price)
    return BatchPlan(
        table=table,
        first=first,
        last=number,
        wrong=wrong,
        quotes=quotes,
        repeats=repeats,
        samples=tuple(samples),
    )


def in_groups(rows: Iterable[FrozenRow], size: int) -> Iterator[Sequence[FrozenRow]]:
    """Yield rows a few at a time: parsing them blocks, and a group is parsed in one thread."""
    group: list[FrozenRow] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
