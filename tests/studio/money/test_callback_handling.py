"""What a call does: the clip it is about is finished, and nothing else ever happens."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import JobNotFound
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callback_handling import CallbackEvent, handle_callback
from prefect_kling.studio.money.ledger import ClaimRequest, Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import Outcome
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.layout import CLAIM_LENGTH
from tests.orders import capped, ordered, record

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
STEADY = SubmitOptions(look_again=0.05)


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    return capped(archive)


def call_for(entry: Entry, job_id: str | None = None) -> CallbackEvent:
    """The call that belongs to a record."""
    return CallbackEvent(entry.clip_key, entry.claim[:CLAIM_LENGTH], job_id)


async def made_job(client: KlingClient, sandbox: Sandbox, order: ClipOrder) -> str:
    """The id of the one job the API made for an order, once it is done with it."""
    while not (
        found := [
            job for job in sandbox.jobs() if job["body"].get("prompt") == order.request.prompt
        ]
    ):
        await asyncio.sleep(0.01)
    while not (await client.get(found[0]["id"])).state.is_terminal:
        await asyncio.sleep(0.02)
    return str(found[0]["id"])


async def submitted(client: KlingClient, archive: Archive, order: ClipOrder) -> Entry:
    """A paid job that has ended."""
    entry = await submit_once(order, client, archive, STEADY)
    while not (await client.get(str(entry.job_id))).state.is_terminal:
        await asyncio.sleep(0.02)
    return entry


async def held(
    client: KlingClient, archive: Archive, sandbox: Sandbox, order: ClipOrder, *, is_made: bool
) -> Entry:
    """A clip whose answer was lost, the job made or not."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=is_made)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, STEADY)
    return record(archive, order)


@contextmanager
def requests_of(archive: Archive) -> Iterator[list[str]]:
    """The operations asked of the store meanwhile."""
    asked: list[str] = []

    def note(model: Any, **rest: Any) -> None:
        asked.append(model.name)

    events = archive.bucket._s3.meta.events
    events.register("before-call.s3", note)
    try:
        yield asked
    finally:
        events.unregister("before-call.s3", note)


async def test_a_call_finishes_its_clip(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """The clip is archived, its record closed, its marker gone and its money settled."""
    entry = await submitted(client, archive, order)
    done = await handle_callback(call_for(entry, entry.job_id), client, archive)
    clip = archive.find(order.clip_key)
    assert done is not None
    assert clip is not None
    assert (done[1].outcome, done[1].clip, clip.job_id) == (Outcome.ARCHIVED, clip, entry.job_id)
    assert record(archive, order).state is EntryState.ARCHIVED
    assert list(archive.ledger.open_markers()) == []
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})


async def test_a_call_that_names_no_job_or_another_is_about_its_own_clip(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """What a body says about a clip whose job is known is not even looked at."""
    entry = await submitted(client, archive, order)
    other = await submitted(client, archive, ordered(archive, "another clip"))
    assert await handle_callback(call_for(entry, other.job_id), client, archive)
    clip = archive.find(order.clip_key)
    assert clip is not None
    assert clip.job_id == entry.job_id
    assert archive.find(other.clip_key) is None
    assert await handle_callback(call_for(other), client, archive)
    assert archive.find(other.clip_key) is not None


async def test_calls_at_once_pay_and_archive_once(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """Eight calls for one clip in one moment leave one clip, paid and told once."""
    entry = await submitted(client, archive, order)
    done = await asyncio.gather(
        *(handle_callback(call_for(entry), client, archive) for _ in range(8))
    )
    clip, accounts = archive.find(order.clip_key), archive.budget.accounts()
    assert clip is not None
    assert accounts is not None
    assert {each[1].clip.sha256 for each in done if each and each[1].clip} == {clip.sha256}
    assert sum(each[1].is_news for each in done if each) == 1
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})


