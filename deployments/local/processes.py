"""Servers of our own on loopback, for as long as a block lasts."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 10.0
PAUSE_SECONDS = 0.25  # asking a server whether it is there takes processor time from its start


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, is_ready: Callable[[], bool]
) -> Iterator[None]:
    """Run a server until the block ends, its output in a file; the block begins when the server is ready.

    At the end it is asked to stop, then made to. Raises `RuntimeError` with its last words when it does not come up.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  our own servers
            command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"{command[0]} did not come up\n{log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(PAUSE_SECONDS)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now, all held at once so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
