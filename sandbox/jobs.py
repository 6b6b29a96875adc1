"""The jobs of a sandbox: accepts them, knows their state and cost, and has their callbacks sent."""

import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect_kling.sandbox.callbacks import CallbackSender
from prefect_kling.sandbox.clip_request import read_fail_code, read_seconds
from prefect_kling.sandbox.named_faults import Delivery
from prefect_kling.sandbox.prices import (
    LONGEST_INPUT_SECONDS,
    price_of,
    to_units,
    to_usd,
    worst_price,
)
from prefect_kling.sandbox.renderer import Renderer
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job, JobStore, Outcome
from prefect_kling.sandbox.uploads import Uploads

_FAIL_MESSAGES = {
    "CONTENT_MODERATION": "Content policy violation",
    "INVALID_INPUT": "Invalid input",
    "UPSTREAM_BUSY": "The model is busy",
    "UPSTREAM_FAILED": "The model failed",
    "TIMEOUT": "Generation timeout",
    "INTERNAL_ERROR": "Internal error",
    "OTHER": "Unknown error",
}
_RETRYABLE_CODES = ("UPSTREAM_BUSY", "UPSTREAM_FAILED", "TIMEOUT", "INTERNAL_ERROR", "OTHER")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class BalanceTooLow(Exception):
    """The account cannot pay the highest price a request can have."""


class NoFreeSlot(Exception):
    """As many jobs run as may run at once."""


