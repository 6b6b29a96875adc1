"""What became of each row of a table: parts written while a batch runs, and one table in the end.

S3 cannot append. So results are written in parts as they come, and merged: the parts say what a run
saw, the ledger and the archive what is true by now, and each row is in the results once.
"""

import csv
import io
import json
import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Self, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from prefect_kling.kling.job_ids import as_job_id
from prefect_kling.studio.batch.frozen import FrozenRow, FrozenTable, read_frozen
from prefect_kling.studio.errors import WrongTable
from prefect_kling.studio.film.reading.columns import FORMULA, RESULTS
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState
from prefect_kling.studio.money.record import BEFORE_A_JOB
from prefect_kling.studio.money.standing import recorded_keys
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

LOG = logging.getLogger(__name__)
_PLAIN_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


# Fields of a row that are no columns of results.
_NO_COLUMNS = {"given", "clip"}


class RowState(StrEnum):
    """What became of a row, as far as is known."""

    ARCHIVED = "archived"
    """Its clip is in the archive."""
    UNDER_WAY = "under way"
    """Its job is paid and not archived yet."""
    HELD = "held"
    """Somebody must decide: it may be paid."""
    FAILED = "failed"
    """It has no clip; `trouble` says why."""
    WRONG = "wrong"
    """The row has mistakes and was left out."""
    NOT_SENT = "not sent"
    """No run has come to it yet."""


class BatchRow(BaseModel):
    """What became of one row of a table."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Which row, counted from 1."""
    state: RowState
    clip_key: str = ""
    job_id: str | None = None
    usd: Decimal | None = None
    """What the clip cost, or is to cost where it is under way."""
    seconds: float | None = None
    """Length of the clip."""
    uri: str = ""
    """Where the clip is."""
    trouble: str = ""
    """Why there is no clip."""
    notes: str = ""
    """How the clip differs from what was ordered, and what is suspicious about it."""
    suspect: str = ""
    """Which checks of pictures and sound it fails, such as `black, silent`."""
    given: dict[str, JsonValue] = {}
    """All columns of the row as they were given."""
    clip: Clip | None = None
    """The record of the clip, where it was read."""

    @classmethod
    def of_clip(cls, number: int, clip: Clip) -> Self:
        """Return the row of an archived clip."""
        return cls(
            number=number,
            state=RowState.ARCHIVED,
            clip_key=clip.clip_key,
            job_id=as_job_id(clip.job_id),
            usd=clip.usd,
            seconds=clip.media.seconds,
            uri=clip.uri,
            notes="; ".join(clip.notes),
            suspect=clip.suspect,
        )

    @classmethod
    def of_entry(cls, number: int, entry: Entry) -> Self:
        """Return the row of a clip that is not archived and has a record."""
        state = RowState.FAILED
        if entry.state is EntryState.HELD:
            state = RowState.HELD
        elif entry.state in (*BEFORE_A_JOB, EntryState.SUBMITTED):
            state = RowState.UNDER_WAY
        trouble = ""
        if state is not RowState.UNDER_WAY:
            trouble = entry.history[-1].note
        return cls(
            number=number,
            state=state,
            clip_key=entry.clip_key,
            job_id=as_job_id(entry.job_id),
            usd=entry.at_most_usd,
            trouble=trouble,
        )

    def columns(self) -> dict[str, JsonValue]:
        """Return the columns that results add to those that were given."""
        written = self.model_dump(mode="json", exclude=_NO_COLUMNS)
        return {RESULTS + name: value for name, value in written.items()}


