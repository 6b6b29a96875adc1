"""Who waits is woken when somebody else has finished the clip."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import StillRunning
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money import completion_watch as watch
from prefect_kling.studio.money.archive import Archive, FetchPolicy
from prefect_kling.studio.money.callback_handling import CallbackEvent, handle_callback
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job, wait_for_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.layout import CLAIM_LENGTH

# Nobody polls a second time in these tests: who returns was woken.
SAFETY = PollPolicy(first=600.0, longest=600.0, deadline=6000.0)
ENOUGH_SECONDS = 60.0


@pytest.fixture(autouse=True)
def quick_looks(archive: Archive) -> None:
    """Look at the markers often."""
    archive.fetching = FetchPolicy(watch_seconds=0.05)


async def paid(
    client: KlingClient, archive: Archive, name: str, terms: SubmitOptions = SubmitOptions()
) -> Entry:
    """A paid job that the API is done with."""
    prompt = f"{name} {archive.bucket.prefix}"
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    entry = await submit_once(order, client, archive, terms)
    while not (await client.get(str(entry.job_id))).state.is_terminal:
        await asyncio.sleep(0.02)
    return entry


@asynccontextmanager
async def waiters(
    count: int, entry: Entry, client: KlingClient, archive: Archive, patience: PollPolicy = SAFETY
) -> AsyncIterator[list[asyncio.Task[VideoJob]]]:
    """Tasks that have seen the job processing once and wait."""
    asked = asyncio.Semaphore(0)

    def wait() -> "asyncio.Task[VideoJob]":
        waiting = wait_for_paid_job(
            entry, client, archive, patience, lambda job: asked.release(), is_watched=True
        )
        return asyncio.create_task(waiting)

    async with asyncio.timeout(ENOUGH_SECONDS):
        tasks = [wait() for _ in range(count)]
        for _ in tasks:
            await asked.acquire()
        yield tasks
        await asyncio.wait(tasks)


async def receive(entry: Entry, client: KlingClient, archive: Archive) -> None:
    """Finish a clip as the receiver does."""
    assert await handle_callback(
        CallbackEvent(entry.clip_key, entry.claim[:CLAIM_LENGTH], entry.job_id), client, archive
    )


@pytest.mark.parametrize("count", [1, 2])
async def test_who_waits_is_woken_when_the_clip_was_archived(
    count: int, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """One waiter or two: the ledger tells each; only the receiver asked the API again."""
    entry = await paid(client, archive, "woken")
    sandbox.fault(on="get", do={"state": "processing"}, times=count, job_id=entry.job_id)
    async with waiters(count, entry, client, archive) as tasks:
        polled = sandbox.stats()["polled"]
        await receive(entry, client, archive)
    assert [task.result().state for task in tasks] == [JobState.COMPLETED] * count
    assert sandbox.stats()["polled"] == polled + 1


async def test_a_poll_in_the_moment_of_the_end_leaves_the_clip_to_the_receiver(
    client: KlingClient, archive: Archive, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has just learnt that the job is done waits; nothing is fetched twice."""
    called = SubmitOptions(callback=lambda entry: "http://127.0.0.1:9/receiver")
    entry = await paid(client, archive, "met", called)
    polled = sandbox.stats()["polled"]
    waiting = asyncio.create_task(
        wait_for_paid_job(entry, client, archive, SAFETY, is_watched=True)
    )
    while sandbox.stats()["polled"] == polled:
        await asyncio.sleep(0.01)
    await receive(entry, client, archive)
    caplog.set_level("INFO", logger="httpx")
    kept = await keep_paid_job(entry, await waiting, client, archive)
    assert (kept.clip, kept.is_news) == (archive.find(entry.clip_key), False)
    assert caplog.text == ""


async def test_a_clip_that_no_receiver_fetches_is_not_waited_for_long(
    client: KlingClient, archive: Archive
) -> None:
    """The poll found the end, nobody calls: after a moment the waiter goes on alone."""
    archive.fetching = replace(archive.fetching, receiver_seconds=0.2)
    entry = await paid(client, archive, "alone")
    job = await wait_for_paid_job(entry, client, archive, SAFETY, is_watched=True)
    assert (await keep_paid_job(entry, job, client, archive)).is_news


