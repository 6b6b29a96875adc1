"""Servers of our own on loopback, for as long as a block lasts."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 10.0
# Asking a server whether it is ready takes processor time from its start.
POLL_SECONDS = 0.25


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, is_ready: Callable[[], bool]
) -> Iterator[None]:
    """Run a server until the block ends; the block begins when the server is ready.

    Its output goes to the file `log`. At the end the server is terminated, and killed if it does
    not stop. Raises `RuntimeError` with the end of the log if the server does not start.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  our own servers
            command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                output = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} did not come up\n{output}")
            time.sleep(POLL_SECONDS)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now, no two the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