async def test_a_call_resolves_a_held_clip(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The job it names is adopted and archived, and nobody has to decide anything."""
    entry = await held(client, archive, sandbox, order, is_made=True)
    job_id = await made_job(client, sandbox, order)
    assert await handle_callback(call_for(entry, job_id), client, archive)
    clip = archive.find(order.clip_key)
    assert clip is not None
    assert clip.job_id == job_id
    assert record(archive, order).state is EntryState.ARCHIVED
    assert list(archive.bucket.names("ledger/held/")) == list(archive.ledger.open_markers()) == []


@pytest.mark.parametrize("named", ["clnosuchjob", "../../balance"])
async def test_a_call_that_names_no_job_of_the_api_leaves_a_clip_held(
    named: str, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A job the API does not know proves nothing, and is told: it may know it a little later."""
    entry = await held(client, archive, sandbox, order, is_made=False)
    with pytest.raises(JobNotFound):
        await handle_callback(call_for(entry, named), client, archive)
    assert record(archive, order) == entry


async def test_a_call_that_names_no_job_at_all_leaves_a_clip_held(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """There is nothing to be done for it."""
    entry = await held(client, archive, sandbox, order, is_made=False)
    assert await handle_callback(call_for(entry, None), client, archive) is None
    assert record(archive, order) == entry


async def test_a_call_finishes_a_request_whose_sender_died(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """Sent, and killed before the job id could be noted: the call brings it."""
    claimed = archive.ledger.claim(order, ClaimRequest(Decimal(1)))
    entry = archive.ledger.mark_sending(claimed).entry
    job = await client.create(order.request)
    await poll_until_done(client, job.job_id, EAGER)
    assert await handle_callback(call_for(entry, job.job_id), client, archive)
    assert record(archive, order).state is EntryState.ARCHIVED


class HeldBack(httpx.AsyncBaseTransport):
    """Real HTTP, but for the answers to paid calls: they come when they are let go, or never."""

    def __init__(self, *, is_lost: bool) -> None:
        self._real, self._is_lost, self.may_come = (
            httpx.AsyncHTTPTransport(),
            is_lost,
            asyncio.Event(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send at once, answer late or not at all."""
        response = await self._real.handle_async_request(request)
        if request.method == "POST":
            await self.may_come.wait()
            if self._is_lost:
                await response.aclose()
                raise httpx.ReadTimeout("the answer did not come", request=request)
        return response

    async def aclose(self) -> None:
        """Close what is open."""
        await self._real.aclose()


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize(
    ("word", "end"), [("", EntryState.ARCHIVED), ("[fail:TIMEOUT]", EntryState.FAILED)]
)
async def test_a_call_may_be_quicker_than_the_answer_to_its_sender(
    is_lost: bool,
    word: str,
    end: EntryState,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """The call ends the clip; its sender finds it, be its answer late or lost."""
    order, transport = ordered(archive, f"quick {word}"), HeldBack(is_lost=is_lost)
    slow = KlingClient(SecretStr(sandbox.key), ClientSettings(base_url=sandbox.base_url), transport)
    async with slow, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(submit_once(order, slow, archive, STEADY))
        job_id = await made_job(client, sandbox, order)
        entry = record(archive, order)
        assert entry.state is EntryState.SENDING
        assert await handle_callback(call_for(entry, job_id), client, archive, 0.05)
        transport.may_come.set()
    assert (sending.result().state, sending.result().job_id) == (end, job_id)
    assert record(archive, order).state is end
    assert list(archive.bucket.names("ledger/held/")) == []
    # A failure that may be tried again stays in the index until its job was read once more.
    still_open = [marker.clip_key for marker in archive.ledger.open_markers()]
    assert still_open == ([order.clip_key] if end is EntryState.FAILED else [])


async def test_a_call_for_another_attempt_or_clip_does_nothing(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """An old claim or an unknown clip: one read of the store, none of the API."""
    entry = await submitted(client, archive, order)
    polled = sandbox.stats()["polled"]
    assert (
        await handle_callback(
            CallbackEvent(order.clip_key, "00000000", entry.job_id), client, archive
        )
        is None
    )
    assert (
        await handle_callback(
            CallbackEvent("f" * 32, entry.claim[:CLAIM_LENGTH], entry.job_id), client, archive
        )
        is None
    )
    assert record(archive, order) == entry
    assert sandbox.stats()["polled"] == polled


async def test_a_call_for_an_archived_clip_costs_one_read(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A repeated call asks the store once and the API nothing."""
    entry = await submitted(client, archive, order)
    await handle_callback(call_for(entry), client, archive)
    caplog.set_level("INFO", logger="httpx")
    caplog.clear()
    with requests_of(archive) as asked:
        assert await handle_callback(call_for(entry, entry.job_id), client, archive) is None
    assert asked == ["GetObject"]
    assert caplog.text == ""


async def test_an_early_call_leaves_the_job_running(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A forged "done" changes nothing; the call that comes later finishes the clip."""
    entry = await submitted(client, archive, order)
    sandbox.fault(on="get", do={"state": "processing"}, job_id=entry.job_id)
    early = await handle_callback(call_for(entry, entry.job_id), client, archive)
    assert early is not None
    assert (early[1].outcome, record(archive, order)) == (Outcome.RUNNING, entry)
    late = await handle_callback(call_for(entry, entry.job_id), client, archive)
    assert late is not None
    assert late[1].outcome is Outcome.ARCHIVED


async def test_a_call_for_a_failed_job_closes_it(client: KlingClient, archive: Archive) -> None:
    """The record says why, and the money is free again."""
    order = ordered(archive, "[fail:CONTENT_MODERATION]")
    entry = await submitted(client, archive, order)
    done = await handle_callback(call_for(entry, entry.job_id), client, archive, 0.05)
    assert done is not None
    assert done[1].failure is not None
    assert (done[1].outcome, done[1].failure.fail_code) == (Outcome.FAILED, "CONTENT_MODERATION")
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.committed(), record(archive, order).state) == (Decimal(0), EntryState.FAILED)
    assert await handle_callback(call_for(entry, entry.job_id), client, archive) is None
