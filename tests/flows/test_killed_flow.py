"""A flow run killed with SIGKILL is taken up by the next one, whatever Prefect remembers of it."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_clip
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive

RUN = """
import asyncio, sys
from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_clip
from prefect_kling.kling.request import VideoRequest

request = VideoRequest(model="kling-v3-omni", prompt=sys.argv[1], duration=3)
credentials, archive = KlingCredentials.load("killed"), KlingArchive.load("killed")
asyncio.run(generate_clip(request, credentials, archive))
"""


@pytest.mark.parametrize("persisted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_run_is_continued_not_repeated(
    persisted: bool,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Killed while its job renders, the clip is finished by another run without a second payment.

    The guarantee is the ledger's: it is the same with Prefect's persisted results and without.
    """
    prompt = f"Killed {archive.bucket.prefix}"
    credentials.save("killed", overwrite=True)
    archive_block.save("killed", overwrite=True)
    sandbox.fault(on="get", do={"state": "processing"}, times=None)
    surroundings = os.environ | {
        "PREFECT_API_URL": f"{prefect_ui}/api",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": str(persisted),
    }
    with subprocess.Popen([sys.executable, "-c", RUN, prompt], env=surroundings) as run:
        while (
            not any(name.startswith("ledger/open/") for name in archive.bucket.names(""))
            or made(sandbox, prompt) == 0
        ):
            assert run.poll() is None
            time.sleep(0.05)
        wait_for_receipt(archive)
        run.send_signal(signal.SIGKILL)
    sandbox.clear_faults()
    request = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: persisted}):
        clip = asyncio.run(generate_clip(request, credentials, archive_block))
        assert asyncio.run(generate_clip(request, credentials, archive_block)) == clip
    assert clip.media.frames == 72
    assert made(sandbox, prompt) == 1


def made(sandbox: Sandbox, prompt: str) -> int:
    """How many jobs the API really made for a prompt."""
    return sum(job["body"]["prompt"] == prompt for job in sandbox.jobs())


def wait_for_receipt(archive: Archive) -> None:
    """Wait until the one open record names its job."""
    marker = next(archive.ledger.open_markers())
    while True:
        page = archive.ledger.read(marker.clip_key)
        if page is not None and page.entry.job_id:
            return
        time.sleep(0.05)
