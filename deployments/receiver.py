"""The callback receiver: a small ASGI service the API calls when a job ends.

A call only wakes it up. Its address must be one we made (HMAC); its body is a hint; the job is read back from the API,
and the clip is archived at once. Lost, late, repeated, re-ordered, forged and replayed calls do no harm, and without
any call polling still finds everything.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.job import VideoJob
from prefect_kling.studio.archive import Archive
from prefect_kling.studio.arrival import Call, heed
from prefect_kling.studio.callbacks import CallbackAddresses
from prefect_kling.studio.collection import Collected
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.ledger import Entry

LOG = logging.getLogger("kling.receiver")
LARGEST_BODY = 64 * 1024
JOB_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
AT_ONCE = 16
"""Clips that are fetched at the same time."""

Announce = Callable[[Entry, Collected], Awaitable[None]]


class Receiver:
    """Answers the API's calls and finishes the clips they are about."""

    def __init__(self, addresses: CallbackAddresses, client: KlingClient, archive: Archive, announce: Announce) -> None:
        self._addresses, self._client, self._archive, self._announce = addresses, client, archive, announce
        self._places = asyncio.Semaphore(AT_ONCE)
        self._at_work: dict[str, bool] = {}

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

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _called(self, request: Request) -> Response:
        """Answer before working: the API need not wait, and repeats a call it thinks was lost."""
        place = request.path_params
        if not self._addresses.is_ours(place["clip_key"], place["claim"], place["token"]):
            return PlainTextResponse("no such address", 404)
        try:
            body = await _bounded_body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse("too long", 413)
        call = Call(place["clip_key"], place["claim"], _job_named_in(body))
        return PlainTextResponse("thank you", 202, background=BackgroundTask(self._work, call))

    async def _work(self, call: Call) -> None:
        """Finish the clip; a call that comes meanwhile has it looked at once more, however many there are."""
        if call.clip_key in self._at_work:
            self._at_work[call.clip_key] = True
            return
        try:
            again = True
            while again:
                self._at_work[call.clip_key] = False
                await self._heed(call)
                again = self._at_work[call.clip_key]
        finally:
            del self._at_work[call.clip_key]

    async def _heed(self, call: Call) -> None:
        try:
            async with self._places:
                done = await heed(call, self._client, self._archive)
            if done is not None:
                LOG.info("clip %s: %s %s", call.clip_key, done[1].outcome.value, done[1].words)
                await self._announce(*done)
        except (KlingError, StudioError) as error:
            # Nothing is lost: polling, or the next sweep, meets this clip again.
            LOG.warning("clip %s: %s", call.clip_key, error)


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
