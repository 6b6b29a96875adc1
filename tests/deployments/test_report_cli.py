"""`prefect-kling report` as a person meets it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest
from tests.deployments.conftest import Call
from tests.orders import ordered

PRICE = Decimal("0.1899")


@pytest.fixture
def paid(archive: Archive) -> None:
    """Two clips that were paid, for clients whose names are no formula and no markup."""
    for number, client in enumerate(("=1+1", "[red]Acme")):
        order = ordered(archive, f"clip {number}")
        claim = ClaimRequest(PRICE, film="dawn", tags={"client": client})
        sent = archive.ledger.mark_sending(archive.ledger.claim(order, claim))
        archive.ledger.archived(archive.ledger.submitted(sent, f"job {number}"), "s3://x", PRICE)


@pytest.mark.usefixtures("default_blocks", "paid")
def test_a_report_is_printed_for_people_spreadsheets_and_programs(
    call: Call, prefect_ui: str
) -> None:
    """The same sums in all three, to the last digit; a formula stays a text."""
    server = f"{prefect_ui}/api"

    table = call("report", "--by", "film,client", PREFECT_API_URL=server)
    assert table.returncode == 0, table.stderr
    for text in ("=1+1", "[red]Acme", "$0.1899", "$0.3798"):
        assert text in table.stdout

    printed = call("report", "--by", "film,client", "--csv", PREFECT_API_URL=server)
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [(row["client"], row["paid_usd"]) for row in rows] == [
        ("'=1+1", "0.1899"),
        ("[red]Acme", "0.1899"),
    ]

    told = json.loads(call("report", "--by", "film", "--json", PREFECT_API_URL=server).stdout)
    assert [(row["film"], row["clips"], row["paid_usd"]) for row in told["rows"]] == [
        ("dawn", "2", "0.3798")
    ]
    assert told["total"]["paid_usd"] == "0.3798"


@pytest.mark.usefixtures("default_blocks", "paid")
def test_a_report_of_some_days_has_what_was_sent_on_them(call: Call, prefect_ui: str) -> None:
    """Both days included; what is no day, or ends before it begins, is refused."""
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    server = f"{prefect_ui}/api"

    def paid_usd(*words: str) -> str:
        done = call("report", "--by", "film", "--json", *words, PREFECT_API_URL=server)
        return str(json.loads(done.stdout)["total"]["paid_usd"])

    assert (
        paid_usd("--since", f"{yesterday}", "--until", f"{today + timedelta(days=1)}") == "0.3798"
    )
    assert paid_usd("--until", f"{yesterday}") == "0"
    for words, told in (
        (("--since", f"{today}", "--until", f"{yesterday}"), "no day is meant"),
        (("--since", "soon"), "soon"),
    ):
        refused = call("report", *words, PREFECT_API_URL=server)
        assert refused.returncode != 0
        assert told in refused.stdout + refused.stderr


@pytest.mark.usefixtures("default_blocks", "paid")
def test_a_report_by_what_there_is_not_says_what_there_is(call: Call, prefect_ui: str) -> None:
    """A misspelled dimension is refused; a tag that no record has is told beside the report."""
    refused = call("report", "--by", "modell", PREFECT_API_URL=f"{prefect_ui}/api")
    assert refused.returncode == 1
    assert "did you mean model" in refused.stderr
    empty = call("report", "--by", "project", "--csv", PREFECT_API_URL=f"{prefect_ui}/api")
    assert "no record has a tag project" in empty.stderr
    assert "no record" not in empty.stdout
