"""The outermost layer: counts calls, and applies the faults that spoil a whole answer."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_kling.sandbox.faults import NAMED, Fault, FaultAction, Faults
from prefect_kling.sandbox.named_faults import (
    NAMED_FAULTS,
    Answer,
    Asked,
    Call,
    addresses_in,
)
from prefect_kling.sandbox.renderer import RENDERER_USER_AGENT

BASE_PATH = "/api/v1"
_KINDS = frozenset({"status", "code", "html", "stall", "drop", "cut_after", "promise", "replace"})
_BODILESS_STATUSES = (204, 304)
_DISCONNECT_SECONDS = 5
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
_HTML = "<!doctype html><title>Just a moment...</title><h1>Checking your browser</h1>"
_COUNT_NAMES: dict[Call, str] = {
    "create": "posts",
    "get": "polled",
    "file": "downloads",
    "upload": "uploads",
}


class FaultMiddleware:
    """An ASGI application around the real one. The sandbox's own downloads are passed through."""

    def __init__(
        self, app: ASGIApp, faults: Faults, body_of: Callable[[str], dict[str, Any]]
    ) -> None:
        """`body_of` returns the request body of a job, {} for a job that is not known."""
        self._app = app
        self._body_of = body_of
        self._faults = faults
        self._counts: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def counts(self) -> dict[str, int]:
        """Return the number of calls so far, whatever they were answered."""
        return {name: self._counts[name] for name in _COUNT_NAMES.values()}

    def end_stalls(self) -> None:
        """End all stalls, because the sandbox closes. Call it inside the event loop."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        call, job_id = _identify(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        self._counts[_COUNT_NAMES.get(call, call)] += 1
        fault = self._faults.take(call, job_id, _KINDS)
        if fault and fault.action:
            await self._apply(fault, fault.action, scope, receive, send)
        elif self._faults.has_named(call, job_id):
            await self._change(call, job_id, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _change(
        self, call: Call, job_id: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a call whose answer a named fault may change."""
        headers = _texts(scope["headers"])
        key = headers.get("authorization", "").partition(" ")[2]
        answer = self._take_changed(call, job_id, None, Asked(key))
        if answer is None:
            kept = _KeptBody(receive)
            collected = _CollectingSend()
            await self._app(scope, kept, collected)
            answer = collected.answer
            if answer.status < 300:
                body = self._body_of(job_id) if job_id else kept.as_json()
                asked = Asked(key, tuple(addresses_in(body)))
                answer = self._take_changed(call, job_id, answer, asked) or answer
        if await _send_answer(answer, send):
            await _wait_for_disconnect(receive, _DISCONNECT_SECONDS, self._closing)

    def _take_changed(
        self, call: Call, job_id: str | None, answer: Answer | None, asked: Asked
    ) -> Answer | None:
        """Return what a named fault makes of an answer, None if none is due.

        Without an answer, those faults are taken with which the call has no effect.
        """
        changed: list[Answer] = []

        def suits(fault: Fault) -> bool:
            named = NAMED_FAULTS[fault.name or ""]
            if named.change is None or named.commits == (answer is None):
                return False
            spoilt = named.change(answer or Answer(), asked)
            if spoilt is None:
                return False
            changed.append(spoilt)
            return True

        fault = self._faults.take(call, job_id, frozenset({NAMED}), suits)
        return changed[-1] if fault else None

    async def _apply(
        self, fault: Fault, action: FaultAction, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if fault.after_commit:
            await self._app(scope, receive, _discard)
        if action.stall:
            await _wait_for_disconnect(receive, action.stall, self._closing)

        closed = False
        if action.cut_after is not None:
            cutting = _CuttingSend(send, action.cut_after)
            await self._app(scope, receive, cutting)
            closed = cutting.closed
        elif action.promise is not None:
            await self._app(scope, receive, _PromisingSend(send, action.promise))
            close_connection(send)
            closed = True
        elif action.stall or action.drop:
            close_connection(send)
            closed = True
        else:
            await _response(action)(scope, receive, send)

        if closed:
            # Returning while the connection is open would make uvicorn log a missing answer.
            await _wait_for_disconnect(receive, _DISCONNECT_SECONDS, self._closing)


def close_connection(send: Send) -> None:
    """Close the connection of a call at once; what was sent so far still arrives.

    ASGI has no message for that. In uvicorn the outermost `send` is a method of the object that
    serves one request and holds the transport, which is why the middleware has to be outside of
    Starlette. Raises RuntimeError under other servers.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("dropping connections works under uvicorn only")
    transport.close()


def is_disconnected(send: Send) -> bool:
    """Say whether the caller of a call has left; see `close_connection`."""
    return bool(getattr(getattr(send, "__self__", None), "disconnected", True))


class _CuttingSend:
    """A `send` that closes the connection after so many bytes of a body."""

    def __init__(self, send: Send, max_bytes: int) -> None:
        self._send = send
        self._bytes_left = max_bytes
        self.closed = False

    async def __call__(self, message: Message) -> None:
        if self.closed:
            return
        body = message.get("body", b"")
        if len(body) <= self._bytes_left:
            self._bytes_left -= len(body)
            await self._send(message)
            return
        await self._send({**message, "body": body[: self._bytes_left], "more_body": True})
        self.closed = True
        close_connection(self._send)


class _PromisingSend:
    """A `send` that announces more bytes than there are, and never completes the body."""

    def __init__(self, send: Send, more_bytes: int) -> None:
        self._send = send
        self._more_bytes = more_bytes

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = []
            for name, value in message["headers"]:
                if name == b"content-length":
                    value = str(int(value) + self._more_bytes).encode()
                headers.append((name, value))
            await self._send({**message, "headers": headers})
            return
        await self._send({**message, "more_body": True})


class _KeptBody:
    """A `receive` that keeps the body of a request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body = b""

    async def __call__(self) -> Message:
        message = await self._receive()
        self._body += message.get("body", b"")
        return message

    def as_json(self) -> object:
        """Return the body so far, None if it is not JSON."""
        try:
            content: object = json.loads(self._body)
        except ValueError:
            return None
        return content


class _CollectingSend:
    """A `send` that keeps a whole answer."""

    def __init__(self) -> None:
        self.answer = Answer()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = _texts(message["headers"])
            self.answer = replace(self.answer, status=message["status"], headers=headers)
        else:
            self.answer = replace(self.answer, body=self.answer.body + message.get("body", b""))


def _texts(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): text.decode("latin-1") for name, text in headers}


