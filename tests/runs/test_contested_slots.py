"""Slots of jobs whose owner still wants them, and of jobs that nobody can ask about."""

import asyncio
import secrets

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs import account_jobs
from prefect_kling.runs.account_jobs import AccountJobs
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.job_slots import JobSlots
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions, submit_once


def order_of(archive: Archive, words: str) -> ClipOrder:
    """Some order of this test."""
    prompt = f"{words} {archive.bucket.prefix}"
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


async def gets_a_slot(process: AccountJobs, seconds: float = 4) -> bool:
    """Whether another clip is given a slot within some seconds."""
    try:
        async with asyncio.timeout(seconds), process.slot(secrets.token_hex(16)):
            return True
    except TimeoutError:
        return False


async def test_a_clip_that_queues_for_a_busy_api_keeps_its_slot(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """Its record is released between two tries; its process lives and will send it."""
    sandbox.fault(on="create", do={"status": 429, "retry_after": 30}, times=None)
    order = order_of(archive, "Queued")
    first = AccountJobs(1, credentials, archive_block, look_after_seconds=0.0)
    second = AccountJobs(1, credentials, archive_block, look_after_seconds=0.0)

    async def make() -> None:
        async with first.slot(order.clip_key):
            await submit_once(order, client, archive, SubmitOptions())

    making = asyncio.create_task(make())
    try:
        async with asyncio.timeout(20):
            while True:
                version = await asyncio.to_thread(archive.ledger.read, order.clip_key)
                if version is not None and version.entry.state is EntryState.RELEASED:
                    break
                await asyncio.sleep(0.05)
        assert not await gets_a_slot(second)
    finally:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


async def test_a_clip_between_two_attempts_keeps_its_slot(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """Its job has failed and another one follows after a pause, in the same slot."""
    order = order_of(archive, "[fail:SERVER_ERROR]")
    first = AccountJobs(1, credentials, archive_block, look_after_seconds=0.0)
    second = AccountJobs(1, credentials, archive_block, look_after_seconds=0.0)
    async with first.slot(order.clip_key):
        entry = await submit_once(order, client, archive)
        while not (await client.get(str(entry.job_id))).state.is_terminal:
            await asyncio.sleep(0.02)
        assert not await gets_a_slot(second)


async def test_a_slot_whose_job_nobody_knows_any_more_is_free_some_day(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API has deleted it, or it was another account's: no job runs for days."""
    order = order_of(archive, "Gone")
    await submit_once(order, client, archive)
    JobSlots(archive.bucket, 1).take(order.clip_key)
    sandbox.fault(on="get", do={"status": 404}, times=None)
    monkeypatch.setattr(account_jobs, "_HELD_SECONDS", 0.0)
    await asyncio.sleep(1.1)
    assert await gets_a_slot(AccountJobs(1, credentials, archive_block, look_after_seconds=0.0), 6)
