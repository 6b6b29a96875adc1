"""Starting workers and a sandbox as processes of their own, and watching workers live and die."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import httpx

from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.sandbox.settings import DEFAULT_KEY
from tests.kill.points import Passed
from tests.kill.worker import Assignment, Outcome, work, work_through

# Workers are forked from a process that has one thread, all imports and nothing else: forking this
# one, which has threads and sockets, would not be safe.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.kill.zygote"])
# Starting a process looks at all others, and two threads that look at one process at once lose its
# exit code.
_looking = threading.Lock()


@dataclass(frozen=True)
class Api:
    """A sandbox in another process."""

    root_url: str
    key: str = DEFAULT_KEY

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"{self.root_url}/api/v1"

    def read(self, what: str) -> Any:
        """Return `stats`, `jobs` or `faults`."""
        return httpx.get(f"{self.root_url}/sandbox/{what}", timeout=60).raise_for_status().json()

    def fault(self, *rules: dict[str, Any]) -> None:
        """Add rules that spoil the next answers."""
        httpx.post(f"{self.root_url}/sandbox/faults", json=list(rules)).raise_for_status()

    def behave(self) -> None:
        """Spoil nothing any more."""
        httpx.delete(f"{self.root_url}/sandbox/faults").raise_for_status()

    def jobs_of(self, prompt: str) -> list[dict[str, Any]]:
        """Return the jobs that were really made, and will be paid, for a prompt."""
        return [job for job in self.read("jobs") if job["body"]["prompt"] == prompt]


@contextmanager
def api_process(
    folder: Path, render_seconds: tuple[float, float], video: Path | None = None
) -> Iterator[Api]:
    """Run a sandbox with a full account in a process of its own until the block ends.

    Given a video, it is the result of every job, and nothing is painted.
    """
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    settings = f"port={port}, folder={str(folder)!r}, render_seconds={render_seconds!r}"
    if video is not None:
        settings += f", paints=False, clip={str(video)!r}"
    code = (
        "from prefect_kling.sandbox import SandboxSettings, serve\n"
        f"serve(SandboxSettings({settings}, short_side=90, stamp_job_id=False, "
        "balance_usd=1_000_000))"
    )
    api = Api(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        try:
            return httpx.get(f"{api.root_url}/sandbox/stats").status_code == 200
        except httpx.HTTPError:
            return False

    with running([sys.executable, "-c", code], {}, folder / "api.log", is_ready):
        yield api


@dataclass
class Ending:
    """What is known about a worker that has ended."""

    exit_code: int | None = None
    outcome: Outcome | None = None
    passed: list[Passed] = field(default_factory=list)

    @property
    def last_point(self) -> str:
        """The last point it passed."""
        return self.passed[-1].point if self.passed else "not begun"


class Worker:
    """A running worker."""

    def __init__(self, task: Assignment, start: "threading.Barrier | None" = None) -> None:
        self.task, self._ending = task, Ending()
        self._heard, said = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=work, args=(task, said, start), daemon=True)
        with _looking:
            self.process.start()
        said.close()

    def await_point(self, point: str, seconds: float = 60.0) -> None:
        """Wait until a point is passed; raises TimeoutError, or EOFError when the worker ended."""
        end = time.monotonic() + seconds
        while point not in (each.point for each in self._ending.passed):
            if not self._heard.poll(max(0.0, end - time.monotonic())):
                raise TimeoutError(f"the worker did not come to {point}")
            self._listen()

    def kill_after(self, seconds: float) -> None:
        """Shoot it once it has begun and then lived so long, unless it has ended by itself."""
        try:
            self.await_point("before-claim")
            wait([self.process.sentinel], seconds)
        except EOFError:
            pass
        self.process.kill()

    def end(self, seconds: float = 120.0) -> Ending:
        """Wait for the end and tell how it was. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        try:
            while self._heard.poll(max(0.0, deadline - time.monotonic())):
                self._listen()
            self.process.kill()
            raise TimeoutError(f"a worker did not end; it passed {self._ending.last_point} last")
        except EOFError:
            with _looking:
                self.process.join()
        self._heard.close()
        self._ending.exit_code = self.process.exitcode
        return self._ending

    def _listen(self) -> None:
        heard = self._heard.recv()
        if isinstance(heard, Passed):
            self._ending.passed.append(heard)
        else:
            self._ending.outcome = heard


def end_all(tasks: Sequence[Assignment], start: "threading.Barrier | None" = None) -> list[Ending]:
    """Run a worker for each assignment, all at once, and return how they ended."""
    workers = [Worker(task, start) for task in tasks]
    return [worker.end() for worker in workers]


def resume(
    tasks: Sequence[Assignment], processes: int = 2, at_once: int = 12, seconds: float = 600.0
) -> dict[str, Outcome]:
    """Make many clips in a few processes, so many at once in each, and return outcomes by prompt.

    Raises TimeoutError if there is no new outcome for so many seconds.
    """
    outcomes: dict[str, Outcome] = {}
    crew = []
    for number in range(processes):
        heard, said = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(
            target=work_through, args=(list(tasks[number::processes]), said, at_once), daemon=True
        )
        process.start()
        said.close()
        crew.append((heard, process))
    for heard, process in crew:
        try:
            while heard.poll(seconds):
                prompt, outcome = heard.recv()
                outcomes[prompt] = outcome
            process.kill()
            raise TimeoutError(f"{len(outcomes)} of {len(tasks)} clips have ended")
        except EOFError:
            heard.close()
            process.join()
    return outcomes
