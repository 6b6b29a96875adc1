"""A table in, a table out: what became of each row, merged from parts, ledger and archive."""

import csv
import io
import pickle
from decimal import Decimal

import pytest

from prefect_kling.studio.batch.frozen import BatchPlan, FrozenTable, freeze, plan_frozen
from prefect_kling.studio.batch.results import (
    BatchResult,
    BatchRow,
    ResultParts,
    RowState,
    cell,
    merge_results,
)
from prefect_kling.studio.errors import TableInvalid, WrongTable
from prefect_kling.studio.film.reading.table import read_rows
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder

TEXT = 'id,prompt,note\n1,A mug,=HYPERLINK("evil")\n2,A jug,\n3,A mug,twice\n4,\'=a prompt,-5\n'


def frozen(archive: Archive, text: str = TEXT, *, skip_wrong: bool = False) -> BatchPlan:
    """A table in the archive."""
    return freeze(read_rows(text), "mugs", archive.bucket, skip_wrong=skip_wrong)


def archived(number: int, clip_key: str) -> BatchRow:
    """What a run has seen of a clip that is there."""
    return BatchRow(
        number=number,
        state=RowState.ARCHIVED,
        clip_key=clip_key,
        usd=Decimal("0.5"),
        seconds=5.04,
        uri="s3://films/x.mp4",
    )


def failed(number: int, clip_key: str, trouble: str) -> BatchRow:
    """A row whose clip has failed."""
    return BatchRow(number=number, state=RowState.FAILED, clip_key=clip_key, trouble=trouble)


def spreadsheet(result: BatchResult, archive: Archive) -> list[dict[str, str]]:
    """The results as a spreadsheet reads them."""
    stored = archive.bucket.read(archive.bucket.path_of(result.csv_uri))
    assert stored is not None
    return list(csv.DictReader(io.StringIO(stored.body.decode("utf-8-sig"))))


def test_equal_tables_are_one_and_a_changed_one_is_another(archive: Archive) -> None:
    """However it is written: the hash is that of the rows."""
    plan = frozen(archive)
    assert (
        frozen(archive, TEXT.replace(",", ";").replace('"', "'").replace("'evil'", '"evil"')).rows
        == 4
    )
    assert frozen(archive, TEXT.replace("\n", "\r\n")).table == plan.table
    assert frozen(archive, TEXT.replace("A jug", "A jar")).table != plan.table
    assert frozen(archive, TEXT.replace("2,", "5,", 1)).table != plan.table
    assert plan_frozen(plan.table, archive.bucket) == plan


def test_a_plan_counts_equal_requests_once(archive: Archive) -> None:
    """And knows all of their rows."""
    plan = frozen(archive)
    assert (plan.rows, len(plan.quotes), list(plan.repeats.values())) == (4, 3, [[1, 3]])
    some = plan_frozen(plan.table, archive.bucket, first=2, last=3)
    assert (some.rows, len(some.quotes), some.repeats) == (2, 2, {})


def test_each_row_is_in_the_results_with_the_users_columns(archive: Archive) -> None:
    """In the order of the table; rows that no run came to say so."""
    plan = frozen(archive)
    mug = ClipOrder.model_validate({"request": {"model": "kling-v3-omni", "prompt": "A mug"}})
    parts = ResultParts(plan.table, archive.bucket)
    parts.write([archived(3, mug.clip_key), archived(1, mug.clip_key)])
    _, jug, _ = plan.quotes
    parts.write([BatchRow(number=2, state=RowState.FAILED, clip_key=jug, trouble="moderated")])
    result = merge_results(plan.table, archive)
    assert result.counts == {RowState.ARCHIVED: 2, RowState.FAILED: 1, RowState.NOT_SENT: 1}
    assert result.usd == Decimal("0.5")
    rows = list(result.read_rows(archive))
    assert [row.given["id"] for row in rows] == ["1", "2", "3", "4"]
    assert [row.state.value for row in rows] == ["archived", "failed", "archived", "not sent"]
    table = spreadsheet(result, archive)
    assert [line["kling_state"] for line in table] == [row.state.value for row in rows]
    assert [line["kling_trouble"] for line in table] == ["", "moderated", "", ""]
    assert table[0]["note"] == '\'=HYPERLINK("evil")'
    assert table[3]["note"] == "-5"


