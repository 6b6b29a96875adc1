"""The callback receiver: a small ASGI service that the API calls when a job ends.

A call is only a signal. Its address must be one that we made (HMAC). Its body is a hint: the job
is read back from the API, and the clip is archived at once. Lost, late, repeated, re-ordered,
forged and replayed calls do no harm, and polling finds every clip without any call, with one
exception: the call may be the only source of a held clip's job id. So a call that meets a passing
problem of the store or the API is retried for ten minutes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import tenacity
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobNotFound, KlingError
from prefect_kling.kling.gate import read_body
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.job_ids import quoted
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.sent_secrets import SentSecrets
from prefect_kling.runs.retries import TRANSIENT_ERRORS
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callback_handling import CallbackEvent, handle_callback
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.settlement import CONFIRM_SECONDS, Collected

LOG = logging.getLogger("kling.receiver")
RECEIVER_HEADER = "X-Prefect-Kling-Receiver"
"""Marks a refusal as one of this receiver, so that the doctor can tell it from another server."""
LARGEST_BODY = 64 * 1024
"""A longer body of a call is refused; in bytes."""
NO_SECRETS = SentSecrets("")
"""A call is not answered with what it says, and only the id in it is kept."""

Announce = Callable[[Entry, Collected], Awaitable[None]]
ShowLife = Callable[[bool], Awaitable[None]]
"""Tells others that the receiver lives, or (True) that it was stopped."""


@dataclass(frozen=True)
class ReceiverSettings:
    """How much a receiver does at once, and how long it retries."""

    concurrent_clips: int = 16
    """How many clips are fetched at the same time."""
    max_waiting: int = 1000
    """How many calls may wait for a retry. A call beyond them is tried once."""
    first_delay: float = 1.0
    """Seconds before the first retry. The delay doubles each time, and jitter is added."""
    longest_delay: float = 60.0
    """The longest delay in seconds."""
    retry_seconds: float = 600.0
    """How long one call is retried."""
    repeat_delay: float = 1.0
    """Seconds after a call about a clip before others about it are looked at."""
    max_job_ids: int = 8
    """How many different job ids may wait for one clip. Whoever knows its address could name any
    number."""
    confirm_seconds: float = CONFIRM_SECONDS
    """Seconds before a job that failed is read once more. Only then the failure is believed."""
    alive_seconds: float = 300.0
    """How often the receiver shows that it lives; an automation waits three times as long."""
    stop_seconds: float = 6.0
    """How long work goes on when the receiver is stopped; then it is cancelled, which leaves
    nothing half done."""


DEFAULTS = ReceiverSettings()


class Receiver:
    """Answers the API's calls and finishes the clips they are about."""

    def __init__(
        self,
        addresses: CallbackAddresses,
        client: KlingClient,
        archive: Archive,
        announce: Announce,
        settings: ReceiverSettings = DEFAULTS,
        show_life: ShowLife | None = None,
    ) -> None:
        self._show_life = show_life
        self._addresses = addresses
        self._client = client
        self._archive = archive
        self._announce = announce
        self._settings = settings
        self._fetching = asyncio.Semaphore(settings.concurrent_clips)
        self._in_progress: dict[tuple[str, str], list[str | None]] = {}
        """The job ids named by calls that wait, by clip key and claim of those that are worked
        on."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._closing = asyncio.Event()

    def app(self, path: str = "") -> Starlette:
        """Return the ASGI application, answering below `path`; `GET /health` says that it is up."""
        callback = f"{path}/{{clip_key}}/{{claim}}/{{token}}"
        routes = [
            Route("/health", self._health, methods=["GET"]),
            Route(callback, self._receive, methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self._client, self._shown_alive():
            yield
            # Calls that wait for a retry are tried once more; a running download may be finished.
            self._closing.set()
            await self._end_tasks()

    @asynccontextmanager
    async def _shown_alive(self) -> AsyncIterator[None]:
        """Show now and then, until the block ends, that this receiver lives; then that it ended."""
        if self._show_life is None:
            yield
            return
        showing = asyncio.create_task(self._show_on(self._show_life))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            await self._show_life(True)

    async def _show_on(self, show_life: ShowLife) -> None:
        while True:
            await show_life(False)
            await asyncio.sleep(self._settings.alive_seconds)

    async def _end_tasks(self) -> None:
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait(self._tasks, timeout=self._settings.stop_seconds)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _receive(self, request: Request) -> Response:
        """Answer before working: the API repeats a call if the answer takes long."""
        clip_key = request.path_params["clip_key"]
        claim = request.path_params["claim"]
        token = request.path_params["token"]
        if not self._addresses.is_ours(clip_key, claim, token):
            return PlainTextResponse("no such address", 404, {RECEIVER_HEADER: "1"})

        try:
            body = await _read_bounded(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse("too long", 413)

        call = CallbackEvent(clip_key, claim, _find_job_id(body))
        # Not one of Starlette's background tasks: a server that stops would wait for them, and
        # could not tell them to end.
        task = asyncio.create_task(self._work(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return PlainTextResponse("thank you", 202)

    async def _work(self, call: CallbackEvent) -> None:
        """Handle a call. Those about the same clip that arrive meanwhile wait.

        Equal ones cause one repetition.
        """
        clip = (call.clip_key, call.claim)
        waiting = self._in_progress.get(clip)
        if waiting is not None:
            if call.job_id in waiting or len(waiting) >= self._settings.max_job_ids:
                return
            waiting.append(call.job_id)
            if len(waiting) == self._settings.max_job_ids:
                LOG.warning("clip %s: too many jobs are named; others are left out", call.clip_key)
            return

        waiting = [call.job_id]
        self._in_progress[clip] = waiting
        try:
            while waiting:
                await self._handle(CallbackEvent(*clip, waiting.pop(0)))
                await self._pause(self._settings.repeat_delay)
        finally:
            del self._in_progress[clip]

    async def _handle(self, call: CallbackEvent) -> None:
        """Finish the clip; retry while the store or the API has a passing problem."""
        settings = self._settings
        delays = tenacity.wait_exponential(settings.first_delay, settings.longest_delay)
        jitter = tenacity.wait_random(0, settings.first_delay)
        retrying = tenacity.AsyncRetrying(
            sleep=self._wait,
            retry=tenacity.retry_if_exception_type((*TRANSIENT_ERRORS, JobNotFound)),
            stop=self._should_stop,
            wait=delays + jitter,
            before_sleep=partial(_log_first_failure, call),
            reraise=True,
        )
        try:
            done: tuple[Entry, Collected] | None = await retrying(self._try_once, call)
        except (KlingError, StudioError) as error:
            # Polling or the next sweep finds this clip again, unless it is held. Then a person
            # may need this line.
            job = "not named"
            if call.job_id is not None:
                job = quoted(call.job_id)
            LOG.warning("clip %s, job %s: %s", call.clip_key, job, error)
            return
        if done is None:
            return

        entry, collected = done
        LOG.info("clip %s: %s %s", call.clip_key, collected.outcome.value, collected.words)
        await self._announce(entry, collected)

    async def _try_once(self, call: CallbackEvent) -> tuple[Entry, Collected] | None:
        # The semaphore is held for one try, never through a delay.
        async with self._fetching:
            done = await handle_callback(
                call, self._client, self._archive, self._settings.confirm_seconds
            )
        if done is None:
            return None

        problem = done[1].trouble
        if isinstance(problem, TRANSIENT_ERRORS):
            raise problem
        return done

    def _should_stop(self, state: tenacity.RetryCallState) -> bool:
        if self._closing.is_set():
            return True
        if self._waiting >= self._settings.max_waiting:
            return True

        # The API may not know a new job everywhere at once. A job that stays unknown was
        # invented by the caller.
        error = None
        if state.outcome is not None:
            error = state.outcome.exception()
        if isinstance(error, JobNotFound) and state.attempt_number >= PollPolicy.not_found_limit:
            return True
        return tenacity.stop_after_delay(self._settings.retry_seconds)(state)

    async def _wait(self, seconds: float) -> None:
        self._waiting += 1
        try:
            await self._pause(seconds)
        finally:
            self._waiting -= 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _log_first_failure(call: CallbackEvent, state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        error = state.outcome.exception()
        LOG.warning("clip %s: will be tried again for a while: %s", call.clip_key, error)


async def _read_bounded(request: Request) -> bytes | None:
    """Return the body, or None if it is longer than allowed."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _find_job_id(body: bytes) -> str | None:
    """Return the id of the job that a body names, or None if it names none or is no valid JSON.

    An id of an odd shape is named all the same: only one that the API knows is written down.
    """
    payload = read_body(body, NO_SECRETS).body
    if not isinstance(payload, dict):
        return None
    # The API has sent the job itself, and the job below `data`.
    for candidate in (payload.get("data"), payload):
        if not isinstance(candidate, dict):
            continue
        job = VideoJob.read(candidate)
        if job is not None:
            return job.job_id
    return None