@dataclass(frozen=True)
class BatchResult(Sequence[BatchRow]):
    """What became of a batch: counts, money, and where its table of results is.

    It is small, whatever the size of the batch: rows are read when they are asked for. In the
    process that made it, it is also the sequence of its rows, each with the record of its clip;
    every row costs a read of that record then. `read_rows` is for large batches, and for a result
    that has travelled.
    """

    table: FrozenTable
    counts: Mapping[RowState, int]
    """How many rows are in which state."""
    usd: Decimal
    """What the archived clips cost, each different one once."""
    results_uri: str
    """Address of the table of results as JSON Lines."""
    csv_uri: str
    """Address of the same table as CSV."""
    archive: Archive | None = field(default=None, repr=False, compare=False)
    """Where the rows are read from. It does not travel."""
    suspects: int = 0
    """How many rows have a clip that fails checks of pictures or sound."""

    def count(self, state: RowState) -> int:
        """Return how many rows are in this state."""
        return self.counts.get(state, 0)

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come by itself."""
        return self.count(RowState.UNDER_WAY) == 0

    def read_rows(self, archive: Archive) -> Iterator[BatchRow]:
        """Yield the rows in their order, without the records of clips. Free, blocking."""
        yield from read_results(self.table, archive.bucket)

    def __iter__(self) -> Iterator[BatchRow]:
        if self.archive is None:
            raise WrongTable(f"the rows of {self.table} are read with `read_rows(archive)` here")
        for row in self.read_rows(self.archive):
            clip = None
            if row.state is RowState.ARCHIVED:
                clip = self.archive.find(row.clip_key)
            yield row.model_copy(update={"clip": clip})

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __getstate__(self) -> dict[str, Any]:
        # An archive holds the store's secret.
        return self.__dict__ | {"archive": None}

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.counts.items())
        if self.suspects:
            counts = f"{counts} ({self.suspects} suspect)"
        return f"{self.table}: {len(self)} rows: {counts}; ${self.usd}"


class ResultParts:
    """The parts that one run writes. Names sort by the time the run began."""

    def __init__(self, table: FrozenTable, bucket: Bucket) -> None:
        self._bucket = bucket
        self._begun = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.{secrets.token_hex(4)}"
        self._folder = layout.result_parts(table.id)
        self._count = 0

    def write(self, rows: Iterable[BatchRow]) -> None:
        """Write some rows as one part. Free, blocking; each call writes another part."""
        self._count += 1
        path = f"{self._folder}{self._begun}.{self._count:06}.jsonl"
        lines = [f"{row.model_dump_json(exclude=_NO_COLUMNS)}\n" for row in rows]
        self._bucket.put(path, "".join(lines).encode(), "application/jsonl")


@dataclass
class _Latest:
    """Where the part is that says the last word about a row."""

    offset: int
    clip_key: str
    is_archived: bool


def merge_results(table: FrozenTable, archive: Archive) -> BatchResult:
    """Write a table's results anew from its parts, the ledger and the archive, and return them.

    Free, blocking, safe to repeat and beside a run that still writes. It reads the record of each
    clip that no part calls archived. Raises what `read_frozen` and the ledger raise.
    """
    with TemporaryFile("w+b") as parts, TemporaryFile("w+b") as lines:
        latest = _collect_parts(table, archive.bucket, cast("BinaryIO", parts))
        waiting = _not_archived(table, archive.bucket, latest)
        recorded = recorded_keys(waiting, archive.ledger)
        counts: Counter[RowState] = Counter()
        suspects = 0
        prices: dict[str, Decimal] = {}
        headings: dict[str, None] = {}
        for frozen in read_frozen(table, archive.bucket):
            row = _result(frozen, latest, cast("BinaryIO", parts), recorded, archive)
            counts[row.state] += 1
            suspects += bool(row.suspect)
            if row.state is RowState.ARCHIVED and row.usd is not None:
                prices[row.clip_key] = row.usd
            headings.update(dict.fromkeys(frozen.given))
            written = frozen.given | row.columns()
            lines.write(json.dumps(written, ensure_ascii=False).encode() + b"\n")

        csv_path = layout.results(table.id, "csv")
        with TemporaryFile("w+b") as spreadsheet:
            _write_csv(list(headings), cast("BinaryIO", lines), cast("BinaryIO", spreadsheet))
            archive.bucket.put_stream(csv_path, cast("BinaryIO", spreadsheet), "text/csv")
        results_path = layout.results(table.id, "jsonl")
        archive.bucket.put_stream(results_path, cast("BinaryIO", lines), "application/jsonl")
    return BatchResult(
        table=table,
        counts={state: counts[state] for state in RowState if counts[state]},
        usd=sum(prices.values(), NOTHING),
        results_uri=archive.bucket.uri(results_path),
        csv_uri=archive.bucket.uri(csv_path),
        archive=archive,
        suspects=suspects,
    )


def read_results(table: FrozenTable, bucket: Bucket) -> Iterator[BatchRow]:
    """Yield the rows of the last results that were written. Free, blocking."""
    with TemporaryFile("w+b") as file:
        bucket.fetch(layout.results(table.id, "jsonl"), cast("BinaryIO", file))
        file.seek(0)
        for line in file:
            columns = json.loads(line)
            facts = {
                name: columns.pop(RESULTS + name)
                for name in BatchRow.model_fields
                if RESULTS + name in columns
            }
            yield BatchRow.model_validate(facts | {"given": columns})


def _collect_parts(table: FrozenTable, bucket: Bucket, file: BinaryIO) -> dict[int, _Latest]:
    """Copy all parts into a file, and return where each row's last word is, by number."""
    latest: dict[int, _Latest] = {}
    for path in sorted(bucket.names(layout.result_parts(table.id))):
        begin = file.seek(0, 2)
        bucket.fetch(path, file)
        file.seek(begin)
        offset = begin
        for line in file:
            row = _read_row(line, bucket.uri(path))
            if row is not None:
                before = latest.get(row.number)
                is_archived = row.state is RowState.ARCHIVED
                # An archived clip stays archived, whatever a run that came later could not see.
                if before is None or is_archived or not before.is_archived:
                    latest[row.number] = _Latest(offset, row.clip_key, is_archived)
            offset += len(line)
    return latest


