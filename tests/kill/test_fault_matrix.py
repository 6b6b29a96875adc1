"""The fault matrix covers every fault that the sandbox plays, and loses no row it has measured."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests import documents
from tests.kill.fault_matrix import FAULTS, Row, name_of, read_kept, table, uncovered


def test_no_fault_of_the_sandbox_is_left_out() -> None:
    """A new kind of fault gets a row in the matrix."""
    assert uncovered() == set()


def test_no_two_faults_have_one_name() -> None:
    """Rows are known by the names of their faults."""
    names = [name_of(fault) for fault in FAULTS]
    assert len(set(names)) == len(names)


def test_an_interrupted_matrix_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """Rows are read as they were kept; the table has them in the order of the faults."""
    first, second = (Row(name_of(fault), 4, 4, 0, 4, 0, 0, 0, 0, "nothing") for fault in FAULTS[:2])
    kept = tmp_path / "rows.jsonl"
    assert read_kept(kept) == {}
    kept.write_text("".join(f"{json.dumps(asdict(row))}\n" for row in (second, first)))
    measured = read_kept(kept)
    assert measured == {first.fault: first, second.fault: second}
    told = table(measured)
    assert told.index(first.fault) < told.index(second.fault)


def test_a_table_is_written_only_where_the_document_has_a_place_for_it(tmp_path: Path) -> None:
    """What stands around it stays; without the marks nothing is overwritten."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- rows -->\nold\n<!-- /rows -->\nafter\n")
    documents.write_section(page, "rows", "new\n")
    assert page.read_text() == "before\n<!-- rows -->\nnew\n<!-- /rows -->\nafter\n"
    with pytest.raises(ValueError, match="has no section others"):
        documents.write_section(page, "others", "new")
    assert "others" not in page.read_text()


@pytest.mark.parametrize("section", ["torture", "faults"])
def test_the_page_about_money_has_a_place_for_each_table(section: str) -> None:
    """`--document` must not fail after half an hour of measuring."""
    page = (documents.ROOT / "docs" / "money.md").read_text()
    assert f"<!-- {section} -->\n" in page
    assert f"<!-- /{section} -->" in page
