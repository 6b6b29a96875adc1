"""Rendering clips: fetches the inputs, paints in a few threads, and paints each clip once."""

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import httpx

from prefect_kling.sandbox.clip_request import (
    Input,
    UnusableInput,
    read_inputs,
    without_addresses,
)
from prefect_kling.sandbox.prices import is_edit, price_of, to_units
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job, Outcome

logger = logging.getLogger(__name__)

RENDERER_USER_AGENT = "kling-sandbox-renderer"
_MAX_IMAGE_BYTES = 10_000_000
_MAX_VIDEO_BYTES = 200_000_000


def require_pillow() -> None:
    """Raise ModuleNotFoundError, with what to install, without Pillow. Does not import it."""
    if find_spec("PIL") is None:
        raise ModuleNotFoundError(
            "the sandbox paints its videos with Pillow: pip install 'prefect-kling[demo]'",
            name="PIL",
        )


class Renderer:
    """Renders jobs in threads, and calls `on_finished` there, once per finished job."""

    def __init__(
        self, settings: SandboxSettings, folder: Path, on_finished: Callable[[Job, Outcome], None]
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._on_finished = on_finished
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(
            settings.painters, thread_name_prefix="kling-sandbox-renderer"
        )
        self._path_locks: dict[Path, threading.Lock] = {}

    def submit(self, job: Job) -> None:
        """Render a job as soon as a thread is free."""
        self._pool.submit(self._run, job)

    def close(self) -> None:
        """Drop what is not finished and end the threads. Unfinished jobs are not reported."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        try:
            outcome = self._render(job)
        except UnusableInput as error:
            outcome = Outcome(fail_code="INVALID_INPUT", fail_msg=str(error))
        except Exception:
            # Whatever happens, a job must end, or its client would wait for ever.
            if not self._closing.is_set():
                logger.exception("painting job %s failed", job.id)
            outcome = Outcome(
                fail_code="INTERNAL_ERROR", fail_msg="the sandbox failed to paint this clip"
            )
        if not self._closing.is_set():
            self._on_finished(job, outcome)

    def _render(self, job: Job) -> Outcome:
        # Imported here, so that a sandbox can be imported and started without loading two picture
        # libraries.
        from prefect_kling.sandbox.decoded_inputs import Video
        from prefect_kling.sandbox.painter import paint_clip

        contents = [(item, self._fetch(item)) for item in read_inputs(job.body)]
        job_id = ""
        if self._settings.stamp_job_id:
            job_id = job.id
        digest = self._digest(job, contents, job_id)
        number = int(digest[:4], 16)
        if self._settings.stamp_job_id:
            number = job.number

        path = self._folder / f"{digest}.mp4"
        with self._path_locks.setdefault(path, threading.Lock()):
            if not path.exists():
                paint_clip(
                    job.body,
                    contents,
                    path,
                    number=number,
                    job_id=job_id,
                    short_side=self._settings.short_side,
                    stopped=self._closing.is_set,
                )

        seconds = 0.0
        if is_edit(job.body):
            seconds = Video(path.read_bytes()).seconds
        price = price_of(self._settings.with_known_model(job.body), seconds)
        return Outcome(file=path.name, cost=to_units(price))

    def _digest(self, job: Job, contents: list[tuple[Input, bytes]], job_id: str) -> str:
        """Return the name of a clip's file: clips with equal names have equal pictures.

        Inputs count by their content: a signed link is another one every time.
        """
        facts = [
            without_addresses(job.body),
            [hashlib.sha256(data).hexdigest() for _, data in contents],
            self._settings.short_side,
            job_id,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _fetch(self, item: Input) -> bytes:
        """Download one input. Raises UnusableInput."""
        max_bytes = _MAX_IMAGE_BYTES
        if item.role in ("feature", "base"):
            max_bytes = _MAX_VIDEO_BYTES

        # Unlike the real API, which refuses private addresses, most inputs are on this machine,
        # where a proxy could not reach them.
        no_proxy = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
        headers = {"User-Agent": RENDERER_USER_AGENT}
        received = bytearray()
        try:
            with (
                httpx.Client(follow_redirects=True, timeout=10, mounts=no_proxy) as client,
                client.stream("GET", item.url, headers=headers) as response,
            ):
                response.raise_for_status()
                for piece in response.iter_bytes():
                    received += piece
                    if len(received) > max_bytes:
                        raise UnusableInput(
                            f"the {item.role} input is larger than {max_bytes // 1_000_000} MB"
                        )
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise UnusableInput(f"the {item.role} input was answered with {status}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = type(error).__name__
            raise UnusableInput(f"the {item.role} input cannot be fetched ({kind})") from error
        return bytes(received)
