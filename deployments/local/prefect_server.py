"""A Prefect server of our own on loopback, with its own database, for the demo and the tests."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

# Left to itself, a server records each state of a task run in a transaction of its own, holds
# 10,000 states that wait for that, and drops the rest. docs/how-to/prefect-server.md says it, too.
RECORDS_MANY_TASK_RUNS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


@contextmanager
def prefect_server(folder: Path, database: str | None = None) -> Iterator[str]:
    """Run a Prefect server until the block ends; this process uses it meanwhile.

    The server keeps everything in the folder. Given a database, a URL such as
    `postgresql+asyncpg://…`, it keeps its records there instead. Yields the address of its UI.
    Raises `RuntimeError` with the end of the server's log if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    log = folder / "server.log"

    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    environment["DO_NOT_TRACK"] = "1"
    environment["PREFECT_API_URL"] = f"{address}/api"
    environment["PREFECT_HOME"] = str(folder)
    environment["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    environment |= RECORDS_MANY_TASK_RUNS
    if database is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database

    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
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
    """Send the remaining logs and events to the server in use, before it changes or stops.

    A process has one worker for each of the two. A worker keeps the server it was made for.
    """
    # In another thread, because Prefect waits only where no event loop runs, and returns a
    # coroutine elsewhere.
    with ThreadPoolExecutor(max_workers=1) as thread:
        for worker in (APILogWorker, EventsWorker):
            thread.submit(worker.drain_all, timeout=5).result()


def _is_ready(address: str) -> bool:
    try:
        # On loopback without TLS; preparing for it takes longer than asking.
        health = httpx.get(f"{address}/api/health", timeout=5, verify=False)  # noqa: S501
    except httpx.HTTPError:
        return False
    return health.status_code == 200
