"""Where clips get painted: fetches the inputs, paints in a few threads, and never paints the same picture twice."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import httpx

from prefect_kling.sandbox.prices import edits, price_of, to_units
from prefect_kling.sandbox.recipe import Input, UnusableInput, read_recipe
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job, Outcome

logger = logging.getLogger(__name__)

PAINTER_AGENT = "kling-sandbox-painter"
_MOST_MEGABYTES = {"first_frame": 10, "end_frame": 10, "reference": 10, "feature": 200, "base": 200}


def require_paint() -> None:
    """Raise ModuleNotFoundError with the cure if Pillow is not installed; does not import it."""
    if find_spec("PIL") is None:
        raise ModuleNotFoundError(
            "the sandbox paints its videos with Pillow: pip install 'prefect-kling[demo]'",
            name="PIL",
        )


class Workshop:
    """A pool of painters. `report` is called from their threads, once per finished job."""

    def __init__(
        self, settings: SandboxSettings, folder: Path, report: Callable[[Job, Outcome], None]
    ) -> None:
        self._settings, self._folder, self._report = settings, folder, report
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(
            settings.painters, thread_name_prefix="kling-sandbox-painter"
        )
        self._closers, self._lock = ExitStack(), threading.Lock()
        self._http: httpx.Client | None = None
        self._locks: dict[str, threading.Lock] = {}

    def order(self, job: Job) -> None:
        """Have a job painted as soon as a painter is free."""
        self._pool.submit(self._work, job)

    def close(self) -> None:
        """Drop what is not finished and end the threads. Unfinished jobs are not reported."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)
        self._closers.close()

    def _work(self, job: Job) -> None:
        """Paint one job and report, whatever happens, unless the workshop closes."""
        try:
            outcome = self._make(job)
        except UnusableInput as error:
            outcome = Outcome(fail_code="INVALID_INPUT", fail_msg=str(error))
        except (
            Exception
        ):  # a job must end whatever its painting meets, or its client would wait for ever
            if self._closing.is_set():
                return
            logger.exception("painting job %s failed", job.id)
            outcome = Outcome(
                fail_code="INTERNAL_ERROR", fail_msg="the sandbox failed to paint this clip"
            )
        if not self._closing.is_set():
            self._report(job, outcome)

    def _make(self, job: Job) -> Outcome:
        # Imported here, so that a sandbox can be imported and started without loading two picture libraries.
        from prefect_kling.sandbox.footage import clip_seconds
        from prefect_kling.sandbox.painter import paint_clip

        stamp = (job.id, job.number) if self._settings.stamp_job_id else ("", 0)
        recipe = read_recipe(job.body, self._settings.short_side, *stamp)
        contents = {item.url: self._fetch(item) for item in recipe.inputs}
        path = self._folder / f"{recipe.digest(contents)}.mp4"
        with self._locks.setdefault(path.name, threading.Lock()):
            if not path.exists():
                paint_clip(recipe, contents, path, self._closing.is_set)
        seconds = clip_seconds(path) if edits(job.body) else 0
        return Outcome(
            file=path.name, cost=to_units(price_of(job.body, seconds, self._settings.extra_models))
        )

    def _client(self) -> httpx.Client:
        """Return the one client, made when it is first needed because that takes longer than starting a sandbox."""
        # Unlike the real API, which refuses private addresses, inputs may and mostly do lie on this machine;
        # a proxy could not reach them.
        direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
        with self._lock:
            if self._http is None:
                headers = {"User-Agent": PAINTER_AGENT}
                client = httpx.Client(
                    headers=headers, timeout=10, follow_redirects=True, mounts=direct
                )
                self._http = self._closers.enter_context(client)
            return self._http

    def _fetch(self, item: Input) -> bytes:
        """Download one input. Raises UnusableInput."""
        try:
            with self._client().stream("GET", item.url) as reply:
                reply.raise_for_status()
                return _read(reply, _MOST_MEGABYTES[item.role])
        except httpx.HTTPStatusError as error:
            raise UnusableInput(
                f"the {item.role} input was answered with {error.response.status_code}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnusableInput(
                f"the {item.role} input cannot be fetched ({type(error).__name__})"
            ) from error


def _read(reply: httpx.Response, most_megabytes: int) -> bytes:
    received = bytearray()
    for piece in reply.iter_bytes():
        received += piece
        if len(received) > most_megabytes * 1_000_000:
            raise UnusableInput(f"an input is larger than {most_megabytes} MB")
    return bytes(received)
