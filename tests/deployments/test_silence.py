"""What is not heard of any more is told, too: workers, who serves, the receiver, the sweeps."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import emit_event
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments import automations
from prefect_kling.deployments.automations import (
    RECEIVER_NAME,
    SWEEP_NAME,
    WORKERS_NAME,
    SilenceMessage,
    _block_id,
    bring_up_to_date,
    message_automations,
    silence_messages,
)
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.telemetry.events import announce_receiver
from tests.inbox import ENOUGH_SECONDS, Inbox, do_nothing, open_inbox, until_loaded

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_ui")]
BIN = Path(sys.executable).parent
# The shortest that Prefect takes.
SOON = timedelta(seconds=10)


async def test_a_worker_a_receiver_and_sweeps_that_are_gone_are_messages(
    prefect_ui: str,
    tmp_path: Path,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker is killed, a receiver heard of no more, no sweep completed: each is a message.

    A receiver that is stopped as it should be is none.
    """
    (port,) = free_ports(1)
    called = credentials.model_copy(
        update={
            "receiver_url": f"http://127.0.0.1:{port}",
            "receiver_secret": SecretStr("nobody-may-read-this"),
        }
    )
    name = f"silent-{secrets.token_hex(4)}"
    await called.asave(name, overwrite=True)
    await archive_block.asave(name, overwrite=True)
    async with get_client() as api:
        pool = await api.create_work_pool(WorkPoolCreate(name=name, type="process"))
    sweep = await deployed("collect-finished", name)
    monkeypatch.setattr(automations, "silence_messages", soon)

    async with watched([sweep], (SWEEP_NAME, WORKERS_NAME, RECEIVER_NAME)) as inbox:
        await kill_worker_and_stop_receiver(name, pool.id, prefect_ui, port, tmp_path)
        announce_receiver("killed")
        (worker,) = await inbox.about(f"prefect worker start --pool {name}")
        assert worker["subject"] == f"Kling: the work pool {name} has no worker"
        assert f"{prefect_ui}/work-pools/work-pool/{name}" in worker["text"]
        swept = (await inbox.about("collect-finished"))[0]
        assert "no sweep" in swept["subject"]
        assert swept["text"].endswith(f"{prefect_ui}/deployments/deployment/{sweep.id}")
        (gone,) = await inbox.about("prefect-kling receiver")
        assert gone["subject"] == "Kling: the receiver killed is gone"
    async with get_client() as api:
        await api.delete_deployment(sweep.id)
        await api.delete_work_pool(name)


async def test_deployments_that_nobody_serves_are_a_message(
    prefect_ui: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a work pool, the server's word that nobody asks for a deployment's runs counts."""
    served = await deployed("film", None)
    monkeypatch.setattr(automations, "silence_messages", soon)
    async with watched([served], (WORKERS_NAME,)) as inbox:
        emit_event(
            "prefect.deployment.not-ready",
            {"prefect.resource.id": f"prefect.deployment.{served.id}"},
        )
        (told,) = await inbox.about("prefect-kling serve")
        assert told["subject"] == "Kling: nobody serves the deployments"
        assert told["text"].endswith(f"{prefect_ui}/deployments/deployment/{served.id}")
    async with get_client() as api:
        await api.delete_deployment(served.id)


def soon(deployments: Sequence[DeploymentResponse]) -> dict[str, SilenceMessage]:
    """The messages that production has, after a shorter silence."""
    return {
        name: replace(each, within=SOON) for name, each in silence_messages(deployments).items()
    }


@asynccontextmanager
async def watched(
    deployments: Sequence[DeploymentResponse], names: Sequence[str]
) -> AsyncIterator[Inbox]:
    """An inbox to which those of our automations send that have these names."""
    with open_inbox() as inbox:
        await inbox.block.asave("silence", overwrite=True)
        block = await _block_id(f"{inbox.block.get_block_type_slug()}/silence")
        every = message_automations(block, deployments)
        chosen = [each for each in every if each.name in names]
        assert len(chosen) == len(names)
        await bring_up_to_date(chosen)
        await until_loaded()
        try:
            yield inbox
        finally:
            for name in names:
                await (await Automation.aread(name=name)).adelete()


async def kill_worker_and_stop_receiver(
    name: str, pool: UUID, prefect_ui: str, port: int, folder: Path
) -> None:
    """Kill a worker that has asked for work; stop a receiver as it should be stopped."""
    api = {"PREFECT_API_URL": f"{prefect_ui}/api"}
    work = [str(BIN / "prefect"), "worker", "start", "--pool", name]
    quick = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "1"}
    receive = [str(BIN / "prefect-kling"), "receiver", "--port", str(port)]
    receive += ["--credentials", name, "--archive", name]
    with (
        started(work, api | quick, folder / "worker") as worker,
        started(receive, api, folder / "receiver") as receiver,
    ):
        await heard(prefect_ui, "kling.receiver.alive", f"kling.receiver.{name}")
        await heard(prefect_ui, "prefect.work-pool.ready", f"prefect.work-pool.{pool}")
        worker.send_signal(signal.SIGKILL)
        receiver.send_signal(signal.SIGTERM)
        await heard(prefect_ui, "kling.receiver.stopped", f"kling.receiver.{name}")


@contextmanager
def started(
    command: list[str], environment: dict[str, str], log: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that is killed at the end, whatever has become of it."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def heard(prefect_ui: str, event: str, resource: str) -> None:
    """Wait until the server knows of such an event."""
    asked = {"filter": {"event": {"name": [event]}, "resource": {"id": [resource]}}}
    async with httpx.AsyncClient() as http, asyncio.timeout(ENOUGH_SECONDS):
        while True:
            answer = await http.post(f"{prefect_ui}/api/events/filter", json=asked)
            if answer.json()["events"]:
                return
            await asyncio.sleep(0.5)


async def deployed(name: str, pool: str | None) -> DeploymentResponse:
    """A deployment of nothing that is named like one of ours."""
    made = await do_nothing.ato_deployment(name=name)
    made.work_pool_name = pool
    deployment = await made.aapply()
    async with get_client() as api:
        return await api.read_deployment(deployment)