async def _send_answer(answer: Answer, send: Send) -> bool:
    """Send an answer, and say whether its connection was closed before its end."""
    headers = dict(answer.headers)
    if not answer.endless:
        headers["content-length"] = str(len(answer.body))
    raw_headers = [
        (name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw_headers})
    if answer.cut_after is not None and len(answer.body) > answer.cut_after:
        body = answer.body[: answer.cut_after]
        await send({"type": "http.response.body", "body": body, "more_body": True})
        close_connection(send)
        return True
    await send({"type": "http.response.body", "body": answer.body, "more_body": answer.endless})
    while answer.endless:
        # uvicorn drops what is sent after the caller has left, and says so on its object.
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        if is_disconnected(send):
            return True
        await asyncio.sleep(0)
    return False


async def _discard(message: Message) -> None:
    """Send an answer nowhere."""


def _identify(scope: Scope) -> tuple[Call | None, str | None]:
    """Return which call of the API this is, and the job it is about."""
    if scope["type"] != "http":
        return None, None
    if (b"user-agent", RENDERER_USER_AGENT.encode()) in scope["headers"]:
        return None, None

    path = scope["path"].removeprefix(BASE_PATH)
    if path == "/video/generations" and scope["method"] == "POST":
        return "create", None
    if path == "/video/generations":
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return "get", query.get("task_id", [None])[0]
    if path == "/files" and scope["method"] == "POST":
        return "upload", None
    if path.startswith("/files/"):
        return "file", path.removeprefix("/files/").removesuffix(".mp4")
    if path == "/models":
        return "models", None
    if path.startswith("/records/"):
        return "record", path.removeprefix("/records/")
    if path == "/balance":
        return "balance", None
    return None, None


def _response(action: FaultAction) -> Response:
    if action.code is not None:
        return JSONResponse({"code": action.code, "msg": "Fault on order"})
    if action.replace == "picture":
        return Response(_PNG, media_type="image/png")
    if action.status is None:
        return HTMLResponse(_HTML)

    headers = {}
    if action.retry_after is not None:
        headers["retry-after"] = str(action.retry_after)
    if action.status in _BODILESS_STATUSES:
        return Response(None, action.status, headers)
    if isinstance(action.body, str):
        return Response(action.body, action.status, headers)
    body = action.body
    if body is None:
        body = {"code": action.status, "msg": "Fault on order"}
    return JSONResponse(body, action.status, headers)


async def _wait_for_disconnect(receive: Receive, seconds: float, closing: asyncio.Event) -> None:
    """Wait until the client has disconnected or the sandbox closes, at most so long."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waits = [asyncio.ensure_future(disconnected()), asyncio.ensure_future(closing.wait())]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
