"""The callback receiver: a small ASGI service the API calls when a job ends.

A call only wakes it up. Its address must be one we made (HMAC); its body is a hint; the job is read back from the API,
and the clip is archived at once. Lost, late, repeated, re-ordered, forged and replayed calls do no harm, and without
any call polling still finds everything: but for the job id of a held clip, which nobody but the call may know. So a
call that meets a store or an API in trouble is not given up for ten minutes.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import tenacity
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobNotFound, KlingError
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.runs.retries import TRANSIENT_ERRORS
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.arrival import Call, heed
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.collection import Collected
from prefect_kling.studio.money.ledger import Entry

LOG = logging.getLogger("kling.receiver")
RECEIVER_HEADER = "X-Prefect-Kling-Receiver"
"""Marks a refusal as one of this receiver, so that the doctor can tell it from another server."""
LARGEST_BODY = 64 * 1024
JOB_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
AT_ONCE = 16
"""Clips that are fetched at the same time."""
MOST_PAUSING = 1000
"""Calls that wait for another try; what comes on top is tried once."""
FIRST_PAUSE, LONGEST_PAUSE, TRY_SECONDS = 1.0, 60.0, 600.0

Announce = Callable[[Entry, Collected], Awaitable[None]]


class Receiver:
    """Answers the API's calls and finishes the clips they are about."""

    def __init__(
        self,
        addresses: CallbackAddresses,
        client: KlingClient,
        archive: Archive,
        announce: Announce,
    ) -> None:
        self._addresses, self._client, self._archive, self._announce = (
            addresses,
            client,
            archive,
            announce,
        )
        self._places = asyncio.Semaphore(AT_ONCE)
        self._at_work: dict[Call, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pausing, self._closing = 0, asyncio.Event()

    def app(self, path: str = "") -> Starlette:
        """Return the ASGI application, answering below `path`; `GET /health` says that it is up."""
        return Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route(f"{path}/{{clip_key}}/{{claim}}/{{token}}", self._called, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self._client:
            yield
            # Who pauses has a last try; what is being fetched is fetched.
            self._closing.set()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _called(self, request: Request) -> Response:
        """Answer before working: the API need not wait, and repeats a call it thinks was lost."""
        place = request.path_params
        if not self._addresses.is_ours(place["clip_key"], place["claim"], place["token"]):
            return PlainTextResponse("no such address", 404, {RECEIVER_HEADER: "1"})
        try:
            body = await _bounded_body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse("too long", 413)
        call = Call(place["clip_key"], place["claim"], _job_named_in(body))
        # A task of our own, which can be told to end: a server that stops waits for what hangs on its answers.
        task = asyncio.create_task(self._work(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return PlainTextResponse("thank you", 202)

    async def _work(self, call: Call) -> None:
        """Finish the clip; an equal call that comes meanwhile has it looked at once more, however many there are."""
        if call in self._at_work:
            self._at_work[call] = True
            return
        try:
            again = True
            while again:
                self._at_work[call] = False
                await self._heed(call)
                again = self._at_work[call]
        finally:
            del self._at_work[call]

    async def _heed(self, call: Call) -> None:
        """Do what a call asks for; while store or API are in trouble, try again after growing pauses."""
        retrying = tenacity.AsyncRetrying(
            sleep=self._pause,
            retry=tenacity.retry_if_exception_type((*TRANSIENT_ERRORS, JobNotFound)),
            stop=self._is_over,
            wait=tenacity.wait_exponential(FIRST_PAUSE, LONGEST_PAUSE)
            + tenacity.wait_random(0, FIRST_PAUSE),
            before_sleep=partial(_tell_once, call),
            reraise=True,
        )
        try:
            done: tuple[Entry, Collected] | None = await retrying(self._try, call)
        except (KlingError, StudioError) as error:
            # Polling, or the next sweep, meets this clip again, unless it is held: then a person may need this line.
            LOG.warning("clip %s, job %s: %s", call.clip_key, call.job_id or "not named", error)
            return
        if done is not None:
            LOG.info("clip %s: %s %s", call.clip_key, done[1].outcome.value, done[1].words)
            await self._announce(*done)

    async def _try(self, call: Call) -> tuple[Entry, Collected] | None:
        # A place is held while something is done, never through a pause.
        async with self._places:
            done = await heed(call, self._client, self._archive)
        if done is not None and isinstance(done[1].trouble, TRANSIENT_ERRORS):
            raise done[1].trouble
        return done

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        crowded = self._pausing >= MOST_PAUSING
        # The API may not know a new job everywhere at once; a job it goes on not to know is somebody's invention.
        unknown = state.outcome is not None and isinstance(state.outcome.exception(), JobNotFound)
        return (
            crowded
            or (unknown and state.attempt_number >= PollPolicy.not_found_limit)
            or self._closing.is_set()
            or tenacity.stop_after_delay(TRY_SECONDS)(state)
        )

    async def _pause(self, seconds: float) -> None:
        self._pausing += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
        self._pausing -= 1


def _tell_once(call: Call, state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        LOG.warning(
            "clip %s: will be tried again for a while: %s", call.clip_key, state.outcome.exception()
        )


async def _bounded_body(request: Request) -> bytes | None:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _job_named_in(body: bytes) -> str | None:
    """Return the job a body names, wherever it does; nonsense names none."""
    try:
        said = json.loads(body)
        inner = said.get("data") if isinstance(said, dict) else None
        jobs = [VideoJob.read(data) for data in (inner, said) if isinstance(data, dict)]
    except (ValueError, RecursionError):
        # What is nested too deep to be read is nonsense, too.
        return None
    named = (job.job_id for job in jobs if job is not None)
    return next((job_id for job_id in named if JOB_ID.fullmatch(job_id)), None)
