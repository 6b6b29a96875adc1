"""Failures are read twice, earlier jobs before anything is paid again; late videos are kept."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.job import JobState
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.earlier_jobs import finish_attempts
from prefect_kling.studio.money.ledger import Entry, EntryState, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.settlement import (
    close_failed,
    close_kept,
    keep_paid_job,
    wait_for_paid_job,
)
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.layout import CLAIM_LENGTH
from tests.orders import capped, ordered, record

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
STEADY = SubmitOptions(look_again=0.05, retry_pause=0.05)
SWEEP = ReconcileSettings(window_seconds=-1.0, confirm_seconds=0.05)
PASSING = JobFailed("the API was busy", fail_code="UPSTREAM_BUSY", retryable=True)
FINAL = JobFailed("not allowed", fail_code="CONTENT_MODERATION", retryable=False)


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    return capped(archive)


def made(sandbox: Sandbox, order: ClipOrder) -> int:
    """How many jobs the API really made for an order."""
    return sum(job["body"].get("prompt") == order.request.prompt for job in sandbox.jobs())


async def completed(client: KlingClient, entry: Entry) -> None:
    """Wait until the API has finished a job."""
    await poll_until_done(client, str(entry.job_id), EAGER)


async def test_a_failure_that_is_read_once_is_not_believed(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The job is read once more, and waited for when it goes on."""
    entry = await submit_once(order, client, archive, STEADY)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=1)
    job = await wait_for_paid_job(entry, client, archive, EAGER)
    assert job.state is JobState.COMPLETED
    assert made(sandbox, order) == 1


