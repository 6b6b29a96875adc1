"""Each job's end is told once, whoever meets it: the waiting run, the receiver, or a sweep."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.receiver import ReceiverSettings
from prefect_kling.flows import collect_finished, generate_batch, submit_batch
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.telemetry import events
from tests.deployments.door import Door, open_door, until

pytestmark = pytest.mark.usefixtures("prefect_ui")
Told = list[tuple[str, dict[str, Any]]]
SOON = ReconcileSettings(confirm_seconds=0.2)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The events emitted meanwhile by name, with their payload."""
    heard: Told = []
    monkeypatch.setattr(
        events, "emit_event", lambda name, resource, payload: heard.append((name, payload))
    )
    return heard


@pytest.fixture
def door(credentials: KlingCredentials, archive: Archive) -> Iterator[Door]:
    """A receiver that tells, and runs that poll all the time and leave it nothing."""
    archive.fetching = replace(archive.fetching, receiver_seconds=0.0)
    settings = ReceiverSettings(confirm_seconds=SOON.confirm_seconds)
    with open_door(credentials, archive, events.announce_ended, settings) as door:
        door.block._safety_polls = PollPolicy(first=0.1, longest=0.1, initial_delay=0.05)
        yield door


def requests(archive: Archive, count: int) -> list[VideoRequest]:
    """Requests of this test's own, every fourth of which fails."""
    tag = archive.bucket.prefix
    prompts = [
        f"{'[fail:CONTENT_MODERATION] ' * (number % 4 == 3)}{number} {tag}"
        for number in range(count)
    ]
    return [VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3) for prompt in prompts]


def jobs_of(told: Told) -> Told:
    """Those events that are about ends of jobs."""
    return [(name, payload) for name, payload in told if name.startswith("kling.job.")]


@pytest.mark.slow
async def test_a_run_a_receiver_and_a_sweep_tell_of_each_end_once(
    door: Door, archive_block: KlingArchive, archive: Archive, client: KlingClient, told: Told
) -> None:
    """Eight clips, met by all three in one moment: one event each, its outcome in the record."""
    is_over = asyncio.Event()

    async def keep_sweeping() -> None:
        while not is_over.is_set():
            await reconcile(archive, client, SOON, tell=events.announce_ended)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_sweeping())
        rows = await generate_batch(requests(archive, 8), door.block, archive_block)
        is_over.set()
    await until(lambda: len(told) >= 8)
    ends = {row.clip_key: "kling.job.completed" if row.clip else "kling.job.failed" for row in rows}
    assert Counter(ends.values()) == {"kling.job.completed": 6, "kling.job.failed": 2}
    assert Counter((name, payload["clip_key"]) for name, payload in jobs_of(told)) == Counter(
        (name, key) for key, name in ends.items()
    )


async def test_a_sweep_tells_of_what_it_finished(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    told: Told,
) -> None:
    """Without a receiver the sweep that archives a clip tells; the next one has nothing to tell."""
    rows = await submit_batch(requests(archive, 4), credentials, archive_block)
    for row in rows:
        while not (await client.get(str(row.job_id))).state.is_terminal:
            await asyncio.sleep(0.02)
    for _ in range(2):
        await collect_finished(credentials, archive_block)
    ends = jobs_of(told)
    assert Counter(name for name, _ in ends) == {"kling.job.completed": 3, "kling.job.failed": 1}
    assert {payload["clip_key"] for _, payload in ends} == {row.clip_key for row in rows}
    # The batch is complete, and one of its rows has failed.
    batches = [name for name, _ in told if name.startswith("kling.batch.")]
    assert batches == ["kling.batch.completed", "kling.batch.failed"]
