"""Signals and cancellations at every moment of a run: what is left, and the next one goes on."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from tests.flows.signalled_run import BLOCK, interrupted, make

LEFT = {
    "claim": [EntryState.RELEASED],
    "mark": [EntryState.RELEASED],
    "send": [EntryState.SUBMITTED],
    "wait": [EntryState.SUBMITTED],
    "download": [EntryState.SUBMITTED],
    "assemble": [EntryState.ARCHIVED, EntryState.ARCHIVED],
}
"""What an ended run leaves in the ledger: nothing is held, nobody has to decide."""
MADE = {"claim": 0, "mark": 0, "send": 1, "wait": 1, "download": 1, "assemble": 2}
CANCEL = "cancel"
ENDINGS = {
    signal.SIGTERM.name: ("claim", "mark", "send", "wait", "download", "assemble"),
    signal.SIGINT.name: ("claim", "mark", "send", "download"),
    CANCEL: ("claim", "mark", "send", "wait", "assemble"),
}
"""How a run is ended, and at which moments; `assemble` is one of a film, all others of a clip.

Once a job's id is saved, one wait is like another: for these, SIGTERM shows what there is to see.
"""
STOPS_WITHIN_SECONDS = 12.0
TIMES_SENT = 2
"""Prefect's handler raises an exception, which asyncio drops in the step of some other task."""


@dataclass(frozen=True)
class Story:
    """A run that waits at a moment, and where it does."""

    moment: str
    come: Path
    prefect_url: str
    archive: Archive
    sandbox: Sandbox
    polled: int

    @property
    def prompt(self) -> str:
        """The beginning of what is ordered, and of nobody else's."""
        return f"Ended {self.archive.bucket.prefix}"

    @property
    def arguments(self) -> dict[str, str]:
        """What the run is started with."""
        return {"prompt": self.prompt, "moment": self.moment, "come": str(self.come)}

    def made(self) -> set[str]:
        """The ids of the jobs that the API really made."""
        jobs = self.sandbox.jobs()
        return {str(job["id"]) for job in jobs if job["body"]["prompt"].startswith(self.prompt)}

    def records(self) -> list[Entry]:
        """The records of all clips as they stand."""
        return [version.entry for version in self.archive.ledger.all_records()]

    def has_come(self) -> bool:
        """Whether the run has reached the moment."""
        if self.moment not in ("wait", "download"):
            return self.come.exists()
        is_paid = any(entry.job_id for entry in self.records())
        return is_paid and self.sandbox.stats()["polled"] > self.polled

    async def await_moment(self, is_running: Callable[[], bool]) -> None:
        """Return once the moment has come; it is an error if the run ends before."""
        while not await asyncio.to_thread(self.has_come):
            assert is_running()
            await asyncio.sleep(0.05)

    async def signal(self, sent: signal.Signals) -> None:
        """Run it as a process and end that by a signal; it is no success to have to kill it."""
        run = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.flows.signalled_run",
            *self.arguments.values(),
            env=os.environ | {"PREFECT_API_URL": self.prefect_url},
        )
        await self.await_moment(lambda: run.returncode is None)
        for _ in range(TIMES_SENT):
            run.send_signal(sent)
            with suppress(TimeoutError):
                assert await asyncio.wait_for(run.wait(), STOPS_WITHIN_SECONDS) != 0
                return
        run.kill()
        await run.wait()
        pytest.fail(f"{sent.name} did not end the run")

    async def cancel(self) -> None:
        """Let a runner take it up, as in production, and end it by a cancellation in Prefect."""
        with temporary_settings({PREFECT_API_URL: self.prefect_url}):
            runner = Runner(query_seconds=0.5, pause_on_shutdown=False)
            deployment = await runner.aadd_flow(interrupted, "cancelled")
            serving = asyncio.create_task(runner.start())
            run = await run_deployment(deployment, parameters=self.arguments, timeout=0)
            await self.await_moment(lambda: not serving.done())
            async with get_client() as client:
                await client.set_flow_run_state(run.id, Cancelling())
                while not (await client.read_flow_run(run.id)).state.is_final():
                    await asyncio.sleep(0.1)
                assert (await client.read_flow_run(run.id)).state.is_cancelled()
            await runner.astop()
            await serving


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "ending"),
    [(moment, ending) for ending, moments in ENDINGS.items() for moment in moments],
)
async def test_a_run_may_be_ended_at_any_moment_and_the_next_one_goes_on(
    moment: str,
    ending: str,
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """No request starts after the end, none that was sent is forgotten, each clip is paid once."""
    await credentials.asave(BLOCK, overwrite=True)
    await archive_block.asave(BLOCK, overwrite=True)
    if moment == "wait":
        sandbox.fault(on="get", do={"state": "processing"}, times=None)
    if moment == "download":
        sandbox.fault(on="file", do={"stall": 300}, times=None)
    polled = sandbox.stats()["polled"]
    story = Story(moment, tmp_path / "come", f"{prefect_ui}/api", archive, sandbox, polled)
    if ending == CANCEL:
        await story.cancel()
    else:
        await story.signal(signal.Signals[ending])
    records = story.records()
    notes = [entry.last_note for entry in records]
    assert [entry.state for entry in records] == LEFT[moment], notes
    assert len(story.made()) == MADE[moment]
    sandbox.clear_faults()
    uri = await make(story.prompt, moment, credentials, archive_block)
    assert archive.bucket.head(archive.bucket.path_of(uri)).size > 0
    records = story.records()
    assert {entry.state for entry in records} == {EntryState.ARCHIVED}
    assert {str(entry.job_id) for entry in records} == story.made()
    assert len(story.made()) == len(LEFT[moment])
