"""A Prefect server of our own on loopback, with its own database, for the demo and the tests."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

from prefect_kling.deployments.local.processes import free_ports, running


@contextmanager
def prefect_server(folder: Path, database: str | None = None) -> Iterator[str]:
    """Run a Prefect server that keeps everything in a folder and have this process use it until the block ends.

    Given a database, a URL such as `postgresql+asyncpg://…`, the server keeps its records there instead. Yields the
    address of its UI. Raises `RuntimeError` with the server's last words when it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address, log = f"http://127.0.0.1:{free_ports(1)[0]}", folder / "server.log"
    port = address.rpartition(":")[2]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    environment |= {
        "PREFECT_HOME": str(folder),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    environment |= {"PREFECT_API_URL": f"{address}/api"}
    environment |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    with running(command, environment, log, lambda: _is_ready(address)):
        updates = {
            PREFECT_API_URL: f"{address}/api",
            PREFECT_HOME: folder,
            PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
        }
        _drain()
        with temporary_settings(updates=updates):
            try:
                yield address
            finally:
                _drain()


def _drain() -> None:
    """Have the server in use receive the last logs and events, before another one takes its place or it is gone.

    A process has one worker for each of the two, which stays with the server it was made for.
    """
    APILogWorker.drain_all(timeout=5)
    EventsWorker.drain_all(timeout=5)


def _is_ready(address: str) -> bool:
    try:
        # On loopback without TLS; preparing for it takes longer than asking.
        return httpx.get(f"{address}/api/health", timeout=5, verify=False).status_code == 200  # noqa: S501
    except httpx.HTTPError:
        return False
