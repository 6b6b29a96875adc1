"""A signal ends every long-running command, and nothing that it started is left."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.signals import Ended, ended_by_signals, run
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive

COMMAND = str(Path(sys.executable).parent / "prefect-kling")
ROOT = Path(__file__).parents[2]
STARTS_WITHIN_SECONDS = 600.0
STOPS_WITHIN_SECONDS = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NAME = "ended"
"""The name of both blocks."""


@dataclass
class Command:
    """A running command: each of its processes, however deep, has its mark in the environment."""

    words: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    mark: str = field(default_factory=lambda: f"TEST_MARK={secrets.token_hex(8)}")

    def start(self) -> None:
        """Start it."""
        name, _, value = self.mark.partition("=")
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [COMMAND, *self.words],
                env=os.environ | self.environment | {name: value},
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def told(self) -> str:
        """Return all that it has printed."""
        return self.log.read_text(errors="replace")

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so while it runs."""
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not is_so():
            assert self._process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.1)

    def end(self, sent: signal.Signals) -> int:
        """Send a signal to the command itself, and return its exit code."""
        self._process.send_signal(sent)
        return self._process.wait(STOPS_WITHIN_SECONDS)

    def left(self) -> list[str]:
        """Return the command lines of its processes that still run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def kill(self) -> None:
        """Whatever a failed test leaves."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start a command that is gone at the end of the test."""
    commands: list[Command] = []

    def start(*words: str, **environment: str) -> Command:
        surroundings = {"PREFECT_HOME": str(tmp_path / "home"), "COLUMNS": "200", **environment}
        command = Command(words, surroundings, tmp_path / f"log-{len(commands)}")
        commands.append(command)
        command.start()
        return command

    yield start
    for command in commands:
        command.kill()


