"""One job belongs to one clip, whoever names it."""

import json
from decimal import Decimal

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, LedgerMoved
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callback_handling import CallbackEvent, handle_callback
from prefect_kling.studio.money.candidates import adopt_candidate, take_for
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.orders import ordered, record

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
STEADY = SubmitOptions(look_again=0.05)
SWEEP = ReconcileSettings(window_seconds=-1.0, confirm_seconds=0.05)
SUCCESS = {"code": 200, "msg": "success"}


def answer(job_id: str, code: int = 200) -> str:
    """An answer to a paid call that names a job."""
    return json.dumps({"code": code, "msg": "said", "data": {"taskId": job_id}})


def test_a_job_is_taken_once_and_can_be_given_back(archive: Archive) -> None:
    """The first clip keeps it; only its owner gives it back."""
    assert archive.jobs.take("c1", "clip a", "claim") == "clip a"
    assert archive.jobs.take("c1", "clip b", "claim") == "clip a"
    archive.jobs.give_back("c1", "clip b")
    assert archive.jobs.owner("c1") == "clip a"
    archive.jobs.give_back("c1", "clip a")
    assert archive.jobs.owner("c1") is None
    assert archive.jobs.take("c1", "clip b", "claim") == "clip b"


@pytest.mark.parametrize("job_id", ["../../clips/x", "a" * 5000, "ünï/\x00"])
def test_an_id_may_hold_anything(job_id: str, archive: Archive) -> None:
    """Objects are named by a hash of the id, so no id reaches the bucket's keys."""
    archive.jobs.take(job_id, "clip", "claim")
    (name,) = archive.bucket.names("ledger/by-job/")
    assert len(name) == len("ledger/by-job/") + 64


async def test_an_api_that_gives_one_job_to_two_clips_loses_neither_the_id_nor_a_clip(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The first clip is archived; the second one is held, with the id that it was told."""
    first = await submit_once(order, client, archive, STEADY)
    second = ordered(archive, "another clip")
    body = answer(str(first.job_id))
    sandbox.fault(on="create", do={"status": 200, "body": json.loads(body)}, times=1)
    with pytest.raises(ClipHeld, match=f"belongs to clip {order.clip_key}"):
        await submit_once(second, client, archive, STEADY)
    held = record(archive, second)
    assert (held.state, held.job_id) == (EntryState.HELD, first.job_id)
    await poll_until_done(client, str(first.job_id), EAGER)
    counts = (await reconcile(archive, client, SWEEP)).counts
    assert counts == {"archived": 1, "held": 1}
    assert archive.find(second.clip_key) is None


async def test_nothing_is_archived_while_the_index_names_another_clip(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """A record that names another clip's job is held when its video would be kept."""
    first = await submit_once(order, client, archive, STEADY)
    other = ordered(archive, "names the same job")
    version = archive.ledger.mark_sending(archive.ledger.claim(other, ClaimRequest(Decimal(1))))
    archive.ledger.submitted(version, str(first.job_id))
    await poll_until_done(client, str(first.job_id), EAGER)
    await reconcile(archive, client, SWEEP)
    assert archive.find(order.clip_key) is not None
    assert archive.find(other.clip_key) is None
    assert record(archive, other).state is EntryState.HELD


async def test_a_call_may_not_name_another_clips_job(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The held clip stays held, and the other clip keeps its job."""
    first = await submit_once(order, client, archive, STEADY)
    second = ordered(archive, "held")
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(second, client, archive, STEADY)
    before = record(archive, second)
    call = CallbackEvent(second.clip_key, before.claim[:8], first.job_id)
    await handle_callback(call, client, archive, 0.05)
    assert record(archive, second) == before


async def test_an_index_is_completed_from_older_records_before_a_job_is_adopted(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """Records that were written before there was an index own their jobs, too."""
    version = archive.ledger.mark_sending(archive.ledger.claim(order, ClaimRequest(Decimal(1))))
    archive.ledger.submitted(version, "c-of-an-older-version")
    wanting = ordered(archive, "wants the same job")
    held = archive.ledger.claim(wanting, ClaimRequest(Decimal(1)))
    assert take_for(held.entry, "c-of-an-older-version", archive) == order.clip_key


async def test_a_named_job_is_adopted_once_everything_says_that_it_is_the_clips(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """First the clip is held with the id; a sweep after the window asks the API, and archives."""
    sandbox.fault(on="create", do={"status": 502}, after_commit=True)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, STEADY)
    (job,) = [each for each in sandbox.jobs() if each["body"]["prompt"] == order.request.prompt]
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    named = archive.ledger._reopen(version, EntryState.HELD, "an answer named it", job["id"])
    young = await adopt_candidate(named, client, archive, window=600.0)
    assert young.adopted is None
    await poll_until_done(client, job["id"], EAGER)
    assert (await reconcile(archive, client, SWEEP)).counts == {"archived": 1}
    assert record(archive, order).job_id == job["id"]


@pytest.mark.parametrize("named", ["clnosuchjob", "older", "model"])
async def test_a_named_job_that_does_not_fit_leaves_the_clip_held(
    named: str, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Unknown to the API, made before the request, or of another model: nothing is adopted."""
    job_id = named
    if named == "older":
        stray = await client.create(order.request)
        job_id = stray.job_id
    if named == "model":
        other = order.request.model_copy(update={"model": "kling-video-o1", "duration": 5})
        job_id = ""
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, STEADY)
    if named == "model":
        job_id = (await client.create(other)).job_id
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    entry = version.entry
    if named == "older":
        assert entry.sending_since is not None
        later = entry.sending_since.replace(year=entry.sending_since.year + 1)
        entry = entry.model_copy(update={"sending_since": later})
    entry = entry.model_copy(update={"job_id": job_id})
    body = entry.model_dump_json().encode()
    assert archive.bucket.replace(f"ledger/jobs/{order.clip_key}.json", body, version.etag)
    findings = await reconcile(archive, client, SWEEP)
    assert findings.counts == {"held": 1}
    assert f"job {job_id} was named" in findings.named["held"][order.clip_key]


def test_who_gives_back_a_job_that_moved_is_told(archive: Archive) -> None:
    """Two people correct the same record: the second one reads again."""
    archive.jobs.take("c1", "clip a", "claim")
    replace = archive.bucket.replace
    archive.bucket.replace = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
    with pytest.raises(LedgerMoved):
        archive.jobs.give_back("c1", "clip a")
    archive.bucket.replace = replace  # type: ignore[method-assign]
