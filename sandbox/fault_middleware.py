"""The outermost layer of the sandbox: counts the calls, and performs the faults that spoil a whole answer."""

import asyncio
from collections import Counter
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_kling.sandbox.faults import Call, Deed, Fault, Faults
from prefect_kling.sandbox.renderer import RENDERER_USER_AGENT

BASE_PATH = "/api/v1"
_WHOLE_ANSWERS = frozenset({"status", "code", "html", "stall", "drop", "cut_after", "replace"})
_BODILESS_STATUSES = (204, 304)
_FAREWELL_SECONDS = 5
_HTML = "<!doctype html><title>Just a moment...</title><h1>Checking your browser</h1>"
_COUNTED: dict[Call, str] = {"create": "posts", "get": "polled", "file": "downloads"}


class Gate:
    """An ASGI application around the real one. The sandbox's own downloads pass unseen."""

    def __init__(self, inner: ASGIApp, faults: Faults) -> None:
        self._inner, self._faults = inner, faults
        self._counts: Counter[str] = Counter()
        self._released = asyncio.Event()

    def counts(self) -> dict[str, int]:
        """Return the calls seen so far, answered well or not."""
        return {name: self._counts[name] for name in _COUNTED.values()}

    def release(self) -> None:
        """End all stalls, because the sandbox closes. Call it inside the event loop."""
        self._released.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        call, job_id = _recognise(scope)
        if call is None:
            await self._inner(scope, receive, send)
            return
        self._counts[_COUNTED.get(call, call)] += 1
        fault = self._faults.take(call, job_id, _WHOLE_ANSWERS)
        if fault is None:
            await self._inner(scope, receive, send)
        else:
            await self._perform(fault, scope, receive, send)

    async def _perform(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        deed = fault.do
        if fault.after_commit:
            await self._inner(scope, receive, _keep_back)
        if deed.stall:
            await _wait_for_client(receive, deed.stall, self._released)
        if deed.cut_after is not None:
            shears = _Shears(send, deed.cut_after)
            await self._inner(scope, receive, shears)
            gone = shears.closed
        elif gone := bool(deed.stall or deed.drop):
            hang_up(send)
        else:
            await _false_answer(deed)(scope, receive, send)
        if gone:
            # Returning before the connection is gone would make uvicorn complain about a missing answer.
            await _wait_for_client(receive, _FAREWELL_SECONDS, self._released)


def _recognise(scope: Scope) -> tuple[Call | None, str | None]:
    """Return which call of the API this is, and the job it is about."""
    if scope["type"] != "http" or (b"user-agent", RENDERER_USER_AGENT.encode()) in scope["headers"]:
        return None, None
    method, path = scope["method"], scope["path"].removeprefix(BASE_PATH)
    if path == "/video/generations":
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return ("create", None) if method == "POST" else ("get", query.get("task_id", [None])[0])
    if path.startswith("/files/"):
        return "file", path.removeprefix("/files/").removesuffix(".mp4")
    if path.startswith("/records/"):
        return "record", path.removeprefix("/records/")
    return ("balance", None) if path == "/balance" else (None, None)


def _false_answer(deed: Deed) -> Response:
    if deed.status:
        headers = {} if deed.retry_after is None else {"retry-after": str(deed.retry_after)}
        if deed.status in _BODILESS_STATUSES:
            return Response(None, deed.status, headers)
        if isinstance(deed.body, str):
            return Response(deed.body, deed.status, headers)
        if deed.body is not None:
            return JSONResponse(deed.body, deed.status, headers)
        return JSONResponse({"code": deed.status, "msg": "Fault on order"}, deed.status, headers)
    if deed.code is not None:
        return JSONResponse({"code": deed.code, "msg": "Fault on order"})
    return HTMLResponse(_HTML)


async def _wait_for_client(receive: Receive, seconds: float, released: asyncio.Event) -> None:
    """Wait until the client has gone or the stalls are released, at most so long."""

    async def departure() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waits = [asyncio.ensure_future(departure()), asyncio.ensure_future(released.wait())]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def _keep_back(message: Message) -> None:
    """Take an answer and send it nowhere."""


def hang_up(send: Send) -> None:
    """Close the connection of a call at once; what was sent so far still arrives.

    ASGI has no message for that. In uvicorn the outermost `send` is a method of the object that serves one request
    and holds the transport, which is why the gate has to stand outside of Starlette. Raises RuntimeError elsewhere.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("dropping connections works under uvicorn only")
    transport.close()


class _Shears:
    """A `send` that hangs up when a body grows past so many bytes."""

    def __init__(self, send: Send, most: int) -> None:
        self._send, self._left = send, most
        self.closed = False

    async def __call__(self, message: Message) -> None:
        body = message.get("body", b"")
        if self.closed:
            return
        if len(body) <= self._left:
            self._left -= len(body)
            await self._send(message)
            return
        await self._send({**message, "body": body[: self._left], "more_body": True})
        self.closed = True
        hang_up(self._send)
