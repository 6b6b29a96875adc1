"""Running a sandbox: in a background thread of this process, or as a process of its own."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from prefect_kling.sandbox.fault_middleware import BASE_PATH
from prefect_kling.sandbox.faults import parse_faults
from prefect_kling.sandbox.server import SandboxApp, create_app
from prefect_kling.sandbox.settings import SandboxSettings


class Sandbox:
    """A sandbox in a background thread, as a context manager.

    ```python
    with Sandbox(SandboxSettings(short_side=180, render_seconds=(0, 0))) as sandbox:
        httpx.get(f"{sandbox.base_url}/balance", headers={"Authorization": f"Bearer {sandbox.key}"})
    ```
    """

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()

    @property
    def key(self) -> str:
        """The API key that is accepted."""
        return self.settings.key

    @property
    def base_url(self) -> str:
        """The base URL of the API, such as `http://127.0.0.1:8000/api/v1`."""
        return f"{self.root_url}{BASE_PATH}"

    @property
    def root_url(self) -> str:
        """The address of the `/sandbox` routes, without their path."""
        return _address(self._socket)

    def stats(self) -> dict[str, Any]:
        """Return what `GET /sandbox/stats` returns."""
        return self._app.stats()

    def jobs(self) -> list[dict[str, Any]]:
        """Return what `GET /sandbox/jobs` returns."""
        return self._app.list_jobs()

    def balance(self) -> dict[str, Any]:
        """Return what `GET /balance` returns as data."""
        return self._app.jobs.balance()

    def top_up(self, usd: str) -> None:
        """Put money on the account."""
        self._app.jobs.top_up(usd)

    def charge_elsewhere(self, usd: str) -> None:
        """Take money for work that nobody asked this API for, as another user of the key would."""
        self._app.jobs.charge_elsewhere(usd)

    def fault(self, **rule: Any) -> None:
        """Add one rule, such as `fault(on="get", do={"status": 503}, times=2)`.

        Raises ValueError for a rule that cannot work.
        """
        self._app.faults.add(parse_faults([rule]))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._app.faults.clear()

    def start(self) -> None:
        """Start serving and return when it does. Not to be called twice.

        Raises OSError if the port is taken, ModuleNotFoundError without Pillow, and RuntimeError if
        the folder cannot be used.
        """
        self._app = create_app(self.settings)
        self._socket = listen(self.settings)
        self._ready = threading.Event()
        self._server = _Server(self._app, self._ready.set)
        self._thread = threading.Thread(target=self._serve, name="kling-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            self.stop()
            raise RuntimeError(
                f"the sandbox did not start: {self._app.failure}"
            ) from self._app.failure

    def stop(self) -> None:
        """Stop serving and return when all threads and temporary files are gone.

        Calling it twice is safe.
        """
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        try:
            # uvicorn ends a failed start with SystemExit; `start` raises the reason.
            with contextlib.suppress(SystemExit):
                self._server.run(sockets=[self._socket])
        finally:
            self._ready.set()


def serve(settings: SandboxSettings | None = None) -> None:
    """Run a sandbox until interrupted, and print its address and key.

    Blocks, and handles signals: meant for a process of its own.
    """
    settings = settings or SandboxSettings()
    app = create_app(settings)
    with contextlib.closing(listen(settings)) as listener:

        def announce() -> None:
            base_url = f"{_address(listener)}{BASE_PATH}"
            print(f"Kling sandbox on {base_url} with key {settings.key}", flush=True)

        with contextlib.suppress(KeyboardInterrupt):
            _Server(app, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A uvicorn server that reports when it is ready, and ends stalled calls when it stops."""

    def __init__(self, app: SandboxApp, on_ready: Callable[[], None]) -> None:
        # h11 even where httptools is installed: faults that drop connections rely on it. No log
        # configuration, so that the caller's stays as it is.
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            # As gateways keep them; uvicorn's own 5 s are shorter than the pause between two polls.
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._fault_middleware = app.fault_middleware
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._fault_middleware.end_stalls()
        await super().shutdown(sockets=sockets)


def listen(settings: SandboxSettings) -> socket.socket:
    """Bind the port now, so that it is known before the server runs. Raises OSError."""
    # asyncio turns Nagle's algorithm off only for sockets that are made as TCP. With it, the second
    # part of an answer on a kept connection waits 40 ms, until the first is acknowledged.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