class Jobs:
    """All jobs of one sandbox. Open it before use; its methods may be called from any thread."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._resources = ExitStack()
        self._lock = threading.Lock()
        self._rejected_count = 0
        self._topped_up = 0
        self._paid_elsewhere = 0

    def open(self, callbacks_of: Callable[[Job, int], list[Delivery]]) -> None:
        """Open the store and continue unfinished jobs.

        `callbacks_of(job, now)` makes what is sent to the callback address of an ended job. Must be
        called inside the event loop that is to send the callbacks.
        """
        self._callbacks_of = callbacks_of
        self._callbacks = CallbackSender()
        folder = self._settings.folder
        if folder is None:
            folder = self._resources.enter_context(
                tempfile.TemporaryDirectory(prefix="kling-sandbox-")
            )
        self._clips = Path(folder) / "clips"
        self._clips.mkdir(parents=True, exist_ok=True)
        self._shared_clip = None
        if self._settings.clip is not None:
            self._shared_clip = "shared.mp4"
            shutil.copyfile(self._settings.clip, self._clips / self._shared_clip)
        self.uploads = Uploads(Path(folder) / "uploads", self._settings.retention_seconds)
        self._store = JobStore(Path(folder) / "jobs.sqlite3")
        self._resources.callback(self._store.close)
        self._renderer = Renderer(self._settings, self._clips, self._finish)
        self._resources.callback(self._renderer.close)

        totals = self._store.totals()
        self._running_count = totals.jobs
        self._frozen = totals.frozen
        self._paid = totals.paid
        self._last_number = self._store.last_number()
        self._settle()
        self._peak = self._running_count
        self._resume()

    async def close(self) -> None:
        """Stop rendering and sending, and close all files. Unfinished jobs stay unfinished."""
        await self._callbacks.close()
        self._resources.close()

    def create(self, body: dict[str, Any], origin: str) -> Job:
        """Accept a valid body as a new job.

        Raises BalanceTooLow or NoFreeSlot, and then there is no job.
        """
        price = to_units(worst_price(self._settings.with_known_model(body)))
        with self._lock:
            self._settle()
            if self._total() - self._frozen < price:
                raise BalanceTooLow
            slots = self._settings.slots
            if slots is not None and self._running_count >= slots:
                self._rejected_count += 1
                raise NoFreeSlot
            job = self._new_job(body, origin, price)
            self._store.add(job)
            self._frozen += price
            self._last_number = job.number
            self._running_count += 1
            self._peak = max(self._peak, self._running_count)
        self._start(job)
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job: one read by index."""
        return self._store.find(job_id)

    def all(self) -> list[Job]:
        """Return all jobs, oldest first."""
        return self._store.all()

    def balance(self) -> dict[str, Any]:
        """Return the account in USD: the total, what open jobs freeze of it, and what is free."""
        with self._lock:
            self._settle()
            total = self._total()
            frozen = self._shown_frozen()
        return {
            "balance": to_usd(total - frozen),
            "total": to_usd(total),
            "frozen": to_usd(frozen),
            "currency": "USD",
        }

    def top_up(self, usd: str) -> None:
        """Put money on the account. Forgotten when the sandbox stops."""
        with self._lock:
            self._topped_up += to_units(usd)

    def charge_elsewhere(self, usd: str) -> None:
        """Take money for work that nobody asked this API for. Forgotten when the sandbox stops."""
        with self._lock:
            self._paid_elsewhere += to_units(usd)

    def _total(self) -> int:
        """Return all money of the account. The caller holds the lock and has settled."""
        start = to_units(self._settings.balance_usd)
        return start + self._topped_up - self._paid_elsewhere - self._paid

    def _shown_frozen(self) -> int:
        """Return the frozen money as the account shows it. The caller holds the lock."""
        if not self._settings.freezes:
            return 0
        delay = self._settings.freeze_after_seconds
        if not delay:
            return self._frozen
        return self._frozen - self._store.frozen_since(now_ms() - int(1000 * delay))

    def counts(self) -> dict[str, Any]:
        """Return how many jobs there are by outcome and what they cost.

        `peak` is how many ran at once at most, and `turned_away` how many were refused for lack of
        a slot, both since the jobs were opened.
        """
        with self._lock:
            self._settle()
            counts = {
                "paid_usd": to_usd(self._paid),
                "peak": self._peak,
                "turned_away": self._rejected_count,
            }
        return self._store.count(now_ms()) | counts

    def clip_path(self, job: Job) -> Path | None:
        """Return the file of a completed job that is still kept, else None."""
        now = now_ms()
        if job.ended is None or job.file is None or job.state(now) != "completed":
            return None
        if now >= job.ended + self._settings.retention_seconds * 1000:
            return None
        return self._clips / job.file

    def link_token(self, job: Job) -> str:
        """Return the token that a job's present link carries."""
        return self._digest(f"{job.id}/{job.link}")[:16]

    def renew_link(self, job: Job) -> None:
        """Make the present link of a job useless; the next poll gives another."""
        self._store.renew_link(job.id)

    def _new_job(self, body: dict[str, Any], origin: str, price: int) -> Job:
        number = self._last_number + 1
        now = now_ms()
        shortest, longest = self._settings.render_seconds
        # A number from 0 to 1 that follows from the seed, so that times can be repeated.
        share = int(self._digest(f"{number}/time")[:8], 16) / 0xFFFFFFFF
        seconds: float | None = read_seconds(body)
        if seconds is None:
            seconds = shortest + (longest - shortest) * share
        ready = now + int(1000 * seconds)
        return Job(number, self._job_id(number), body, origin, now, ready, price)

    def _job_id(self, number: int) -> str:
        """Return an id that looks like the API's: `cl` and 23 letters or digits."""
        value = int(self._digest(f"{number}/id"), 16)
        letters = ""
        while len(letters) < 22:
            value, remainder = divmod(value, 36)
            letters += _BASE36[remainder]
        return f"clx{letters}"

    def _digest(self, text: str) -> str:
        return hashlib.sha256(f"{self._settings.seed}/{text}".encode()).hexdigest()

    def _start(self, job: Job) -> None:
        """Render a job, or end it as its prompt asks for."""
        code = read_fail_code(job.body)
        if code is not None:
            self._finish(job, Outcome(fail_code=code, fail_msg=_FAIL_MESSAGES.get(code, code)))
        elif self._settings.paints:
            self._renderer.submit(job)
        else:
            body = self._settings.with_known_model(job.body)
            cost = to_units(price_of(body, LONGEST_INPUT_SECONDS))
            self._finish(job, Outcome(file=self._shared_clip, cost=cost))

    def _resume(self) -> None:
        """Continue where a sandbox on the same folder stopped."""
        for job in self._store.unfinished():
            if job.ended is None:
                self._start(job)
            else:
                self._schedule_callback(job, job.ended)

    def _finish(self, job: Job, outcome: Outcome) -> None:
        ended = max(job.ready, now_ms())
        percents = self._settings.charge_percent
        percent = percents[job.number % len(percents)]
        outcome = replace(outcome, cost=outcome.cost * percent // 100)
        self._store.end(job.number, ended, outcome)
        self._schedule_callback(job, ended)

    def _schedule_callback(self, job: Job, ended: int) -> None:
        if "callback_url" not in job.body:
            return

        def make() -> list[Delivery]:
            # Marked before it is sent: a restart does not repeat it.
            self._store.mark_called_back(job.number)
            ended_job = self._store.find(job.id) or job
            # The loop's clock may be a moment early; the body must still report the end.
            return self._callbacks_of(ended_job, max(ended, now_ms()))

        self._callbacks.send_at(ended / 1000, job.body["callback_url"], make)

    def _settle(self) -> None:
        """Account for the jobs that have ended since the last call. The caller holds the lock."""
        totals = self._store.settle(now_ms())
        self._running_count -= totals.jobs
        self._frozen -= totals.frozen
        self._paid += totals.paid


def is_retryable(fail_code: str) -> bool:
    """Say whether the API recommends another attempt after a fail code."""
    return fail_code in _RETRYABLE_CODES


def now_ms() -> int:
    """Return the time as the API gives it: epoch milliseconds."""
    return time.time_ns() // 1_000_000
