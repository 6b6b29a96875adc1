"""The office of the sandbox: takes jobs in, knows their state and their money, and makes the callbacks."""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect_kling.sandbox.callbacks import Bell
from prefect_kling.sandbox.clip_request import read_fail_code
from prefect_kling.sandbox.prices import to_units, to_usd, worst_price
from prefect_kling.sandbox.renderer import Renderer
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job, Outcome, Store

_FAIL_WORDS = {
    "CONTENT_MODERATION": "Content policy violation",
    "INVALID_INPUT": "Invalid input",
    "UPSTREAM_BUSY": "The model is busy",
    "UPSTREAM_FAILED": "The model failed",
    "TIMEOUT": "Generation timeout",
    "INTERNAL_ERROR": "Internal error",
    "OTHER": "Unknown error",
}
_RETRYABLE = ("UPSTREAM_BUSY", "UPSTREAM_FAILED", "TIMEOUT", "INTERNAL_ERROR", "OTHER")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class BalanceTooLow(Exception):
    """The account cannot pay for the dearest outcome of a request."""


class NoFreeSlot(Exception):
    """As many jobs run as may run at once."""


class Desk:
    """All jobs of one sandbox. Open it before use; its methods may be called from any thread."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._closers = ExitStack()
        self._lock = threading.Lock()
        self._turned_away = 0

    def open(self, describe: Callable[[Job, int], dict[str, Any]]) -> None:
        """Open the store and go on with unfinished jobs. `describe(job, now)` makes the body of a callback.

        Must be called inside the event loop that is to make the callbacks.
        """
        self._bell, self._describe = Bell(), describe
        folder = self._settings.folder or self._closers.enter_context(
            tempfile.TemporaryDirectory(prefix="kling-sandbox-")
        )
        self._clips = Path(folder) / "clips"
        self._clips.mkdir(parents=True, exist_ok=True)
        self._store = Store(Path(folder) / "jobs.sqlite3")
        self._closers.callback(self._store.close)
        self._renderer = Renderer(self._settings, self._clips, self._finish)
        self._closers.callback(self._renderer.close)
        sums = self._store.sums()
        self._running, self._held, self._paid = sums.jobs, sums.held, sums.paid
        self._last_number = self._store.last_number()
        self._settle()
        self._peak = self._running
        self._resume()

    async def close(self) -> None:
        """Stop painting and calling back, and let go of all files. Unfinished jobs stay unfinished."""
        await self._bell.close()
        self._closers.close()

    def take_in(self, body: dict[str, Any], origin: str) -> Job:
        """Accept a valid body as a new job. Raises BalanceTooLow or NoFreeSlot, and then there is no job."""
        price = to_units(worst_price(body))
        with self._lock:
            self._settle()
            if to_units(self._settings.balance_usd) - self._paid - self._held < price:
                raise BalanceTooLow
            self._claim_slot()
            job = self._new_job(body, origin, price)
            self._store.add(job)
            self._held += price
            self._last_number = job.number
            self._running += 1
            self._peak = max(self._peak, self._running)
        self._start(job)
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job: one read by index."""
        return self._store.find(job_id)

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first."""
        return self._store.all()

    def money(self) -> dict[str, Any]:
        """Return the account in USD: all that is left, what open jobs hold of it, and what remains free."""
        with self._lock:
            self._settle()
            total, frozen = to_units(self._settings.balance_usd) - self._paid, self._held
        return {
            "balance": to_usd(total - frozen),
            "total": to_usd(total),
            "frozen": to_usd(frozen),
            "currency": "USD",
        }

    def counts(self) -> dict[str, Any]:
        """Return how many jobs there are by outcome and what they cost.

        Also how many ran at once at most (`peak`) and how many were refused for lack of a slot (`turned_away`), both
        since the desk was opened.
        """
        with self._lock:
            self._settle()
            more = {
                "paid_usd": to_usd(self._paid),
                "peak": self._peak,
                "turned_away": self._turned_away,
            }
        return self._store.count(now_ms()) | more

    def clip_path(self, job: Job) -> Path | None:
        """Return the file of a completed job that is still kept, else None."""
        now = now_ms()
        if job.ended is None or job.file is None or job.state(now) != "completed":
            return None
        return (
            self._clips / job.file
            if now < job.ended + self._settings.retention_seconds * 1000
            else None
        )

    def token(self, job: Job) -> str:
        """Return the token that a job's present link carries."""
        return self._digest(f"{job.id}/{job.link}")[:16]

    def renew_link(self, job: Job) -> None:
        """Make the present link of a job useless; polling hands out another."""
        self._store.renew_link(job.id)

    def _claim_slot(self) -> None:
        """Raise NoFreeSlot if all slots are taken. The caller holds the lock and has settled."""
        slots = self._settings.slots
        if slots is not None and self._running >= slots:
            self._turned_away += 1
            raise NoFreeSlot

    def _new_job(self, body: dict[str, Any], origin: str, price: int) -> Job:
        number, now = self._last_number + 1, now_ms()
        low, high = self._settings.render_seconds
        dice = int(self._digest(f"{number}/time")[:8], 16) / 0xFFFFFFFF
        ready = now + int(1000 * (low + (high - low) * dice))
        return Job(number, self._job_id(number), body, origin, now, ready, price)

    def _job_id(self, number: int) -> str:
        """Make an id that looks like the page's: `cl` and 23 letters or digits."""
        value, letters = int(self._digest(f"{number}/id"), 16), ""
        while len(letters) < 22:
            value, rest = divmod(value, 36)
            letters += _BASE36[rest]
        return f"clx{letters}"

    def _digest(self, text: str) -> str:
        return hashlib.sha256(f"{self._settings.seed}/{text}".encode()).hexdigest()

    def _start(self, job: Job) -> None:
        """Have a job painted, or end it as its prompt asks for."""
        if code := read_fail_code(job.body):
            self._finish(job, Outcome(fail_code=code, fail_msg=_FAIL_WORDS.get(code, code)))
        else:
            self._renderer.submit(job)

    def _resume(self) -> None:
        """Go on where a sandbox on the same folder stopped."""
        for job in self._store.open_ends():
            if job.ended is None:
                self._start(job)
            else:
                self._announce(job, job.ended)

    def _finish(self, job: Job, outcome: Outcome) -> None:
        ended = max(job.ready, now_ms())
        self._store.end(job.number, ended, outcome)
        self._announce(job, ended)

    def _announce(self, job: Job, ended: int) -> None:
        """Have the callback made when the job ends."""
        if "callback_url" in job.body:
            self._bell.ring_at(ended / 1000, lambda: self._call_back(job, ended))

    def _call_back(self, job: Job, ended: int) -> tuple[str, dict[str, Any]]:
        """Note the callback as made, and return its address and body. Best effort: it is not repeated."""
        self._store.mark_called_back(job.number)
        # The loop's clock may be a moment early; the body still has to tell the end.
        return job.body["callback_url"], self._describe(
            self._store.find(job.id) or job, max(ended, now_ms())
        )

    def _settle(self) -> None:
        """Free the slots and move the money of jobs that have ended meanwhile. The caller holds the lock."""
        sums = self._store.settle(now_ms())
        self._running -= sums.jobs
        self._held -= sums.held
        self._paid += sums.paid


def is_retryable(fail_code: str) -> bool:
    """Say whether the API recommends another attempt after a fail code."""
    return fail_code in _RETRYABLE


def now_ms() -> int:
    """Return the time as the API tells it: epoch milliseconds."""
    return time.time_ns() // 1_000_000
