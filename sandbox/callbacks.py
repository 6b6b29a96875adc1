"""Sending callbacks, each at its time; their answers do not matter."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import httpx

from prefect_kling.sandbox.named_faults import Delivery


class CallbackSender:
    """Sends callbacks on the running event loop. Create and close it there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client: httpx.AsyncClient | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._closed = False

    def send_at(self, epoch_seconds: float, url: str, make: Callable[[], list[Delivery]]) -> None:
        """Call `make` at a time and send what it returns. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._schedule, epoch_seconds, url, make)

    async def close(self) -> None:
        """Drop all callbacks that were not sent yet."""
        self._closed = True
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    def _schedule(self, epoch_seconds: float, url: str, make: Callable[[], list[Delivery]]) -> None:
        delay = max(0.0, epoch_seconds - time.time())
        self._loop.call_later(delay, self._start, url, make)

    def _start(self, url: str, make: Callable[[], list[Delivery]]) -> None:
        if self._closed:
            return
        for delivery in make():
            request = self._loop.create_task(self._post(url, delivery))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _post(self, url: str, delivery: Delivery) -> None:
        await asyncio.sleep(delivery.after)
        if self._client is None:
            # Most receivers are on this machine, where a proxy could not reach them.
            self._client = httpx.AsyncClient(timeout=10, trust_env=False)
        headers = {"content-type": delivery.content_type}
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
            await self._client.post(url, content=delivery.body, headers=headers)