async def test_a_sweep_believes_no_failure_that_it_read_once(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The clip is archived by the same sweep that met the wrong answer."""
    entry = await submit_once(order, client, archive, STEADY)
    await completed(client, entry)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=1)
    assert (await reconcile(archive, client, SWEEP)).counts == {"archived": 1}


async def test_a_job_that_failed_wrongly_is_archived_and_not_paid_for_again(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Before the next attempt its job is read, and it has a video."""
    entry = await submit_once(order, client, archive, STEADY)
    await completed(client, entry)
    await close_failed(entry, PASSING, archive)
    assert record(archive, order).state is EntryState.FAILED
    again = await submit_once(order, client, archive, STEADY)
    assert (again.state, again.job_id) == (EntryState.SUBMITTED, entry.job_id)
    job = await wait_for_paid_job(again, client, archive, EAGER)
    kept = await keep_paid_job(again, job, client, archive)
    assert made(sandbox, order) == 1
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (kept.clip.usd, {})


async def test_an_earlier_job_that_cannot_be_read_is_waited_for(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Nothing is paid while nobody knows what became of the job before."""
    entry = await submit_once(order, client, archive, STEADY)
    await close_failed(entry, PASSING, archive)
    sandbox.fault(on="get", do={"code": 1201}, job_id=entry.job_id, times=None)
    with pytest.raises(Exception, match=str(entry.job_id)):
        await submit_once(order, client, archive, replace(STEADY, busy=0.3))
    assert made(sandbox, order) == 1


async def test_the_money_of_a_failed_job_stays_aside_until_it_was_read_once_more(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A sweep reads it, frees the money and takes the clip out of the index."""
    failing = ordered(archive, f"[fail:UPSTREAM_BUSY] {order.request.prompt}")
    entry = await submit_once(failing, client, archive, STEADY)
    with pytest.raises(JobFailed) as failure:
        await wait_for_paid_job(entry, client, archive, EAGER)
    await close_failed(entry, failure.value, archive)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.committed() == entry.at_most_usd
    assert (await reconcile(archive, client, SWEEP)).counts == {"failed": 1}
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (Decimal(0), {})
    assert list(archive.ledger.open_markers()) == []


async def test_attempts_are_kept_as_data(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The record names every job, its price and its end, however long the history is."""
    order = ordered(archive, "[fail:UPSTREAM_BUSY]")
    jobs = []
    for _ in range(3):
        entry = await submit_once(order, client, archive, STEADY)
        jobs.append(entry.job_id)
        with pytest.raises(JobFailed) as failure:
            await wait_for_paid_job(entry, client, archive, EAGER)
        await close_failed(entry, failure.value, archive)
    last = record(archive, order)
    assert [each.job_id for each in last.attempts] == jobs[:2]
    assert {each.state for each in last.attempts} == {"failed"}
    assert set(last.all_job_ids) == set(jobs)


async def test_attempts_of_an_outage_are_limited_and_a_later_outage_has_its_own(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Three attempts in one outage; an hour later three more; nine in all, settable."""
    order = ordered(archive, "[fail:UPSTREAM_BUSY] outage")
    once = replace(STEADY, max_attempts=1)

    async def attempt(options: SubmitOptions) -> None:
        entry = await submit_once(order, client, archive, options)
        with pytest.raises(JobFailed) as failure:
            await wait_for_paid_job(entry, client, archive, EAGER)
        await close_failed(entry, failure.value, archive)

    await attempt(once)
    with pytest.raises(JobFailed, match="ledger retry"):
        await submit_once(order, client, archive, once)
    later = replace(once, outage_seconds=0.0)
    await attempt(later)
    assert made(sandbox, order) == 2
    with pytest.raises(JobFailed, match="tried 2 times"):
        await submit_once(order, client, archive, replace(later, max_attempts_for_life=2))


async def test_a_video_that_comes_late_is_kept_beside_the_clip_and_its_price_booked(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The first job counted as failed twice, its successor was paid, and then both had videos."""
    first = await submit_once(order, client, archive, STEADY)
    await completed(client, first)
    await close_failed(first, PASSING, archive)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=first.job_id, times=1)
    second = await submit_once(order, client, archive, STEADY)
    assert second.job_id != first.job_id
    job = await wait_for_paid_job(second, client, archive, EAGER)
    kept = await keep_paid_job(second, job, client, archive)
    (late,) = archive.bucket.names(f"late/{order.clip_key}")
    assert archive.bucket.head(late).size > 0
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (2 * kept.clip.usd, {})
    assert [each.state for each in record(archive, order).attempts] == ["paid"]


async def test_the_video_of_a_job_that_is_named_after_the_end_is_kept_and_booked(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """An earlier claim's id arrives when the clip is archived; a sweep fetches that video too."""
    entry = await submit_once(order, client, archive, STEADY)
    await completed(client, entry)
    await reconcile(archive, client, SWEEP)
    other = await client.create(order.request)
    sender = entry.model_copy(update={"claim": "0" * 32})
    archive.ledger.add_late_job(sender, other.job_id)
    await poll_until_done(client, other.job_id, EAGER)
    await reconcile(archive, client, SWEEP)
    clip = archive.find(order.clip_key)
    assert clip is not None
    (late,) = archive.bucket.names(f"late/{order.clip_key}")
    assert archive.bucket.head(late).size > 0
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (2 * clip.usd, {})
    kept = record(archive, order)
    assert (kept.state, kept.late_jobs) == (EntryState.ARCHIVED, ())
    assert [each.state for each in kept.attempts] == ["paid"]
    assert list(archive.ledger.open_markers()) == []


async def test_a_late_job_of_another_clip_is_left_to_that_clip(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """An answer can name any job; the index says whose it is."""
    owner = ordered(archive, f"the owner of the job beside {order.request.prompt}")
    owned = await submit_once(owner, client, archive, STEADY)
    entry = await submit_once(order, client, archive, STEADY)
    await completed(client, entry)
    await completed(client, owned)
    await reconcile(archive, client, SWEEP)
    archive.ledger.add_late_job(entry.model_copy(update={"claim": "0" * 32}), str(owned.job_id))
    await reconcile(archive, client, SWEEP)
    assert list(archive.bucket.names(f"late/{order.clip_key}")) == []
    (attempt,) = record(archive, order).attempts
    assert owner.clip_key in attempt.why


async def test_an_earlier_job_that_another_account_does_not_know_is_looked_for_again(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Its marker stays: only the account that took the job can say that it is gone."""
    first = await submit_once(order, client, archive, STEADY)
    await completed(client, first)
    await close_failed(first, PASSING, archive)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=first.job_id, times=1)
    second = await submit_once(order, client, archive, STEADY)
    await completed(client, second)
    sandbox.fault(on="get", do={"status": 404}, job_id=first.job_id, times=None)
    elsewhere = KlingClient(SecretStr("sk_other"), client.settings)
    async with elsewhere:
        # The sandbox takes one key, so only the fingerprint of the account differs here.
        elsewhere.get = client.get  # type: ignore[method-assign]
        elsewhere.record = client.record  # type: ignore[method-assign]
        job = await client.get(str(second.job_id))
        await keep_paid_job(second, job, elsewhere, archive)
    (attempt,) = record(archive, order).attempts
    assert (attempt.state, attempt.charged_usd) == ("failed", None)
    assert list(archive.ledger.open_markers()) != []


async def test_a_failure_without_a_reason_is_a_passing_one(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Nothing says that the request is at fault, so it may be tried again."""
    entry = await submit_once(order, client, archive, STEADY)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=2)
    with pytest.raises(JobFailed) as failure:
        await wait_for_paid_job(entry, client, archive, EAGER)
    assert failure.value.retryable


async def test_the_next_attempt_waits_for_its_pause(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A busy API is not asked again at once."""
    entry = await submit_once(order, client, archive, STEADY)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=None)
    await close_failed(entry, PASSING, archive)
    heard: list[str] = []
    patient = replace(STEADY, retry_pause=600.0)
    waiting = asyncio.create_task(submit_once(order, client, archive, patient, heard.append))
    while not heard:
        await asyncio.sleep(0.01)
    waiting.cancel()
    assert "waiting before the next attempt" in heard[0]
    assert made(sandbox, order) == 1


async def with_an_earlier_job(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> tuple[Entry, Entry]:
    """A clip whose first job counted as failed, and a second that is paid; both have videos."""
    first = await submit_once(order, client, archive, STEADY)
    await completed(client, first)
    await close_failed(first, PASSING, archive)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=first.job_id, times=1)
    second = await submit_once(order, client, archive, STEADY)
    await completed(client, second)
    return first, second


async def test_an_earlier_job_that_two_runs_settle_at_once_is_booked_once(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Only the run whose note of it was written books its price; the other goes on."""
    _, second = await with_an_earlier_job(order, client, archive, sandbox)
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    job = await client.get(str(second.job_id))
    clip = archive.keep(order, job, access=client.result_access)
    closed = close_kept(version, clip, archive)
    await asyncio.gather(
        finish_attempts(closed, client, archive), finish_attempts(closed, client, archive)
    )
    # A run that was held up comes last, with the record as it was.
    await finish_attempts(closed, client, archive)
    await reconcile(archive, client, SWEEP)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (2 * clip.usd, {})
    assert list(archive.ledger.open_markers()) == []


async def test_an_archived_clip_is_told_of_although_an_id_arrives_at_the_same_moment(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record changes while earlier jobs are settled: a sweep does the rest."""
    _, second = await with_an_earlier_job(order, client, archive, sandbox)
    other = await client.create(order.request)
    await poll_until_done(client, other.job_id, EAGER)
    job = await client.get(str(second.job_id))
    note_attempts = archive.ledger.note_attempts

    def note_too_late(*arguments: Any) -> VersionedEntry:
        archive.ledger.add_late_job(second.model_copy(update={"claim": "0" * 32}), other.job_id)
        return note_attempts(*arguments)

    monkeypatch.setattr(archive.ledger, "note_attempts", note_too_late)
    kept = await keep_paid_job(second, job, client, archive)
    monkeypatch.undo()
    assert kept.is_news
    assert record(archive, order).open_attempts != ()
    await reconcile(archive, client, SWEEP)
    await reconcile(archive, client, SWEEP)
    assert [each.state for each in record(archive, order).attempts] == ["paid", "paid"]
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (3 * kept.clip.usd, {})
    assert list(archive.ledger.open_markers()) == []


async def test_a_late_id_is_found_by_sweeps_although_the_clip_is_closed_at_the_same_moment(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who closes the record removes its markers, after the late id's and before its own."""
    entry = await submit_once(order, client, archive, STEADY)
    await completed(client, entry)
    await reconcile(archive, client, SWEEP)
    other = await client.create(order.request)
    await poll_until_done(client, other.job_id, EAGER)
    replace_object = archive.bucket.replace

    def close_first(*arguments: Any) -> str | None:
        archive.ledger.close_archived(entry)
        return replace_object(*arguments)

    monkeypatch.setattr(archive.bucket, "replace", close_first)
    archive.ledger.add_late_job(entry, other.job_id)
    monkeypatch.undo()
    await reconcile(archive, client, SWEEP)
    assert [each.job_id for each in record(archive, order).attempts] == [other.job_id]
    assert list(archive.ledger.open_markers()) == []


async def test_a_request_whose_job_is_named_late_is_booked_once(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """It was sent again by choice; what it may have cost and what its job cost is one sum."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, STEADY)
    lost = record(archive, order)
    (made_job,) = [
        job["id"] for job in sandbox.jobs() if job["body"].get("prompt") == order.request.prompt
    ]
    entry = await submit_once(order, client, archive, replace(STEADY, on_unknown="resubmit"))
    # As the API's own call names it: with the beginning of the claim.
    sender = lost.model_copy(update={"claim": lost.claim[:CLAIM_LENGTH]})
    archive.ledger.add_late_job(sender, made_job)
    await poll_until_done(client, made_job, EAGER)
    job = await wait_for_paid_job(entry, client, archive, EAGER)
    kept = await keep_paid_job(entry, job, client, archive)
    await reconcile(archive, client, SWEEP)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (2 * kept.clip.usd, {})


async def test_a_request_that_was_refused_costs_nothing_beside_one_that_may_be_paid(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Sent again by choice to an API that is busy: only the lost request counts at its worst."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=False)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, STEADY)
    worst = record(archive, order).at_most_usd
    sandbox.fault(on="create", do={"status": 429, "retry_after": 0}, times=1)
    entry = await submit_once(order, client, archive, replace(STEADY, on_unknown="resubmit"))
    assert entry.maybe_paid_usd == worst
    job = await wait_for_paid_job(entry, client, archive, EAGER)
    kept = await keep_paid_job(entry, job, client, archive)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (kept.clip.usd + worst, {})
