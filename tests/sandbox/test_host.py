"""Starting and stopping, in a thread or as a process."""

import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_kling.sandbox import Sandbox, SandboxSettings, create_app

STRICT = [sys.executable, "-X", "dev", "-W", "error"]


def test_import_is_light() -> None:
    """Importing and starting a sandbox loads neither Pillow nor PyAV; painting does."""
    program = """
import sys
from prefect_kling.sandbox import Sandbox, SandboxSettings
with Sandbox(SandboxSettings()):
    assert not {"PIL", "av"} & set(sys.modules)
"""
    subprocess.run([*STRICT, "-c", program], check=True)


def test_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Pillow the sandbox says what to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'prefect-kling\[demo\]'"):
        create_app()


def test_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_sandbox: Any) -> None:
    """A stopped sandbox leaves no thread, no port and no file, and stopping twice is harmless."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())
    caller = open_sandbox()
    caller.finish()
    caller.create(duration="15", mode="pro")
    assert len(list(tmp_path.iterdir())) == 1
    caller.sandbox.stop()
    caller.sandbox.stop()
    assert (set(threading.enumerate()) - before, list(tmp_path.iterdir())) == (set(), [])
    with pytest.raises(httpx.ConnectError):
        caller.http.get("/balance")


def test_an_answer_on_a_kept_connection_is_sent_at_once(open_sandbox: Any) -> None:
    """No part of it waits until the client's system has acknowledged the one before: 40 ms."""
    http = open_sandbox().http
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        http.get("/balance")
        seconds.append(time.perf_counter() - begun)
    # The first answer of a connection is acknowledged at once.
    assert min(seconds[2:]) < 0.03


def test_stop_does_not_wait_for_stalls(open_sandbox: Any) -> None:
    """A stalled call ends with the sandbox."""
    caller, answers = open_sandbox(), []

    def call() -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            caller.http.post("/video/generations", timeout=60)
        answers.append("none")

    caller.sandbox.fault(on="create", do={"stall": 600})
    thread = threading.Thread(target=call)
    thread.start()
    while not caller.sandbox.stats()["posts"]:
        time.sleep(0.01)
    caller.sandbox.stop()
    thread.join()
    assert answers == ["none"]


@pytest.mark.parametrize("path", ["/api/v1/video/generations", "/sandbox/faults"])
def test_half_a_call(open_sandbox: Any, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """A caller that disconnects within its body causes no log line, and the next is served."""
    caller = open_sandbox()
    url = httpx.URL(caller.sandbox.root_url)
    authorization = f"Authorization: Bearer {caller.sandbox.key}"
    head = "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: x", authorization, "Content-Length: 99", "", ""]
    )
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f'{head}{{"model": '.encode())
    assert caller.finish()["state"] == "completed"
    caller.sandbox.stop()
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == []
    assert "Traceback" not in caplog.text


def test_taken_port(open_sandbox: Any) -> None:
    """A port in use is an error at the start."""
    port = httpx.URL(open_sandbox().sandbox.base_url).port
    with pytest.raises(OSError, match="in use"), Sandbox(SandboxSettings(port=port)):
        pass


def test_unusable_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be used is named at the start, and nothing stays behind."""
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(RuntimeError, match="file"),
        Sandbox(SandboxSettings(folder=tmp_path / "file")),
    ):
        pass
    assert "startup failed" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"render_seconds": (2, 1)},
        {"render_seconds": (-1, 1)},
        {"painters": 0},
        {"short_side": 40},
        {"slots": 0},
    ],
)
def test_impossible_settings(settings: dict[str, Any]) -> None:
    """Settings no sandbox could work with are refused."""
    with pytest.raises(ValueError, match=r".+"):
        SandboxSettings(**settings)


def test_own_process() -> None:
    """As a process the sandbox prints its address and key, and ends cleanly when interrupted."""
    program = """
from prefect_kling.sandbox import SandboxSettings, serve
serve(SandboxSettings(short_side=90, render_seconds=(0, 0)))
"""
    command = [*STRICT, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            words = process.stdout.readline().split() if process.stdout else []
            header = {"Authorization": f"Bearer {words[-1]}"}
            reply = httpx.get(f"{words[3]}/balance", headers=header, trust_env=False)
        finally:
            process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert (reply.json()["data"]["total"], process.returncode, complaints) == (100.0, 0, "")
