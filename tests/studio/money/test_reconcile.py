"""One sweep finishes whatever dead runs left behind."""

from datetime import timedelta
from decimal import Decimal

import pytest

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import StorageRefused
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import Budget
from prefect_kling.studio.money.ledger import ClaimRequest, Entry, EntryState
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import submit_once
from prefect_kling.studio.storage.bucket import Bucket
from tests.orders import HERE, ordered

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
AT_ONCE = ReconcileSettings(window_seconds=-1.0, confirm_seconds=0.05)


async def submitted(archive: Archive, client: KlingClient, name: str) -> Entry:
    """A paid job whose run died right after."""
    return await submit_once(ordered(archive, name), client, archive)


async def ended(client: KlingClient, entry: Entry) -> None:
    """Wait until the API is done with a job, whatever came of it."""
    while not (await client.get(str(entry.job_id))).state.is_terminal:
        await poll_until_done(client, str(entry.job_id), EAGER)


def state(archive: Archive, key: str) -> EntryState:
    """Where a clip's money stands."""
    page = archive.ledger.read(key)
    assert page is not None
    return page.entry.state


async def test_finished_jobs_of_dead_runs_are_archived(
    archive: Archive, client: KlingClient
) -> None:
    """A dozen paid and abandoned clips are archived in one pass, and the index is empty."""
    entries = [await submitted(archive, client, f"clip {number}") for number in range(12)]
    for entry in entries:
        await ended(client, entry)
    findings = await reconcile(archive, client)
    assert findings.counts == {"archived": 12}
    assert all(archive.find(entry.clip_key) for entry in entries)
    assert list(archive.ledger.open_markers()) == []
    assert (await reconcile(archive, client)).counts == {}


async def test_every_kind_of_open_clip_gets_its_due(
    archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """Failed ones are closed, abandoned ones released or held, unknown jobs named."""
    failing = await submitted(archive, client, "[fail:CONTENT_MODERATION]")
    await wait_until_failed(client, failing)
    done = await submitted(archive, client, "done")
    await ended(client, done)
    claimed = archive.ledger.claim(ordered(archive, "claimed"), ClaimRequest(Decimal(1))).entry
    abandoned = archive.ledger.mark_sending(
        archive.ledger.claim(ordered(archive, "abandoned"), ClaimRequest(Decimal(1)))
    ).entry
    gone = archive.ledger.claim(ordered(archive, "gone"), ClaimRequest(Decimal(1)))
    archive.ledger.submitted(gone, "clnosuchjob")
    findings = await reconcile(archive, client, AT_ONCE)
    assert findings.counts == {
        "failed": 1,
        "archived": 1,
        "released": 1,
        "held": 1,
        "gone": 1,
    }
    assert state(archive, failing.clip_key) is EntryState.FAILED
    assert state(archive, claimed.clip_key) is EntryState.RELEASED
    assert state(archive, abandoned.clip_key) is EntryState.HELD
    assert gone.entry.clip_key in findings.named["gone"]
    assert (await reconcile(archive, client, AT_ONCE)).counts == {"held": 1, "gone": 1}


async def wait_until_failed(client: KlingClient, entry: Entry) -> None:
    """Wait until the API has given a job up."""
    while not (await client.get(str(entry.job_id))).state.is_terminal:
        pass


async def test_a_video_that_cannot_be_archived_is_an_alarm_before_it_expires(
    archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """Trouble with a finished video becomes an alarm when its seven days run out."""
    entry = await submitted(archive, client, "stuck")
    await ended(client, entry)
    sandbox.fault(on="file", do={"replace": "html"}, times=None)
    assert (await reconcile(archive, client)).counts == {"quarantined": 1}
    findings = await reconcile(archive, client, ReconcileSettings(warn_before=timedelta(days=8)))
    assert "the API deletes it at" in findings.named["expiring"][entry.clip_key]
    sandbox.clear_faults()
    assert (await reconcile(archive, client)).counts == {"archived": 1}


async def test_a_young_claim_is_left_alone(archive: Archive, client: KlingClient) -> None:
    """Somebody may be sending it right now."""
    page = archive.ledger.claim(ordered(archive, "young"), ClaimRequest(Decimal(1)))
    assert (await reconcile(archive, client)).counts == {"being sent": 1}
    assert state(archive, page.entry.clip_key) is EntryState.CLAIMED


async def test_stray_markers_and_reservations_are_repaired(
    archive: Archive, client: KlingClient
) -> None:
    """What a run killed between two writes leaves is put right; money counts once."""
    archive.budget = Budget(archive.bucket, Decimal(100))
    entry = await submitted(archive, client, "settled late")
    await ended(client, entry)
    accounts = archive.budget.accounts()
    assert accounts is not None
    archive.bucket.put("ledger/open/feedfacefeedface.12345678", b"", "text/plain")
    await reconcile(archive, client, AT_ONCE)
    archive.bucket.put(
        "ledger/budget.json", accounts.model_dump_json().encode(), "application/json"
    )
    findings = await reconcile(archive, client, AT_ONCE)
    assert findings.counts == {"reservation repaired": 1}
    settled = archive.budget.accounts()
    assert settled is not None
    assert (settled.spent_usd, settled.reserved) == (Decimal("0.1899"), {})
    assert list(archive.ledger.open_markers()) == []


@pytest.mark.parametrize("known", [True, False])
async def test_a_job_the_api_forgot_is_finished_if_its_video_is_safe(
    known: bool, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """A run killed after the video was stored is completed without the API's job."""
    entry = await submitted(archive, client, f"forgotten {known}")
    if known:
        job = await poll_until_done(client, str(entry.job_id), EAGER)
        archive.keep(entry.order, job, access=HERE)
    sandbox.fault(on="get", do={"status": 404}, times=None)
    findings = await reconcile(archive, client)
    assert findings.counts == ({"archived": 1} if known else {"gone": 1})


async def test_a_store_that_refuses_the_listing_is_told_as_what_it_is(
    s3: LocalS3, client: KlingClient
) -> None:
    """The store's own error, not a group of errors of the workers."""
    nowhere = Archive(Bucket(s3.client(), "no-such-bucket", "films"))
    with pytest.raises(StorageRefused):
        await reconcile(nowhere, client)
