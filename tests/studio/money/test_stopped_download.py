"""A download stops within seconds of a SIGTERM, in a real process with a real slow server."""

import asyncio
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job
from prefect_kling.studio.money.submission import submit_once
from tests.lane import rest_is_slow

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=30)
SECONDS = 10.0
"""Of which most is the end of the interpreter on a busy machine."""


@pytest.mark.parametrize(
    "fault", rest_is_slow([{"slow": 100}, {"stall": 300}], {"slow": 100}), ids=str
)
async def test_a_process_ends_soon_after_sigterm_in_a_download(
    fault: dict[str, Any], archive: Archive, client: KlingClient, sandbox: Sandbox, s3: LocalS3
) -> None:
    """Whether bytes trickle or nothing comes, the process ends; the next keeps the clip."""
    prompt = f"Stopped {archive.bucket.prefix}"
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    entry = await submit_once(order, client, archive)
    job = await poll_until_done(client, str(entry.job_id), EAGER)
    sandbox.fault(on="file", do=fault, times=None)
    before = sandbox.stats()["downloads"]
    command = [sys.executable, "-m", "tests.studio.money.stopped_download"]
    command += [sandbox.base_url, sandbox.key, s3.endpoint, s3.access_key, s3.secret_key]
    command += [BUCKET, archive.bucket.prefix, entry.clip_key]
    with subprocess.Popen(command) as run:
        while sandbox.stats()["downloads"] == before:
            assert run.poll() is None
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        started = time.monotonic()
        run.send_signal(signal.SIGTERM)
        assert run.wait(SECONDS) == 3
    assert time.monotonic() - started < SECONDS
    page = archive.ledger.read(entry.clip_key)
    assert page is not None
    assert page.entry.state is EntryState.SUBMITTED
    sandbox.clear_faults()
    assert (await keep_paid_job(entry, job, client, archive)).clip.media.frames == 72