def test_a_later_word_counts_unless_the_clip_is_archived(archive: Archive) -> None:
    """Whatever a run that came later could not see."""
    plan = frozen(archive)
    _, jug, last = plan.quotes
    first = ResultParts(plan.table, archive.bucket)
    first.write([failed(2, jug, "the API was away"), archived(4, last)])
    second = ResultParts(plan.table, archive.bucket)
    second.write([archived(2, jug), failed(4, last, "no store")])
    rows = list(merge_results(plan.table, archive).read_rows(archive))
    assert [rows[1].state, rows[3].state] == [RowState.ARCHIVED, RowState.ARCHIVED]


def test_a_table_of_results_can_be_given_again(archive: Archive) -> None:
    """It is the same table: nothing is paid for a second time."""
    plan = frozen(archive)
    merge_results(plan.table, archive)
    stored = archive.bucket.read(archive.bucket.path_of(merge_results(plan.table, archive).csv_uri))
    assert stored is not None
    again = frozen(archive, stored.body.decode("utf-8-sig"))
    assert again.table == plan.table
    assert list(again.quotes) == list(plan.quotes)


def test_wrong_rows_are_kept_with_their_mistakes_where_they_are_skipped(archive: Archive) -> None:
    """A table of nothing else is refused all the same."""
    text = "id,prompt,duration\n1,A mug,5\n2,A jug,99\n"
    with pytest.raises(TableInvalid, match="line 3: duration"):
        frozen(archive, text)
    plan = frozen(archive, text, skip_wrong=True)
    assert (plan.rows, plan.wrong, len(plan.quotes)) == (2, 1, 1)
    result = merge_results(plan.table, archive)
    assert result.counts == {RowState.WRONG: 1, RowState.NOT_SENT: 1}
    assert "duration" in spreadsheet(result, archive)[1]["kling_trouble"]
    with pytest.raises(TableInvalid):
        frozen(archive, "id,prompt,duration\n2,A jug,99\n", skip_wrong=True)


@pytest.mark.parametrize("broken", ['3,"A jar,5\n', "3,A jar,5,6\n"])
def test_a_table_broken_in_structure_is_refused_whole(archive: Archive, broken: str) -> None:
    """Also where wrong rows are skipped: nothing in it can be trusted to be what it looks like."""
    with pytest.raises(TableInvalid, match="line 3"):
        frozen(archive, f"id,prompt,duration\n1,A mug,5\n{broken}", skip_wrong=True)
    assert list(archive.bucket.names("batches/")) == []


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        (" =1+1", "' =1+1"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("-5", "-5"),
        ("+49,5", "+49,5"),
        (-5, "-5"),
        (None, ""),
        (True, "true"),
        (["a", "b"], "a b"),
        ({"a": [1]}, '{"a": [1]}'),
        ('plain, with "quotes"', 'plain, with "quotes"'),
    ],
)
def test_no_cell_is_a_formula(value: object, written: str) -> None:
    """Numbers stay numbers: they are what tables are joined by."""
    assert cell(value) == written  # type: ignore[arg-type]  # any JSON value


def test_a_result_travels_without_the_archive(archive: Archive) -> None:
    """It is small, holds no secret, and says how rows are read elsewhere."""
    plan = frozen(archive)
    result = merge_results(plan.table, archive)
    travelled = pickle.loads(pickle.dumps(result))
    assert travelled == result
    assert len(pickle.dumps(result)) < 1000
    assert len(travelled) == 4
    with pytest.raises(WrongTable, match="read_rows"):
        list(travelled)
    assert len(list(travelled.read_rows(archive))) == 4


def test_a_table_that_was_never_frozen_is_told(archive: Archive) -> None:
    """And an id that is none is never part of an address."""
    with pytest.raises(WrongTable, match="no frozen table"):
        plan_frozen(FrozenTable(name="mugs", hash="0" * 16), archive.bucket)
    with pytest.raises(WrongTable, match="no id"):
        FrozenTable.parse("../ledger/jobs.0123456789abcdef")
