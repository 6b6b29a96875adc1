"""Sending callbacks: each is sent once, at its time, and its answer does not matter."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Callback:
    """One callback: where it goes and its JSON body."""

    url: str
    body: dict[str, Any]


class CallbackSender:
    """Sends callbacks on the running event loop. Create and close it there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client: httpx.AsyncClient | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._closed = False

    def send_at(self, epoch_seconds: float, make: Callable[[], Callback]) -> None:
        """Call `make` at a time and send what it returns. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._schedule, epoch_seconds, make)

    async def close(self) -> None:
        """Drop all callbacks that were not sent yet."""
        self._closed = True
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    def _schedule(self, epoch_seconds: float, make: Callable[[], Callback]) -> None:
        self._loop.call_later(max(0.0, epoch_seconds - time.time()), self._start, make)

    def _start(self, make: Callable[[], Callback]) -> None:
        if self._closed:
            return
        request = self._loop.create_task(self._post(make()))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def _post(self, callback: Callback) -> None:
        if self._client is None:
            # Most receivers are on this machine, where a proxy could not reach them.
            self._client = httpx.AsyncClient(timeout=10, trust_env=False)
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
            await self._client.post(callback.url, json=callback.body)