async def test_a_job_just_sent_is_not_asked_about(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """With a head start the receiver's look is the only one; an old job is polled at once."""
    entry = await paid(client, archive, "fresh")
    polled = sandbox.stats()["polled"]
    patience = replace(SAFETY, initial_delay=600.0)
    waiting = asyncio.create_task(
        wait_for_paid_job(entry, client, archive, patience, is_watched=True)
    )
    await receive(entry, client, archive)
    assert (await waiting).state is JobState.COMPLETED
    assert sandbox.stats()["polled"] == polled + 1
    old = await paid(client, archive, "old")
    assert old.sending_since is not None
    earlier = old.sending_since - timedelta(minutes=11)
    late = old.model_copy(update={"sending_since": earlier})
    archive.fetching = replace(archive.fetching, receiver_seconds=0.0)
    assert (await wait_for_paid_job(late, client, archive, patience, is_watched=True)).urls


async def test_who_waits_for_another_clip_sleeps_on(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Only the clip that was finished wakes its waiter."""
    first, second = [await paid(client, archive, name) for name in ("first", "second")]
    sandbox.fault(on="get", do={"state": "processing"}, times=1, job_id=first.job_id)
    sandbox.fault(on="get", do={"state": "processing"}, times=1, job_id=second.job_id)
    async with waiters(1, second, client, archive) as late:
        async with waiters(1, first, client, archive) as early:
            await receive(first, client, archive)
        assert early[0].result().job_id == first.job_id
        assert not late[0].done()
        await receive(second, client, archive)
    assert late[0].result().job_id == second.job_id


async def test_a_marker_of_an_earlier_attempt_keeps_nobody_asleep(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A clip sent again has two markers; the waiter looks for its own attempt's."""
    sandbox.fault(on="create", do={"drop": True})
    entry = await paid(
        client, archive, "twice", SubmitOptions(on_unknown="resubmit", look_again=0.05)
    )
    assert len(list(archive.ledger.open_markers())) == 2
    sandbox.fault(on="get", do={"state": "processing"}, job_id=entry.job_id)
    async with waiters(1, entry, client, archive) as tasks:
        await receive(entry, client, archive)
    assert tasks[0].result().state is JobState.COMPLETED


async def test_a_deadline_nearer_than_the_next_poll_is_waited_for(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """With a minute to wait and ten minutes between polls, the waiter is there to be woken."""
    entry = await paid(client, archive, "short")
    sandbox.fault(on="get", do={"state": "processing"}, job_id=entry.job_id)
    async with waiters(
        1, entry, client, archive, PollPolicy(first=600.0, longest=600.0, deadline=59.0)
    ) as tasks:
        await receive(entry, client, archive)
    assert tasks[0].result().state is JobState.COMPLETED


async def test_a_deadline_ends_a_watched_wait(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Nobody finished the clip: the waiter is told that the job goes on."""
    entry = await paid(client, archive, "never")
    sandbox.fault(on="get", do={"state": "processing"}, times=None, job_id=entry.job_id)
    patience = PollPolicy(first=600.0, longest=600.0, deadline=0.2)
    with pytest.raises(StillRunning, match=str(entry.job_id)):
        await wait_for_paid_job(entry, client, archive, patience, is_watched=True)


async def test_nobody_looks_when_nobody_waits(client: KlingClient, archive: Archive) -> None:
    """The listing ends with the last waiter, and begins again with the next."""
    entry = await paid(client, archive, "idle")
    clips = watch.completion_watcher(archive)
    for _ in range(2):
        with clips.watch(entry) as completed:
            looking = clips._looking
            assert looking is not None
            assert not looking.done()
        async with asyncio.timeout(ENOUGH_SECONDS):
            await looking
        assert not completed.is_set()
