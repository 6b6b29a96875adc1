"""SIGTERM and SIGINT at every moment of a clip's life: what is left, and a second run goes on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_clip, produce_film
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from tests.flows.signalled_run import MOMENTS, film_of

LEFT = {
    "claim": EntryState.RELEASED,
    "mark": EntryState.RELEASED,
    "send": EntryState.SUBMITTED,
    "wait": EntryState.SUBMITTED,
    "download": EntryState.SUBMITTED,
}
"""What a run that ends by a signal leaves in the ledger: nothing is held, nobody has to decide."""
MADE = {"claim": 0, "mark": 0, "send": 1, "wait": 1, "download": 1}
IN_THE_LANE = {("send", signal.SIGTERM)}
"""While the answer is on its way. Each run is a process, so the other moments are left to `make
test-all`."""
STOPS_WITHIN_SECONDS = 12.0
TIMES_SENT = 2
"""Prefect's handler raises an exception, which asyncio drops in the step of some other task."""


def every_moment() -> list[Any]:
    """Each moment with each signal; all but those of the lane are marked slow."""
    return [
        pytest.param(
            moment,
            sent,
            id=f"{moment}-{sent.name}",
            marks=() if (moment, sent) in IN_THE_LANE else pytest.mark.slow,
        )
        for moment in MOMENTS
        for sent in (signal.SIGTERM, signal.SIGINT)
    ]


def made(sandbox: Sandbox, prompt: str) -> list[str]:
    """The ids of the jobs that the API really made for a prompt."""
    return [str(job["id"]) for job in sandbox.jobs() if job["body"]["prompt"].startswith(prompt)]


def end(run: "subprocess.Popen[bytes]", sent: signal.Signals) -> None:
    """Send a signal until the run has ended; it is no success to have to kill it."""
    for _ in range(TIMES_SENT):
        run.send_signal(sent)
        with suppress(subprocess.TimeoutExpired):
            run.wait(STOPS_WITHIN_SECONDS)
            return
    run.kill()
    pytest.fail(f"{sent.name} did not end the run")


def has_come(moment: str, come: Path, archive: Archive, sandbox: Sandbox, polled: int) -> bool:
    """Whether the run has reached the moment."""
    if moment in ("claim", "mark", "send"):
        return come.exists()
    states = [archive.ledger.read(key) for key in archive.ledger.all_keys()]
    is_paid = any(each is not None and each.entry.job_id for each in states)
    return is_paid and sandbox.stats()["polled"] > polled


@pytest.mark.parametrize(("moment", "sent"), every_moment())
def test_a_signal_ends_a_run_soon_and_the_next_one_goes_on(
    moment: str,
    sent: signal.Signals,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """No request starts after the signal, none that was sent is forgotten, one is paid."""
    prompt = f"Signalled {archive.bucket.prefix}"
    credentials.save("signalled", overwrite=True)
    archive_block.save("signalled", overwrite=True)
    if moment == "wait":
        sandbox.fault(on="get", do={"state": "processing"}, times=None)
    if moment == "download":
        sandbox.fault(on="file", do={"stall": 300}, times=None)
    come = tmp_path / "come"
    polled = sandbox.stats()["polled"]
    surroundings = os.environ | {"PREFECT_API_URL": f"{prefect_ui}/api"}
    command = [sys.executable, "-m", "tests.flows.signalled_run", prompt, moment, str(come)]
    with subprocess.Popen(command, env=surroundings) as run:
        while not has_come(moment, come, archive, sandbox, polled):
            assert run.poll() is None
            time.sleep(0.05)
        end(run, sent)
    assert len(made(sandbox, prompt)) == MADE[moment]
    wanted = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    (key,) = archive.ledger.all_keys()
    version = archive.ledger.read(key)
    assert version is not None
    assert version.entry.state is LEFT[moment], version.entry.last_note
    sandbox.clear_faults()
    clip = asyncio.run(generate_clip(wanted, credentials, archive_block))
    assert made(sandbox, prompt) == [clip.job_id]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_a_film_whose_joining_is_interrupted_is_joined_by_the_next_run_for_nothing(
    sent: signal.Signals,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """Its clips are archived by then; a film counts only with its manifest, written last."""
    prompt = f"Signalled {archive.bucket.prefix}"
    credentials.save("signalled", overwrite=True)
    archive_block.save("signalled", overwrite=True)
    come = tmp_path / "come"
    surroundings = os.environ | {"PREFECT_API_URL": f"{prefect_ui}/api"}
    command = [sys.executable, "-m", "tests.flows.signalled_run", prompt, "assemble", str(come)]
    with subprocess.Popen(command, env=surroundings) as run:
        while not come.exists():
            assert run.poll() is None
            time.sleep(0.05)
        end(run, sent)
    assert run.returncode != 0
    states = [archive.ledger.read(key) for key in archive.ledger.all_keys()]
    assert [each.entry.state for each in states if each] == [EntryState.ARCHIVED] * 2
    film = asyncio.run(produce_film(film_of(prompt), credentials, archive_block))
    assert archive.bucket.head(archive.bucket.path_of(film.uri)).size > 0
    assert len(made(sandbox, prompt)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["wait", "download"])
async def test_a_run_that_is_cancelled_in_prefect_leaves_a_clip_that_the_next_one_finishes(
    moment: str,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """A runner takes the run up, as in production, and ends its process on cancellation."""
    prompt = f"Cancelled {archive.bucket.prefix}"
    await credentials.save("signalled", overwrite=True)
    await archive_block.save("signalled", overwrite=True)
    if moment == "wait":
        sandbox.fault(on="get", do={"state": "processing"}, times=None)
    else:
        sandbox.fault(on="file", do={"stall": 300}, times=None)
    polled = sandbox.stats()["polled"]
    parameters = {
        "request": {"prompt": prompt, "model": "kling-v3-omni", "duration": 3},
        "credentials": {"$ref": {"block_document_slug": "kling-credentials/signalled"}},
        "archive": {"$ref": {"block_document_slug": "kling-archive/signalled"}},
    }
    with temporary_settings({PREFECT_API_URL: f"{prefect_ui}/api"}):
        runner = Runner(query_seconds=0.5, pause_on_shutdown=False)
        deployment = await runner.aadd_flow(generate_clip, "cancelled", parameters=parameters)
        serving = asyncio.create_task(runner.start())
        run = await run_deployment(deployment, timeout=0)
        while not await asyncio.to_thread(
            has_come, moment, Path("never"), archive, sandbox, polled
        ):
            assert not serving.done()
            await asyncio.sleep(0.1)
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Cancelling())
            while not (await client.read_flow_run(run.id)).state.is_final():
                await asyncio.sleep(0.1)
            assert (await client.read_flow_run(run.id)).state.is_cancelled()
        await runner.astop()
        await serving
    (key,) = archive.ledger.all_keys()
    version = archive.ledger.read(key)
    assert version is not None
    assert version.entry.state is EntryState.SUBMITTED, version.entry.last_note
    sandbox.clear_faults()
    wanted = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    clip = await generate_clip(wanted, credentials, archive_block)
    assert made(sandbox, prompt) == [clip.job_id]