@pytest.fixture(autouse=True)
def signals_are_heard() -> Iterator[None]:
    """In the background of a shell this process ignores two, and so would all that it starts."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_whose_exception_is_swallowed_ends_the_command_all_the_same() -> None:
    """Compiled code makes another error of it; a second signal does not cut the way out short."""

    def swallow() -> None:
        with ended_by_signals():
            try:
                signal.raise_signal(signal.SIGHUP)
            except Ended:
                signal.raise_signal(signal.SIGHUP)
                raise ValueError("made of it") from None

    with pytest.raises(Ended) as ended:
        swallow()
    assert ended.value.code == 129


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_nothing_but_what_waits(number: signal.Signals) -> None:
    """No exception is raised in the midst of the work, not even by Prefect: it is cancelled.

    The work may take its time to end, and what it does while it ends is done.
    """
    seen: list[str] = []

    @flow
    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(STOPS_WITHIN_SECONDS)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0.1)
            seen.append("tidied up")
            raise

    before = signal.getsignal(number)
    expected = KeyboardInterrupt if number == signal.SIGINT else Ended
    with ended_by_signals(), pytest.raises(expected):
        run(work())
    assert seen == ["cancelled", "tidied up"]
    assert signal.getsignal(number) is before


def test_a_signal_that_another_thread_is_given_is_heard_at_once() -> None:
    """It wakes no thread that waits; the main thread, which alone can hear it, wakes by itself."""
    seen: list[str] = []

    async def work() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        try:
            await asyncio.sleep(STOPS_WITHIN_SECONDS)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with ended_by_signals(), pytest.raises(Ended):
        run(work())
    assert seen == ["cancelled"]


def test_what_a_command_returns_or_raises_is_what_its_work_does() -> None:
    """Though it runs in a thread of its own, with the settings of the caller."""
    setting: ContextVar[str] = ContextVar("setting")

    async def work(*, fails: bool) -> str:
        if fails:
            raise ValueError(setting.get())
        return setting.get()

    setting.set("as set")
    assert run(work(fails=False)) == "as set"
    with pytest.raises(ValueError, match="as set"):
        run(work(fails=True))


needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")


@pytest.mark.slow
@needs_proc
def test_the_sandbox_ends_and_comes_back_where_it_was(
    started: Callable[..., Command], tmp_path: Path
) -> None:
    """It serves the API with the key it names, and a store; again with its folder: the same.

    It ends with 0, for it ran until it was interrupted; the S3 server is gone, too.
    """
    folder = tmp_path / "kept"
    words = ("sandbox", "--store", "--folder", str(folder))
    port = free_ports(1)[0]
    address = f"http://127.0.0.1:{port}/api/v1/balance"
    first = started(*words, "--port", str(port))
    first.wait_for(lambda: _status(address) == 401)
    assert any("weed" in each for each in first.left())
    known = exported(first)
    assert known["APIMODELS_BASE_URL"] == address.removesuffix("/balance")
    store = LocalS3(
        known["AWS_ENDPOINT_URL_S3"], known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"]
    )
    bucket = known["KLING_BUCKET"]
    with contextlib.closing(store.client()) as client:
        assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        client.put_object(Bucket=bucket, Key="a-clip", Body=b"kept")
    key = first.told().split("key ")[1].split()[0]
    assert httpx.get(address, headers={"Authorization": f"Bearer {key}"}).json()["code"] == 200
    assert (folder / "practice.json").stat().st_mode & 0o077 == 0, "it holds keys"
    assert first.end(signal.SIGTERM) == 0, first.told()
    assert first.left() == []

    second = started(*words)
    second.wait_for(lambda: _status(address) == 401)
    assert exported(second) == known
    with contextlib.closing(store.client()) as client:
        assert client.get_object(Bucket=bucket, Key="a-clip")["Body"].read() == b"kept"
    assert second.end(signal.SIGHUP) == 0, second.told()
    assert second.left() == []


def exported(command: Command) -> dict[str, str]:
    """The variables that the sandbox has printed."""
    lines = [line.removeprefix("export ") for line in command.told().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line)


@needs_proc
@pytest.mark.slow
def test_a_sandbox_ends_by_ctrl_c(started: Callable[..., Command]) -> None:
    """As by the other signals."""
    command = started("sandbox", "--store", "--port", str(free_ports(1)[0]))
    command.wait_for(lambda: "Kling sandbox on" in command.told())
    assert command.end(signal.SIGINT) == 0, command.told()
    assert command.left() == []


ENDINGS = {
    "clip": SIGNALS,
    "film": (signal.SIGTERM, signal.SIGINT),
    "batch": (signal.SIGTERM, signal.SIGINT),
    "watch": (signal.SIGTERM,),
    "collect": (signal.SIGTERM,),
    "receiver": SIGNALS,
    "serve": (signal.SIGTERM,),
}
"""Each command with signals. All hear them alike, so a client and a server get every one."""


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sent"),
    [(command, sent) for command, signals in ENDINGS.items() for sent in signals],
    ids=lambda value: getattr(value, "name", value),
)
async def test_a_command_at_work_ends(
    kind: str,
    sent: signal.Signals,
    started: Callable[..., Command],
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """Its exit code names the signal, a server's is 0; its paid job stays in the ledger."""
    (port,) = free_ports(1)
    fields = {"receiver_url": f"http://127.0.0.1:{port}/kling", "receiver_secret": "s" * 20}
    if kind == "receiver":
        credentials = KlingCredentials.model_validate(
            credentials.model_dump(exclude={"block_type_slug"}) | fields
        )
    await credentials.asave(NAME, overwrite=True)
    await archive_block.asave(NAME, overwrite=True)
    sandbox.fault(on="get", do={"state": "processing"}, times=None)
    prompt = f"Ended {archive.bucket.prefix}"
    board = tmp_path / "film.yaml"
    board.write_text(f"title: {NAME}\nscenes:\n  - shots:\n      - {{prompt: '{prompt}'}}\n")
    table = tmp_path / "table.csv"
    table.write_text(f"prompt,duration\n{prompt},3\n")
    blocks = ("--credentials", NAME, "--archive", NAME)
    words: dict[str, tuple[str, ...]] = {
        "clip": ("clip", prompt, "--duration", "3", *blocks),
        "film": ("film", str(board), *blocks),
        "batch": ("batch", str(table), *blocks),
        "watch": ("watch", "--archive", NAME),
        "collect": ("collect", *blocks),
        "receiver": ("receiver", "--port", str(port), *blocks),
        "serve": ("serve", "--take-over"),
    }
    server = f"{prefect_ui}/api"
    if kind in ("watch", "collect"):
        await _leave_a_job(prompt, credentials, archive_block)
    if kind == "collect":
        # Nothing else is left of the sweep than this answer, which does not come.
        sandbox.clear_faults()
        sandbox.fault(on="get", do={"stall": 300}, times=None)
    polled = sandbox.stats()["polled"]
    command = started(*words[kind], PREFECT_API_URL=server)
    moments: dict[str, Callable[[], bool]] = {
        "watch": lambda: "submitted" in command.told(),
        "receiver": lambda: _status(f"http://127.0.0.1:{port}/health") == 200,
        "serve": lambda: "Your deployments are being served" in command.told(),
    }
    command.wait_for(moments.get(kind, lambda: sandbox.stats()["polled"] > polled))
    code = command.end(sent)
    assert code == (0 if kind in ("receiver", "serve") else 128 + sent), command.told()
    assert command.left() == []
    assert "Traceback" not in command.told()
    if kind in ("clip", "film", "batch"):
        (version,) = archive.ledger.all_records()
        assert version.entry.job_id is not None, "what is paid is known"


async def _leave_a_job(prompt: str, credentials: KlingCredentials, archive: KlingArchive) -> None:
    from prefect_kling.flows import submit_batch
    from prefect_kling.kling.request import VideoRequest

    request = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    await submit_batch([request], credentials, archive)


def _status(address: str) -> int:
    """The status of an answer; 0 where nobody answers."""
    try:
        return httpx.get(address).status_code
    except httpx.HTTPError:
        return 0


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "sent"),
    [("starting", signal.SIGINT), ("filming", signal.SIGTERM)],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_demo_ends(
    moment: str, sent: signal.Signals, started: Callable[..., Command], tmp_path: Path
) -> None:
    """While its servers start, and while its film is made: none of the servers is left."""
    command = started("demo", "--folder", str(tmp_path / "film"))
    moments: dict[str, Callable[[], bool]] = {
        "starting": lambda: any("prefect server" in each for each in command.left()),
        "filming": lambda: "rendering" in command.told(),
    }
    command.wait_for(moments[moment])
    assert command.end(sent) == 128 + sent, command.told()
    assert command.left() == []
