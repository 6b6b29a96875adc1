"""Connections to the API: one pool for each event loop and account, however many clients there are.

A pool belongs to an event loop and lives no longer than that: asyncio closes all asynchronous
generators when a loop ends, and each pool is held by one.
"""

import asyncio
import functools
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from pydantic import SecretStr

from prefect_kling.kling.outage import Outage
from prefect_kling.kling.sent_secrets import SentSecrets

CALLS_AT_ONCE = 64
"""How many free calls of one pool are under way at once. The others wait before the pool: with
hundreds of calls waiting in it, httpcore spends its time on looking through them."""
KEEP_SECONDS = 45.0
"""How long a connection is kept for the next call: longer than the longest pause between polls,
shorter than servers and gateways usually keep theirs (60 s and more)."""
IDLE_SECONDS = 60.0
"""After how many seconds without any call a pool is closed."""
PROXY_VARIABLES = (
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
)  # fmt: skip


@functools.cache
def trust_store() -> ssl.SSLContext:
    """Return the trust store that all clients of a process share: building it takes long."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Account:
    """What decides which connections a call may use: the API's address, the key, the proxies."""

    base_url: str
    key: SecretStr
    proxies: tuple[str | None, ...] = field(
        default_factory=lambda: tuple(map(os.environ.get, PROXY_VARIABLES)), repr=False
    )


class Connections:
    """The connections of one event loop to one account, and what is known of both sides.

    These are the secrets that were sent, and whether the API is away.

    `free` is for everything that may be repeated. A kept connection may be closed by the server in
    the very moment it is used again; the loss of a paid call to that race would be an unknown
    outcome, so those over `paying` always open a connection of their own.
    """

    def __init__(self, account: Account, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.secrets = SentSecrets(account.key.get_secret_value())
        self.turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self.outage = Outage()
        self.is_traced = transport is None
        kept = httpx.Limits(
            max_connections=CALLS_AT_ONCE,
            max_keepalive_connections=CALLS_AT_ONCE,
            keepalive_expiry=KEEP_SECONDS,
        )
        self.free = _http(account, transport, kept)
        self.paying = _http(account, transport, httpx.Limits(max_keepalive_connections=0))

    async def close(self) -> None:
        """Close all connections. They are not to be used afterwards."""
        await self.free.aclose()
        await self.paying.aclose()


def _http(
    account: Account, transport: httpx.AsyncBaseTransport | None, limits: httpx.Limits
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=account.base_url,
        headers={
            "Authorization": f"Bearer {account.key.get_secret_value()}",
            # What the gate unpacks.
            "Accept-Encoding": "gzip, deflate",
        },
        limits=limits,
        transport=transport,
        verify=trust_store(),
    )


@asynccontextmanager
async def shared_connections(account: Account) -> AsyncIterator[Connections]:
    """Lend the connections that the running event loop shares for an account, for one call.

    They are opened by the first call, and closed when the loop ends or after `IDLE_SECONDS`
    without a call.
    """
    pools = _running_loop_pools()
    pool = pools.get(account)
    if pool is None:
        pool = _Pool(account, pools)
        pools[account] = pool
    connections = await pool.lend()
    try:
        yield connections
    finally:
        pool.take_back()


class _Pool:
    """Connections with their users; it removes itself from the loop's pools when it closes."""

    def __init__(self, account: Account, pools: "dict[Account, _Pool]") -> None:
        self._account = account
        self._pools = pools
        self._connections = Connections(account)
        self._lifetime = self._live()
        self._is_begun = False
        self._calls = 0
        self._idle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def lend(self) -> Connections:
        """Return the connections, and stay open until they are taken back."""
        self._calls += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._is_begun:
            self._is_begun = True
            await anext(self._lifetime)
        return self._connections

    def take_back(self) -> None:
        """End one call; the last one begins the idle time."""
        self._calls -= 1
        if not self._calls:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_SECONDS, self._close)

    def _close(self) -> None:
        self._forget()
        # Kept here: the loop itself holds no strong reference to its tasks.
        self._closing = asyncio.ensure_future(self._lifetime.aclose())

    def _forget(self) -> None:
        if self._pools.get(self._account) is self:
            del self._pools[self._account]

    async def _live(self) -> AsyncGenerator[None, None]:
        """Close the connections when the event loop, or whoever else, closes this generator."""
        try:
            yield
        finally:
            self._forget()
            if self._idle is not None:
                self._idle.cancel()
            await self._connections.close()


class _LoopPools(threading.local):
    """The pools of the event loop that runs in this thread. A loop runs in one thread."""

    loop: "weakref.ref[asyncio.AbstractEventLoop] | None" = None
    pools: dict[Account, _Pool]


_here = _LoopPools()


def _running_loop_pools() -> dict[Account, _Pool]:
    loop = asyncio.get_running_loop()
    if _here.loop is None or _here.loop() is not loop:
        # Another loop than before: pools of that one end with it.
        _here.loop = weakref.ref(loop)
        _here.pools = {}
    return _here.pools