def _read_row(line: bytes, uri: str) -> BatchRow | None:
    """Return a row of a part; None for a damaged one: ledger and archive know what it said."""
    try:
        return BatchRow.model_validate_json(line)
    except ValueError as error:
        LOG.warning("a row in %s cannot be read, and is looked up: %s", uri, str(error)[:300])
        return None


def _not_archived(
    table: FrozenTable, bucket: Bucket, latest: Mapping[int, _Latest]
) -> Iterator[str]:
    for row in read_frozen(table, bucket):
        if row.order is None:
            continue
        known = _known(latest, row.number, row.order.clip_key)
        if known is None or not known.is_archived:
            yield row.order.clip_key


def _known(latest: Mapping[int, _Latest], number: int, clip_key: str) -> _Latest | None:
    """Return the last word about a row, if it is about the clip that the row orders."""
    known = latest.get(number)
    if known is None or known.clip_key != clip_key:
        return None
    return known


def _result(
    frozen: FrozenRow,
    latest: Mapping[int, _Latest],
    parts: BinaryIO,
    recorded: set[str],
    archive: Archive,
) -> BatchRow:
    if frozen.order is None:
        return BatchRow(number=frozen.number, state=RowState.WRONG, trouble=frozen.wrong)

    seen = None
    clip_key = frozen.order.clip_key
    known = _known(latest, frozen.number, clip_key)
    if known is not None:
        parts.seek(known.offset)
        seen = BatchRow.model_validate_json(parts.readline())
        if known.is_archived:
            return seen

    if clip_key in recorded:
        now = _recorded(frozen.number, clip_key, archive)
        # What a run saw of a failure says more than the record does.
        if now is not None and not (seen is not None and seen.state is now.state):
            return now
    if seen is not None:
        return seen
    return BatchRow(number=frozen.number, state=RowState.NOT_SENT, clip_key=clip_key)


def _recorded(number: int, clip_key: str, archive: Archive) -> BatchRow | None:
    """Return what ledger and archive know of a clip; None if no run has begun with it."""
    version = archive.ledger.read(clip_key)
    if version is None:
        return None
    if version.entry.state is EntryState.ARCHIVED:
        clip = archive.find(clip_key)
        if clip is not None:
            return BatchRow.of_clip(number, clip)
    return BatchRow.of_entry(number, version.entry)


def _write_csv(headings: list[str], lines: BinaryIO, file: BinaryIO) -> None:
    """Write lines of JSON as a table that spreadsheets open."""
    added = [RESULTS + name for name in BatchRow.model_fields if name not in _NO_COLUMNS]
    # With the mark that tells Excel the encoding.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow([cell(name) for name in (*headings, *added)])
    lines.seek(0)
    for line in lines:
        written = json.loads(line)
        rows.writerow([cell(written.get(name)) for name in (*headings, *added)])
    text.detach()


def cell(value: JsonValue) -> str:
    """Return a value as a cell of a CSV table.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, as people write
    it there; numbers stay numbers.
    """
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        value = " ".join(str(each) for each in value)
    if isinstance(value, dict | list | bool):
        value = json.dumps(value, ensure_ascii=False)
    text = str(value)
    if FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    if text.startswith(("\t", "\r")):
        return f"'{text}"
    return text
