"""The HTTP server of the callback receiver, with its limits of time."""

import asyncio
import logging
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

CALL_SECONDS = 20.0
"""How long one call may take, from its connection to the answer. The receiver answers before it
works."""
MAX_CONNECTIONS = 500
"""Further calls are answered with 503; the API repeats them."""
STOP_SECONDS = 2
"""How long open calls may go on when the server is stopped; the receiver's own work has its own
limit."""


class _LimitedProtocol(H11Protocol):
    """One call with a limit of time: a head or a body may never end."""

    def __init__(self, call_seconds: float, **surroundings: Any) -> None:
        super().__init__(**surroundings)
        self._call_seconds = call_seconds
        self._limit: asyncio.TimerHandle | None = None

    # asyncio declares any transport here; a server of TCP always gets one that can be written to.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._limit = self.loop.call_later(self._call_seconds, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)


def receiver_server(
    app: Starlette,
    host: str,
    port: int,
    call_seconds: float = CALL_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> uvicorn.Server:
    """Return the server of a receiver's application, ready to `run`."""
    # No access log: the addresses are secrets. Prefect enables the logger again when it sets up
    # its logging, but keeps the filters.
    logging.getLogger("uvicorn.access").addFilter(_say_nothing)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast("Any", partial(_LimitedProtocol, call_seconds)),
        ws="none",
        access_log=False,
        log_level="warning",
        # The limit of a call is one of its connection, so each call has a connection of its own.
        headers=[("Connection", "close")],
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def _say_nothing(record: logging.LogRecord) -> bool:
    return False
