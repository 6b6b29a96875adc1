"""Each call of the store that a clip costs, and what it protects, stands in docs/money.md."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSRequest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import Budget
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job, wait_for_paid_job
from prefect_kling.studio.money.submission import submit_once
from prefect_kling.studio.storage.preflight import require_usable

MONEY = (Path(__file__).parents[3] / "docs" / "money.md").read_text()
QUICK = PollPolicy(first=0.05, longest=0.2, deadline=60)


def documented() -> list[str]:
    """The calls of the table, in the order of a clip's life."""
    return re.findall(r"^\| `([A-Z]+ \S+)` \|", MONEY, re.MULTILINE)


@pytest.fixture
def calls(archive: Archive) -> Iterator[list[str]]:
    """The calls of the store as they are made, in the words of the table."""
    require_usable(archive.bucket)
    made: list[str] = []

    def note(request: AWSRequest, **_: object) -> None:
        assert request.method is not None
        assert request.url is not None
        path = urlsplit(request.url).path.partition(archive.bucket.prefix)[2]
        path = re.sub(r"[0-9a-f]{32}(\.[0-9a-f]+)?", "KEY", path)
        path = re.sub(r"[0-9a-f]{64}", "HASH", path)
        path = re.sub(r"by-job/\w+", "by-job/HASH", path)
        made.append(f"{request.method} {path}")

    events = archive.bucket._s3.meta.events
    events.register("before-send.s3", note, unique_id="store-calls")
    yield made
    events.unregister("before-send.s3", unique_id="store-calls")


async def make(order: ClipOrder, client: KlingClient, archive: Archive) -> None:
    """Make a clip as a flow does."""
    assert archive.find(order.clip_key) is None
    entry = await submit_once(order, client, archive)
    job = await wait_for_paid_job(entry, client, archive, QUICK)
    await keep_paid_job(entry, job, client, archive)


def order_of(name: str, archive: Archive) -> ClipOrder:
    """An order of its own."""
    prompt = f"{name} {archive.bucket.prefix}"
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


async def test_a_clip_costs_the_calls_of_the_table_in_its_order(
    client: KlingClient, archive: Archive, calls: list[str]
) -> None:
    """A call that is added needs a line that says what it protects; one that goes takes it."""
    await make(order_of("counted", archive), client, archive)
    assert calls == documented()


async def test_accounts_that_begin_while_a_clip_renders_leave_it_alone(
    client: KlingClient, archive: Archive
) -> None:
    """A clip sent without accounts has nothing set aside, and books nothing in later ones."""
    order = order_of("before", archive)
    entry = await submit_once(order, client, archive)
    later = Budget(archive.bucket, Decimal(10))
    other = archive.ledger.claim(order_of("after", archive), ClaimRequest(Decimal("0.50")))
    later.reserve(other.entry)
    job = await wait_for_paid_job(entry, client, archive, QUICK)
    await keep_paid_job(entry, job, client, archive)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.spent_usd == 0
    assert accounts.committed() == other.entry.at_most_usd


async def test_a_record_that_changed_while_the_clip_rendered_is_read_again(
    client: KlingClient, archive: Archive
) -> None:
    """What its sender remembers of a record is worth nothing once somebody has decided about it."""
    order = order_of("given up", archive)
    entry = await submit_once(order, client, archive)
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    archive.ledger.give_up(version, "a person waits no longer", entry.at_most_usd)
    job = await wait_for_paid_job(entry, client, archive, QUICK)
    kept = await keep_paid_job(entry, job, client, archive)
    closed = archive.ledger.read(order.clip_key)
    assert closed is not None
    assert closed.entry.state is EntryState.ARCHIVED
    assert closed.entry.charged_usd == kept.clip.usd
    assert [event.state for event in closed.entry.history][-2:] == [
        EntryState.GIVEN_UP,
        EntryState.ARCHIVED,
    ]
