"""A port that cannot be used, told as a sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_WHY = {
    errno.EADDRINUSE: "is in use; perhaps it already runs",
    errno.EACCES: "may not be used by this user",
    errno.EADDRNOTAVAIL: "is at an address that is not this machine's",
}


class PortUnusable(RuntimeError):
    """A server cannot listen where it should."""


@contextmanager
def port_in_words(host: str, port: int, next_step: str) -> Iterator[None]:
    """Raise `PortUnusable` with the next step where the block cannot listen."""
    try:
        yield
    except OSError as error:
        why = _WHY.get(error.errno or 0)
        if why is None:
            raise
        raise PortUnusable(f"port {port} of {host} {why}. {next_step}") from None
