"""From an empty folder and the wheel to a film that was asked for by the form of the Prefect UI."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from prefect_kling.deployments.local.processes import free_ports, running
from tests.project.conftest import Published

pytestmark = pytest.mark.slow

RUN_SECONDS = 300


@dataclass
class Newcomer:
    """Somebody with a terminal in an empty folder: a Python environment, and what was exported."""

    folder: Path
    exported: dict[str, str] = field(default_factory=dict)

    @property
    def programs(self) -> Path:
        """Where the environment's commands are."""
        return self.folder / ".venv" / "bin"

    @property
    def surroundings(self) -> dict[str, str]:
        """The environment of a command; nothing of the checkout or of the test's Python."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(
                ("PREFECT_", "AWS_", "APIMODELS_", "KLING_", "PYTHON", "VIRTUAL")
            )
        }
        own = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / ".prefect"),
            "DO_NOT_TRACK": "1",
        }
        return kept | own | self.exported

    def types(self, *words: str | Path) -> str:
        """Run a command to its end; what it printed. Raises `AssertionError` when it fails."""
        command = [str(self.programs / words[0]), *map(str, words[1:])]
        done = subprocess.run(
            command, env=self.surroundings, cwd=self.folder, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def keeps_running(
        self, *words: str, until: Callable[[str], bool]
    ) -> Iterator[Callable[[], str]]:
        """Run a command in a terminal of its own; begins when what it printed is as wanted."""
        command = [str(self.programs / words[0]), *words[1:]]
        log = self.folder / f"{words[0]}-{words[1]}.log"
        surroundings = {"PYTHONUNBUFFERED": "1"} | self.surroundings
        with running(command, surroundings, log, lambda: until(log.read_text())):
            yield log.read_text


@pytest.fixture
def newcomer(published: Published, tmp_path: Path) -> Newcomer:
    """The wheel and its dependencies, installed as anybody does, and an empty folder."""
    venv.create(tmp_path / ".venv", symlinks=True)
    somebody = Newcomer(tmp_path)
    # The pip that is here, for its cache.
    command = [sys.executable, "-m", "pip", "--python", somebody.programs / "python", "install"]
    subprocess.run([*command, "--quiet", f"{published.wheel}[demo]"], check=True)
    return somebody


def is_up(address: str) -> Callable[[str], bool]:
    """Whether a Prefect server answers; its log does not matter."""

    def asked(_log: str) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{address}/health", trust_env=False).status_code == 200
        return False

    return asked


def start_by_form(api: str, deployment: str, parameters: dict[str, Any]) -> str:
    """Ask for a run as the form does: its fields, and those that were left as they are."""
    with httpx.Client(base_url=api, trust_env=False, timeout=30) as server:
        found = server.get(f"/deployments/name/{deployment}").raise_for_status().json()
        filled = {"parameters": found["parameters"] | parameters}
        # A server on SQLite that is busy answers 503; a person clicks again.
        for wait in (0, 1, 2, 4, 8):
            time.sleep(wait)
            made = server.post(f"/deployments/{found['id']}/create_flow_run", json=filled)
            if made.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
        run: str = made.raise_for_status().json()["id"]
    return run


def ended(api: str, run: str) -> dict[str, Any]:
    """Wait for the end of a run; the run."""
    deadline = time.monotonic() + RUN_SECONDS
    while True:
        answer = httpx.get(f"{api}/flow_runs/{run}", trust_env=False, timeout=30)
        seen: dict[str, Any] = answer.json()
        if seen.get("state_type") in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(1)


def test_with_the_wheel_alone_a_film_is_made_from_the_form(newcomer: Newcomer) -> None:
    """`init`, `setup`, `deploy`, a worker, and the form as it stands: paid is what was quoted."""
    sandbox_port, server_port = free_ports(2)
    server = f"http://127.0.0.1:{server_port}"
    sandbox = ("prefect-kling", "sandbox", "--store", "--port", str(sandbox_port))
    sandbox += ("--render-seconds", "1", "2")
    with ExitStack() as terminals:
        printed = terminals.enter_context(
            newcomer.keeps_running(*sandbox, until=lambda log: "export AWS_REGION" in log)
        )
        start = ("prefect", "server", "start", "--port", str(server_port))
        terminals.enter_context(newcomer.keeps_running(*start, until=is_up(f"{server}/api")))
        exports = re.findall(r"^export (\w+)=(.*)$", printed(), re.MULTILINE)
        newcomer.exported = {name: shlex.split(value)[0] for name, value in exports}
        newcomer.exported["PREFECT_API_URL"] = f"{server}/api"
        newcomer.exported["PREFECT_WORKER_QUERY_SECONDS"] = "1"

        newcomer.types("prefect-kling", "setup", "--yes")
        newcomer.types("prefect-kling", "init")
        described = yaml.safe_load((newcomer.folder / "prefect.yaml").read_text())
        (film,) = [each for each in described["deployments"] if each["name"] == "film"]
        (newcomer.folder / "film.yaml").write_text(film["parameters"]["storyboard"])
        quoted = to_be_paid(newcomer.types("prefect-kling", "quote", "film.yaml"))
        assert quoted != "0.0000"

        newcomer.types("prefect-kling", "deploy", "film", "--file", "prefect.yaml")
        worker = ("prefect", "worker", "start", "--pool", "kling")
        terminals.enter_context(
            newcomer.keeps_running(*worker, until=lambda log: "started!" in log)
        )
        run = start_by_form(f"{server}/api", "produce-film/film", {})
        done = ended(f"{server}/api", run)
        assert done["state_type"] == "COMPLETED", done["state"]
        assert done["name"] == "film First light"

        account = f"http://127.0.0.1:{sandbox_port}/sandbox/stats"
        paid = httpx.get(account, trust_env=False).json()["paid_usd"]
        assert f"{float(paid):.4f}" == quoted
        assert float(to_be_paid(newcomer.types("prefect-kling", "quote", "film.yaml"))) == 0


def to_be_paid(said: str) -> str:
    """The sum that `prefect-kling quote` tells, in US dollars."""
    (usd,) = re.findall(r"To be paid: \$([\d.]+)", said)
    return str(usd)
