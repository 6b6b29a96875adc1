"""The composition examples, run as they stand, with Prefect's results persisted."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

from prefect_kling.examples import composition
from prefect_kling.studio.money.archive import Archive

pytestmark = pytest.mark.usefixtures("default_blocks")


@pytest.fixture(autouse=True)
def persisted() -> Iterator[None]:
    """Results are written down."""
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        yield


@pytest.mark.slow
def test_from_an_asynchronous_flow(archive: Archive) -> None:
    """The clip is a sub-flow's result."""
    assert asyncio.run(composition.from_an_async_flow("A mug")).startswith(
        archive.bucket.uri("clips/")
    )


@pytest.mark.slow
def test_from_a_synchronous_flow(archive: Archive) -> None:
    """The same without a coroutine in sight."""
    assert composition.from_a_sync_flow("A jug").startswith(archive.bucket.uri("clips/"))


def test_from_a_script(archive: Archive) -> None:
    """One synchronous call; made again, it is the same clip."""
    first = composition.from_a_script("A kettle")
    assert first.startswith(archive.bucket.uri("clips/"))
    assert composition.from_a_script("A kettle") == first


def test_step_by_step(archive: Archive) -> None:
    """The three tasks, with the names of the front door only."""
    uri = asyncio.run(composition.step_by_step("A pan"))
    (version,) = archive.ledger.all_records()
    assert uri == archive.clip_uri(version.entry.clip_key)
    assert version.entry.attempt == 1


@pytest.mark.slow
def test_mapped_over_a_list(archive: Archive) -> None:
    """One row per product in order, with address, size and price."""
    rows = composition.mapped_over_a_list(["A cup", "A bowl"])
    assert [row["product"] for row in rows] == ["A cup", "A bowl"]
    for row in rows:
        assert str(row["uri"]).startswith(archive.bucket.uri("clips/"))
        assert int(str(row["bytes"])) > 1000
        assert row["usd"] == "0.1899"


@pytest.mark.slow
def test_from_a_table_and_back(tmp_path: Path) -> None:
    """Every row gets its clip or its reason; a second run has only the moderated one left."""
    database = tmp_path / "products.db"
    with closing(sqlite3.connect(database)) as table, table:
        table.execute("CREATE TABLE products (name, uri, bytes, usd, trouble)")
        names: list[tuple[Any, ...]] = [
            ("A vase",),
            ("[fail:CONTENT_MODERATION] A sword",),
            ("A lamp",),
        ]
        table.executemany("INSERT INTO products (name) VALUES (?)", names)
    assert asyncio.run(composition.from_a_table_and_back(database)) == 2
    with closing(sqlite3.connect(database)) as table, table:
        rows = dict(table.execute("SELECT name, coalesce(uri, trouble) FROM products"))
    assert rows["A vase"].endswith(".mp4")
    assert "CONTENT_MODERATION" in rows["[fail:CONTENT_MODERATION] A sword"]
    assert asyncio.run(composition.from_a_table_and_back(database)) == 0
