"""What one process costs: processor time, memory, loop lag, and the calls that leave it."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from botocore.httpsession import URLLib3Session
from httpcore._backends.auto import AutoBackend

SAMPLE_SECONDS = 0.02
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")


@dataclass
class Calls:
    """The calls of this process by what they are for, and the connections that were opened."""

    api: Counter[str] = field(default_factory=Counter)
    store: Counter[str] = field(default_factory=Counter)
    prefect: int = 0
    connections: int = 0


def count_calls(api_port: int, prefect_port: int, prefix: str) -> Calls:
    """Count every HTTP call of this process from now on."""
    calls = Calls()

    def count(request: httpx.Request) -> None:
        if request.url.port == prefect_port:
            calls.prefect += 1
        if request.url.port == api_port:
            calls.api[_api_purpose(request)] += 1

    async_original = httpx.AsyncHTTPTransport.handle_async_request
    sync_original = httpx.HTTPTransport.handle_request
    send_original = URLLib3Session.send
    connect_original = AutoBackend.connect_tcp

    async def send_async(
        transport: httpx.AsyncHTTPTransport, request: httpx.Request
    ) -> httpx.Response:
        count(request)
        return await async_original(transport, request)

    def send_sync(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        count(request)
        return sync_original(transport, request)

    def send_to_store(session: URLLib3Session, request: Any) -> Any:
        calls.store[_store_purpose(request.method, request.url, prefix)] += 1
        return send_original(session, request)

    async def connect(backend: Any, host: str, port: int, **options: Any) -> Any:
        if port == api_port:
            calls.connections += 1
        return await connect_original(backend, host, port, **options)

    httpx.AsyncHTTPTransport.handle_async_request = send_async  # type: ignore[method-assign, assignment]
    httpx.HTTPTransport.handle_request = send_sync  # type: ignore[method-assign, assignment]
    URLLib3Session.send = send_to_store  # type: ignore[method-assign, assignment]
    AutoBackend.connect_tcp = connect  # type: ignore[method-assign, assignment]
    return calls


def _api_purpose(request: httpx.Request) -> str:
    path = request.url.path
    if "/files/" in path:
        return "file"
    if "/records/" in path:
        return "charge"
    if request.method == "POST":
        return "create"
    return "poll"


def _store_purpose(method: str, url: str, prefix: str) -> str:
    path = urlsplit(url).path.partition(f"/{prefix}/")[2]
    folder, _, name = path.rpartition("/")
    if folder == "clips":
        return f"{method} clips/*.{name.rpartition('.')[2]}"
    if name == "budget.json":
        folder = path
    return f"{method} {folder}"


@dataclass
class Cost:
    """What a piece of work has cost this process."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    lag_p99_seconds: float = 0.0


@asynccontextmanager
async def gauge() -> AsyncIterator[Cost]:
    """Measure a block: its cost is complete when the block has ended."""
    cost = Cost()
    lags: list[float] = []
    sampling = asyncio.ensure_future(_sample(lags.append))
    before = _resident("VmRSS")
    _forget_peak()
    wall = time.perf_counter()
    cpu = time.process_time()
    yield cost
    cost.wall_seconds = time.perf_counter() - wall
    cost.cpu_seconds = time.process_time() - cpu
    cost.peak_bytes = _resident("VmHWM") - before
    sampling.cancel()
    cost.lag_p99_seconds = statistics.quantiles(lags, n=100)[98]


async def _sample(note: Callable[[float], None]) -> None:
    while True:
        due = time.perf_counter() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        note(max(0.0, time.perf_counter() - due))


def _forget_peak() -> None:
    _RESET_PEAK.write_text("5")


def _resident(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{_STATUS} has no {name}")
