"""`prefect-kling batch` as a person meets it."""

import csv
import re
from pathlib import Path

import httpx
import pytest

from prefect_kling.studio.money.archive import Archive
from tests.deployments.conftest import Call


@pytest.mark.usefixtures("default_blocks")
def test_a_batch_tells_its_rows_in_trouble_and_brings_its_results(
    call: Call, prefect_ui: str, archive: Archive, tmp_path: Path
) -> None:
    """By the user's own id, with the reason; the exit code says it, and a quote counts them so."""
    tag = archive.bucket.prefix.strip("/")
    table = tmp_path / "cups.csv"
    table.write_text(
        f"id,prompt,duration\nCUP-1,A cup {tag},3\nCUP-2,[fail:CONTENT_MODERATION] {tag},3\n"
    )
    results = tmp_path / "results.csv"
    server = f"{prefect_ui}/api"
    done = call("batch", str(table), "--to", str(results), PREFECT_API_URL=server)
    assert done.returncode == 1, done.stderr
    assert "row 2 failed CUP-2: " in done.stdout
    assert "CONTENT_MODERATION" in done.stdout
    (link,) = re.findall(r"^  open: (http.*)$", done.stdout, re.MULTILINE)
    assert httpx.get(link).content == results.read_bytes()
    with results.open(newline="", encoding="utf-8-sig") as file:
        states = {row["id"]: row["kling_state"] for row in csv.DictReader(file)}
    assert states == {"CUP-1": "archived", "CUP-2": "failed"}

    quoted = call("quote", str(table), PREFECT_API_URL=server)
    assert quoted.returncode == 0, quoted.stderr
    assert "1 of 2 different clips: failed for good" in quoted.stdout
    assert "To be paid: $0;" in quoted.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("default_blocks")
def test_a_batch_is_paid_by_whom_its_words_and_its_rows_name(
    call: Call, prefect_ui: str, archive: Archive, tmp_path: Path
) -> None:
    """A row's own tag wins; a word that is no tag is refused before anything is sent."""
    table = tmp_path / "mugs.csv"
    own = archive.bucket.prefix.strip("/")
    table.write_text(f"prompt,duration,tag.client\nA mug {own},3,Beta\nA jug {own},3,\n")
    words = ("batch", str(table), "--tag", "project=spring", "--tag")
    server = f"{prefect_ui}/api"
    refused = call(*words, "Acme", PREFECT_API_URL=server)
    assert "name=value, such as project=spring" in refused.stderr
    assert list(archive.ledger.all_keys()) == []
    done = call(*words, "client=Acme", PREFECT_API_URL=server)
    assert done.returncode == 0, done.stderr
    tags = {
        each.entry.order.request.prompt: each.entry.tags for each in archive.ledger.all_records()
    }
    assert tags == {
        f"A mug {own}": {"project": "spring", "client": "Beta"},
        f"A jug {own}": {"project": "spring", "client": "Acme"},
    }
