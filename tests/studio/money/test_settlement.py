"""Closing a paid job's record: what is archived stays so, and money follows the record."""

from decimal import Decimal

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import LedgerMoved, StorageUnavailable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import close_failed, keep_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.orders import capped

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
FAILURE = JobFailed("the API changed its mind", fail_code="UPSTREAM_FAILED", retryable=True)


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    return capped(archive)


@pytest.fixture
async def sent(client: KlingClient, archive: Archive) -> Entry:
    """A clip whose job is paid and under way."""
    request = VideoRequest(
        model="kling-v3-omni", prompt=f"Results {archive.bucket.prefix}", duration=3
    )
    return await submit_once(
        ClipOrder(request=request), client, archive, SubmitOptions(look_again=0.05)
    )


def state(archive: Archive, entry: Entry) -> EntryState:
    """How the record stands."""
    page = archive.ledger.read(entry.clip_key)
    assert page is not None
    return page.entry.state


def spent(archive: Archive) -> tuple[Decimal, int]:
    """Money spent, and how many clips it is set aside for."""
    accounts = archive.budget.accounts()
    assert accounts is not None
    return accounts.spent_usd, len(accounts.reserved)


async def test_an_archived_clip_never_fails(
    client: KlingClient, archive: Archive, sent: Entry
) -> None:
    """An API that calls a finished job failed later on must not have the clip paid again."""
    job = await poll_until_done(client, str(sent.job_id), EAGER)
    kept = await keep_paid_job(sent, job, client, archive)
    assert await close_failed(sent, FAILURE, archive) is False
    assert state(archive, sent) is EntryState.ARCHIVED
    page = archive.ledger.read(sent.clip_key)
    assert page is not None
    with pytest.raises(LedgerMoved, match="is archived, and stays so"):
        archive.ledger.failed(page, "no", retryable=True)
    again = await submit_once(sent.order, client, archive)
    assert (again.job_id, spent(archive)) == (sent.job_id, (kept.clip.usd, 0))


async def test_who_loses_the_race_refunds_nothing(
    client: KlingClient, archive: Archive, sent: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process archives while another is about to note a failure: what was spent stays spent."""
    job = await poll_until_done(client, str(sent.job_id), EAGER)
    read = archive.ledger.read(sent.clip_key)
    kept = await keep_paid_job(sent, job, client, archive)
    # What the slower one read before the other archived.
    monkeypatch.setattr(type(archive.ledger), "read", lambda self, key: read)
    with pytest.raises(LedgerMoved):
        await close_failed(sent, FAILURE, archive)
    monkeypatch.undo()
    assert state(archive, sent) is EntryState.ARCHIVED
    assert spent(archive) == (kept.clip.usd, 0)


async def test_a_marker_that_cannot_be_removed_takes_no_news_away(
    client: KlingClient, archive: Archive, sent: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is closed by this call and told as such; the marker waits for a sweep."""

    def away(path: str) -> None:
        raise StorageUnavailable(f"{path} cannot be reached")

    job = await poll_until_done(client, str(sent.job_id), EAGER)
    monkeypatch.setattr(archive.ledger.bucket, "delete", away)
    kept = await keep_paid_job(sent, job, client, archive)
    assert kept.is_news
    assert state(archive, sent) is EntryState.ARCHIVED
