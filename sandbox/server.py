"""The sandbox's HTTP face: the page's routes and envelope, the result files, and the routes that steer the sandbox."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from prefect_kling.sandbox.contract import violations
from prefect_kling.sandbox.fault_middleware import BASE_PATH, Gate
from prefect_kling.sandbox.faults import Call, Deed, Fault, Faults, parse_faults
from prefect_kling.sandbox.jobs import BalanceTooLow, Desk, NoFreeSlot, is_retryable, now_ms
from prefect_kling.sandbox.prices import to_usd
from prefect_kling.sandbox.renderer import RENDERER_USER_AGENT, require_pillow
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job

_MESSAGES = {
    401: "Unauthorized - Invalid API key",
    402: "Payment Required - Insufficient credits",
    404: "Not Found - check the base URL",
    429: "Too Many Requests - parallel task over resource pack limit (1303)",
}


class SandboxApp:
    """The whole sandbox as one ASGI application. Serve it with uvicorn; it lives from lifespan start to end."""

    def __init__(self, settings: SandboxSettings) -> None:
        require_pillow()
        self.settings, self.desk, self.faults = settings, Desk(settings), Faults()
        self.failure: Exception | None = None
        self.gate = Gate(self._routes(), self.faults)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        await self.gate(scope, receive, send)

    def stats(self) -> dict[str, Any]:
        """Return what happened so far: jobs by outcome, at once and turned away, USD paid, and calls seen."""
        return self.desk.counts() | self.gate.counts()

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs with their bodies, as `id`, `state`, `cost` and `body`."""
        now = now_ms()
        return [
            {"id": job.id, "state": job.state(now), "cost": to_usd(job.cost), "body": job.body}
            for job in self.desk.jobs()
        ]

    def _routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{BASE_PATH}/video/generations", self._create, methods=["POST"]),
                Route(f"{BASE_PATH}/video/generations", self._get),
                Route(f"{BASE_PATH}/balance", self._balance),
                Route(f"{BASE_PATH}/records/{{task_id}}", self._record),
                Route(f"{BASE_PATH}/files/{{job_id}}.mp4", self._file),
                Route("/sandbox/stats", self._stats),
                Route("/sandbox/jobs", self._jobs),
                Route("/sandbox/faults", self._steer, methods=["GET", "POST", "DELETE"]),
            ],
            exception_handlers={
                HTTPException: _refuse,
                ClientDisconnect: _let_go,
                Exception: _break_down,
            },
            lifespan=self._live,
        )

    @asynccontextmanager
    async def _live(self, app: Starlette) -> AsyncIterator[None]:
        try:
            self.desk.open(lambda job, now: _envelope(self._task(job, job.origin, now)))
            yield
        except Exception as error:
            self.failure = error
            raise
        finally:
            await self.desk.close()

    async def _create(self, request: Request) -> Response:
        self._check_key(request)
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise HTTPException(400, f"Bad Request - the body is not JSON: {error}") from error
        if wrong := violations(body):
            raise HTTPException(400, f"Bad Request - {'; '.join(wrong)}")
        try:
            job = self.desk.take_in(body, _origin(request))
        except BalanceTooLow as error:
            raise HTTPException(402) from error
        except NoFreeSlot as error:
            raise HTTPException(429) from error
        return JSONResponse(_envelope({"taskId": job.id, "state": "pending", "model": job.model}))

    async def _get(self, request: Request) -> Response:
        self._check_key(request)
        job_id = request.query_params.get("task_id")
        if not job_id:
            raise HTTPException(400, "task_id is required")
        now, job = now_ms(), self._find(job_id)
        data = self._task(job, _origin(request), now)
        if deed := self._deed(request, "get", job_id, {"state"}):
            data = {"taskId": job.id, "state": deed.state, "model": job.model}
        if data["state"] == "completed" and self._deed(request, "get", job_id, {"no_url"}):
            del data["resultUrls"]
        return JSONResponse(_envelope(data))

    async def _balance(self, request: Request) -> Response:
        self._check_key(request)
        return JSONResponse(_envelope(self.desk.money()))

    async def _record(self, request: Request) -> Response:
        self._check_key(request)
        job = self._find(request.path_params["task_id"])
        state = job.state(now_ms())
        settled = state in ("completed", "failed")
        data = {"task_id": job.id, "model": job.model, "state": state, "settled": settled}
        return JSONResponse(
            _envelope(data | {"credits": to_usd(job.cost) if settled else None, "currency": "USD"})
        )

    async def _file(self, request: Request) -> Response:
        """Serve a result without asking for a key, in ranges if asked for."""
        job = self._find(request.path_params["job_id"])
        if self._deed(request, "file", job.id, {"expire"}):
            self.desk.renew_link(job)
            raise HTTPException(self.settings.expired_status, "This link has expired")
        path = self.desk.clip_path(job)
        if path is None or request.query_params.get("t") != self.desk.token(job):
            raise HTTPException(self.settings.expired_status, "This link has expired")
        if deed := self._deed(request, "file", job.id, {"truncate"}):
            path = _shortened(path, deed.truncate or 0)
        return FileResponse(path, headers={"etag": f'"{path.stem}"'}, media_type="video/mp4")

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.stats())

    async def _jobs(self, request: Request) -> Response:
        return JSONResponse(self.jobs())

    async def _steer(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                self.faults.add(parse_faults(json.loads(await request.body())))
            except ValueError as error:
                raise HTTPException(400, str(error)) from error
        return JSONResponse(self.faults.listed())

    def _check_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key != self.settings.key:
            raise HTTPException(401)

    def _find(self, job_id: str) -> Job:
        job = self.desk.find(job_id)
        if job is None:
            raise HTTPException(404, "Not Found - Task ID not found")
        return job

    def _task(self, job: Job, origin: str, now: int) -> dict[str, Any]:
        """Describe a job as a poll does."""
        state = job.state(now)
        data: dict[str, Any] = {"taskId": job.id, "state": state, "model": job.model}
        if state == "completed":
            link = f"{origin}{BASE_PATH}/files/{job.id}.mp4?t={self.desk.token(job)}"
            data |= {"resultUrls": [link], "createTime": job.created, "completeTime": job.ended}
        if state == "failed":
            code = job.fail_code or "OTHER"
            data |= {"failMsg": job.fail_msg, "failCode": code, "retryable": is_retryable(code)}
        return data

    def _deed(self, request: Request, call: Call, job_id: str, kinds: set[str]) -> Deed | None:
        """Return the fault this call has to perform inside its answer, if any."""
        if request.headers.get("user-agent") == RENDERER_USER_AGENT:
            return None
        fault: Fault | None = self.faults.take(call, job_id, frozenset(kinds))
        return fault.do if fault else None


def create_app(settings: SandboxSettings | None = None) -> SandboxApp:
    """Make the sandbox as an ASGI application. Raises ModuleNotFoundError if Pillow is not installed."""
    return SandboxApp(settings or SandboxSettings())


def _origin(request: Request) -> str:
    """Return the scheme, host and port the caller used, so that links work from where it stands."""
    return str(request.base_url).rstrip("/")


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": data}


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer in the page's envelope, with the same number as HTTP status and as code."""
    status, detail = (
        (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    )
    known = not detail or detail == HTTPException(status).detail
    return JSONResponse(
        {"code": status, "msg": _MESSAGES.get(status, detail) if known else detail}, status
    )


async def _let_go(request: Request, error: Exception) -> Response:
    """End a call whose caller left before its body was there; nobody reads the answer."""
    return Response(status_code=400)


async def _break_down(request: Request, error: Exception) -> Response:
    return JSONResponse({"code": 500, "msg": "Internal Server Error"}, 500)


def _shortened(path: Path, most: int) -> Path:
    """Keep a cut copy of a clip beside it, so that ranges and validators of the short file agree."""
    short = path.with_name(f"{path.stem}-{most}.cut")
    if not short.exists():
        short.write_bytes(path.read_bytes()[:most])
    return short
