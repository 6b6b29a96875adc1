"""One limit of running jobs for all processes: kept by slots in the bucket that belong to jobs."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.account_jobs import AccountJobs
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.job_slots import JobSlots, Slot
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import submit_once


def key() -> str:
    """The key of some clip."""
    return secrets.token_hex(16)


def test_never_more_slots_than_jobs_may_run(archive: Archive) -> None:
    """Forty processes want one of five at the same time."""
    slots = JobSlots(archive.bucket, 5)
    with ThreadPoolExecutor(20) as threads:
        taken = [slot for slot, _ in threads.map(slots.take, [key() for _ in range(40)])]
    held = [slot for slot in taken if slot is not None]
    assert len(held) == 5
    assert len({slot.path for slot in held}) == 5


def test_a_slot_changes_hands_once(archive: Archive) -> None:
    """Whoever comes with an older version of it gets nothing."""
    slots = JobSlots(archive.bucket, 1)
    slot, _ = slots.take(key())
    assert slot is not None
    assert slots.hand_over(slot, "") is not None
    assert slots.hand_over(slot, key()) is None


async def test_the_limit_holds_for_several_processes(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Three of them, and a place is taken again as soon as it is free."""
    processes = [AccountJobs(2, credentials, archive_block) for _ in range(3)]
    running = 0
    most = 0

    async def job(process: AccountJobs) -> None:
        nonlocal running, most
        async with process.slot(key()):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(job(process) for process in processes for _ in range(5)))
    assert most == 2


@pytest.mark.parametrize("has_ended", [False, True])
async def test_the_slot_of_a_dead_process_is_free_when_its_job_has_ended(
    has_ended: bool,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """And not before: its job runs on, whoever is alive."""
    if not has_ended:
        sandbox.fault(on="get", do={"state": "processing"}, times=None)
    request = VideoRequest(model="kling-v3-omni", prompt=f"Left {archive.bucket.prefix}")
    order = ClipOrder(request=request)
    entry = await submit_once(order, client, archive)
    while has_ended and not (await client.get(str(entry.job_id))).state.is_terminal:
        await asyncio.sleep(0.02)
    slot, _ = JobSlots(archive.bucket, 1).take(order.clip_key)
    assert slot is not None

    # The store's clock cannot be turned; everything counts as old enough to be looked at.
    jobs = AccountJobs(1, credentials, archive_block, look_after_seconds=0.0)
    got_it = False
    try:
        async with asyncio.timeout(4), jobs.slot(key()):
            got_it = True
    except TimeoutError:
        pass
    assert got_it is has_ended


async def test_a_clip_whose_job_runs_already_needs_no_slot(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
) -> None:
    """Its slot is the one that the process had which has died: nobody waits for himself."""
    request = VideoRequest(model="kling-v3-omni", prompt=f"Adopted {archive.bucket.prefix}")
    order = ClipOrder(request=request)
    await submit_once(order, client, archive)
    slots = JobSlots(archive.bucket, 1)
    slots.take(order.clip_key)
    async with asyncio.timeout(5), AccountJobs(1, credentials, archive_block).slot(order.clip_key):
        taken: tuple[Slot | None, Any] = slots.take(key())
        assert taken[0] is None
