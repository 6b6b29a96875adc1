"""Tags say who pays; they are few and short, and stay with whoever paid."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.money.ledger import ClaimRequest, Entry, Ledger
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.tags import MOST_TAGS, TAGS, usable_tags
from prefect_kling.studio.storage.bucket import Bucket

PRICE = Decimal("0.1899")


@pytest.mark.parametrize(
    "given",
    [
        {"pro ject": "spring"},
        {"a,b": "x"},
        {"": "x"},
        {"n" * 31: "x"},
        {"project": ""},
        {"project": " \n "},
        {"project": "v" * 61},
        {"project": 2026},
        {"project": None},
        {f"tag{number}": "x" for number in range(MOST_TAGS + 1)},
    ],
    ids=str,
)
def test_a_tag_is_a_short_text_under_a_short_name(given: dict[str, Any]) -> None:
    """Whatever else is given is refused, and left out of what is stored already."""
    with pytest.raises(ValidationError):
        TAGS.validate_python(given)
    assert len(usable_tags(given | {"client": "Acme"})) <= MOST_TAGS


def test_a_value_is_one_printable_line() -> None:
    """Equal values are one group of a report, however they are spaced."""
    assert TAGS.validate_python({"client": " Acme \t &\n Sons\x1b "}) == {
        "client": "Acme & Sons\ufffd"
    }


def test_forms_give_tags_as_texts_and_programs_as_names() -> None:
    """Both mean the same, and what travels to another run is what a form would send."""
    spending = Spending.model_validate({"tags": ["project = spring", "client=A=B"]})
    assert spending.tags == {"project": "spring", "client": "A=B"}
    assert Spending(tags=spending.tags) == spending
    written = json.loads(spending.model_dump_json())
    assert written["tags"] == ["project=spring", "client=A=B"]
    assert Spending.model_validate(written) == spending
    with pytest.raises(ValidationError, match="name=value, such as project=spring, not spring"):
        Spending.model_validate({"tags": ["spring"]})


def test_a_record_keeps_the_tags_of_whoever_paid(bucket: Bucket) -> None:
    """Of two runs that want the same clip, those of the one whose claim has won."""
    ledger = Ledger(bucket)
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="A lamp"))
    ledger.claim(order, ClaimRequest(PRICE, tags={"client": "Acme"}))
    other = ledger.claim(order, ClaimRequest(PRICE, tags={"client": "Other"}))
    assert not other.is_mine
    assert other.entry.tags == {"client": "Acme"}


def test_who_pays_next_is_written_with_the_next_claim(bucket: Bucket) -> None:
    """A clip that was given back, and an earlier attempt that keeps its own payer."""
    ledger = Ledger(bucket)
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="A lamp"))
    claimed = ledger.claim(order, ClaimRequest(PRICE, film="dawn", tags={"client": "Acme"}))
    sent = ledger.submitted(ledger.mark_sending(claimed), "job-1")
    ledger.retry(ledger.give_up(sent, "lost", PRICE), "again")
    again = ledger.claim(
        order,
        ClaimRequest(PRICE, film="dusk", expects_none=False, read_version=etag(ledger, order)),
    )
    assert (again.is_mine, again.entry.film, again.entry.tags) == (True, "dusk", {})
    (attempt,) = again.entry.attempts
    assert (attempt.film, attempt.tags) == ("dawn", {"client": "Acme"})


def etag(ledger: Ledger, order: ClipOrder) -> str:
    """The version of a record as it stands."""
    version = ledger.read(order.clip_key)
    assert version is not None
    return version.etag


def test_a_record_without_tags_is_read() -> None:
    """Those of earlier versions have none."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="A lamp"))
    stored = {
        "clip_key": order.clip_key,
        "state": "archived",
        "order": order.model_dump(mode="json"),
        "at_most_usd": "0.19",
        "claim": "c",
        "by": "test",
    }
    assert Entry.model_validate(stored).tags == {}
