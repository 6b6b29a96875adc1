"""The sandbox as an ASGI application: the routes of the API and those under `/sandbox`."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from prefect_kling.sandbox.contract import KNOWN_MODELS, violations
from prefect_kling.sandbox.fault_middleware import BASE_PATH, FaultMiddleware
from prefect_kling.sandbox.faults import NAMED, FaultAction, Faults, parse_faults
from prefect_kling.sandbox.jobs import BalanceTooLow, Jobs, NoFreeSlot, is_retryable, now_ms
from prefect_kling.sandbox.named_faults import NAMED_FAULTS, Call, Delivery
from prefect_kling.sandbox.odd_files import KINDS, serve_oddly, serve_wrong_range
from prefect_kling.sandbox.prices import to_usd
from prefect_kling.sandbox.renderer import RENDERER_USER_AGENT, require_pillow
from prefect_kling.sandbox.settings import SandboxSettings
from prefect_kling.sandbox.store import Job
from prefect_kling.sandbox.uploads import MAX_BYTES, read_form_file

_Usd = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,4})?$")]
_MESSAGES = {
    401: "Unauthorized - Invalid API key",
    402: "Payment Required - Insufficient credits",
    404: "Not Found - check the base URL",
    429: "Too Many Requests - parallel task over resource pack limit (1303)",
}


class _AccountChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    top_up_usd: _Usd = "0"
    elsewhere_usd: _Usd = "0"


class SandboxApp:
    """The whole sandbox as one ASGI application, to be served with uvicorn."""

    def __init__(self, settings: SandboxSettings) -> None:
        require_pillow()
        self.settings = settings
        self.jobs = Jobs(settings)
        self.faults = Faults()
        self.failure: Exception | None = None
        self._told: dict[str, int] = {}
        self.faults.add(parse_faults(list(settings.faults)))
        self.fault_middleware = FaultMiddleware(self._routes(), self.faults, self._body_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        await self.fault_middleware(scope, receive, send)

    def stats(self) -> dict[str, Any]:
        """Return the numbers of jobs and calls so far, and the USD paid."""
        return self.jobs.counts() | self.fault_middleware.counts()

    def list_jobs(self) -> list[dict[str, Any]]:
        """Return all jobs: `id`, `state`, `cost`, `body`, and their times.

        A job was `created`, has `ended`, and its end was `told` to the first poll that asked after
        it, in this process. Times are milliseconds since 1970, and None until then.
        """
        now = now_ms()
        return [
            {
                "id": job.id,
                "state": job.state(now),
                "cost": to_usd(job.cost),
                "body": job.body,
                "created": job.created,
                "ended": job.ended,
                "told": self._told.get(job.id),
            }
            for job in self.jobs.all()
        ]

    def _body_of(self, job_id: str) -> dict[str, Any]:
        job = self.jobs.find(job_id)
        return job.body if job else {}

    def _callbacks_of(self, job: Job, now: int) -> list[Delivery]:
        """Return what is sent to the callback address of an ended job."""
        body = _envelope(self._describe(job, job.origin, now))
        fault = self.faults.take("callback", job.id, frozenset({NAMED}))
        deliver = NAMED_FAULTS[fault.name].deliver if fault and fault.name else None
        if deliver is None:
            return [Delivery(json.dumps(body).encode())]
        return deliver(body)

    def _routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{BASE_PATH}/video/generations", self._create, methods=["POST"]),
                Route(f"{BASE_PATH}/video/generations", self._get),
                Route(f"{BASE_PATH}/balance", self._balance),
                Route(f"{BASE_PATH}/records/{{task_id}}", self._record),
                Route(f"{BASE_PATH}/models", self._models),
                Route(f"{BASE_PATH}/files", self._upload, methods=["POST"]),
                Route(f"{BASE_PATH}/files/{{job_id}}.mp4", self._file),
                Route("/uploads/{name}", self._uploaded),
                Route("/sandbox/stats", self._stats),
                Route("/sandbox/jobs", self._jobs),
                Route("/sandbox/account", self._account, methods=["POST"]),
                Route("/sandbox/faults", self._faults, methods=["GET", "POST", "DELETE"]),
            ],
            exception_handlers={
                HTTPException: _on_http_exception,
                ClientDisconnect: _on_client_disconnect,
                Exception: _on_other_exception,
            },
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            self.jobs.open(self._callbacks_of)
            yield
        except Exception as error:
            self.failure = error
            raise
        finally:
            await self.jobs.close()

    async def _create(self, request: Request) -> Response:
        self._check_key(request)
        try:
            body = json.loads(await request.body())
        except ValueError as error:
            raise HTTPException(400, f"Bad Request - the body is not JSON: {error}") from error
        checked = body
        if isinstance(body, dict):
            checked = self.settings.with_known_model(body)
        found = violations(checked)
        if found:
            raise HTTPException(400, f"Bad Request - {'; '.join(found)}")
        try:
            job = self.jobs.create(body, _origin(request))
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
        now = now_ms()
        job = self._find(job_id)
        data = self._describe(job, _origin(request), now)
        if data["state"] in ("completed", "failed"):
            self._told.setdefault(job_id, now)
        action = self._take_fault(request, "get", job_id, {"state", "links", "envelope"})
        if action and action.envelope is not None:
            return JSONResponse({"code": action.envelope, "msg": "Fault on order", "data": data})
        if action:
            data = self._misreport(action, job, data, _origin(request))
        if data["state"] == "completed" and self._take_fault(request, "get", job_id, {"no_url"}):
            del data["resultUrls"]
        return JSONResponse(_envelope(data))

    async def _balance(self, request: Request) -> Response:
        self._check_key(request)
        return JSONResponse(_envelope(self.jobs.balance()))

    async def _record(self, request: Request) -> Response:
        self._check_key(request)
        job = self._find(request.path_params["task_id"])
        state = job.state(now_ms())
        data = {
            "task_id": job.id,
            "model": job.model,
            "state": state,
            "settled": False,
            "credits": None,
            "currency": "USD",
        }
        if state in ("completed", "failed"):
            data["settled"] = True
            data["credits"] = to_usd(job.cost)
        return JSONResponse(_envelope(data))

    async def _models(self, request: Request) -> Response:
        """List the models that a request may name."""
        self._check_key(request)
        about = {"modality": "video", "endpoint": "/video/generations"}
        models = [{"id": name} | about for name in (*KNOWN_MODELS, *self.settings.extra_models)]
        return JSONResponse(_envelope(models))

    async def _upload(self, request: Request) -> Response:
        """Keep an uploaded file, and answer with its public address."""
        self._check_key(request)
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > MAX_BYTES + 10_000:
            raise HTTPException(413, "File too large")
        content_type = request.headers.get("content-type", "")
        try:
            name, content = read_form_file(content_type, await request.body(), "file")
        except ValueError as error:
            raise HTTPException(400, f"Bad Request - {error}") from error
        address = f"{_origin(request)}/uploads/{self.jobs.uploads.keep(name, content)}"
        data = {"publicUrl": address}
        if self._take_fault(request, "upload", None, {"no_url"}):
            data = {}
        return JSONResponse(_envelope(data))

    async def _uploaded(self, request: Request) -> Response:
        """Serve an uploaded file without a key."""
        path = self.jobs.uploads.find(request.path_params["name"])
        if path is None:
            raise HTTPException(self.settings.expired_status, "This file is not kept any more")
        return FileResponse(path)

    async def _file(self, request: Request) -> Response:
        """Serve a result without a key, in ranges if asked for."""
        job = self._find(request.path_params["job_id"])
        if self._take_fault(request, "file", job.id, {"expire"}):
            self.jobs.renew_link(job)
            raise HTTPException(self.settings.expired_status, "This link has expired")
        path = self.jobs.clip_path(job)
        if path is None or request.query_params.get("t") != self.jobs.link_token(job):
            raise HTTPException(self.settings.expired_status, "This link has expired")
        headers = {"etag": f'"{path.stem}"'}
        if "range" in request.headers and self._take_fault(
            request, "file", job.id, {"damage_range"}
        ):
            return serve_wrong_range(path, request, headers)
        action = self._take_fault(request, "file", job.id, set(KINDS))
        if action:
            return await run_in_threadpool(serve_oddly, action, path, headers)
        return FileResponse(path, headers=headers, media_type="video/mp4")

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(self.stats())

    async def _jobs(self, request: Request) -> Response:
        return JSONResponse(self.list_jobs())

    async def _account(self, request: Request) -> Response:
        """Put money on the account, or take some for work that is not of this API's jobs."""
        try:
            change = _AccountChange.model_validate_json(await request.body())
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        self.jobs.top_up(change.top_up_usd)
        self.jobs.charge_elsewhere(change.elsewhere_usd)
        return JSONResponse(self.jobs.balance())

    async def _faults(self, request: Request) -> Response:
        """Add, remove or list faults."""
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                self.faults.add(parse_faults(json.loads(await request.body())))
            except ValueError as error:
                raise HTTPException(400, str(error)) from error
        return JSONResponse(self.faults.as_json())

    def _check_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key != self.settings.key:
            raise HTTPException(401)

    def _find(self, job_id: str) -> Job:
        job = self.jobs.find(job_id)
        if job is None:
            raise HTTPException(404, "Not Found - Task ID not found")
        return job

    def _describe(self, job: Job, origin: str, now: int) -> dict[str, Any]:
        """Return what a poll at a time says of a job."""
        state = job.state(now)
        data: dict[str, Any] = {"taskId": job.id, "state": state, "model": job.model}
        if state == "completed":
            link = f"{origin}{BASE_PATH}/files/{job.id}.mp4?t={self.jobs.link_token(job)}"
            data |= {"resultUrls": [link], "createTime": job.created, "completeTime": job.ended}
        if state == "failed":
            code = job.fail_code or "OTHER"
            data |= {"failMsg": job.fail_msg, "failCode": code, "retryable": is_retryable(code)}
        return data

    def _misreport(
        self, action: FaultAction, job: Job, data: dict[str, Any], origin: str
    ) -> dict[str, Any]:
        """Return what a poll says of a job when its state or its links are spoilt."""
        link = f"{origin}{BASE_PATH}/files/{job.id}.mp4?t={self.jobs.link_token(job)}"
        links = [
            template.replace("{link}", link).replace("{host}", link.partition("://")[2])
            for template in action.links or []
        ]
        if action.state is None and data["state"] != "completed":
            return data
        if action.state is None:
            return {**data, "resultUrls": links}
        spoilt: dict[str, Any] = {"taskId": job.id, "state": action.state, "model": job.model}
        if links:
            spoilt["resultUrls"] = links
        return spoilt

    def _take_fault(
        self, request: Request, call: Call, job_id: str | None, kinds: set[str]
    ) -> FaultAction | None:
        """Return what has to go wrong inside the answer to a call, if anything."""
        if request.headers.get("user-agent") == RENDERER_USER_AGENT:
            return None
        fault = self.faults.take(call, job_id, frozenset(kinds))
        return fault.action if fault else None


def create_app(settings: SandboxSettings | None = None) -> SandboxApp:
    """Make the sandbox as an ASGI application.

    Raises ModuleNotFoundError if Pillow is not installed.
    """
    return SandboxApp(settings or SandboxSettings())


def _origin(request: Request) -> str:
    """Return the scheme, host and port the caller used, so that it can reach the links."""
    return str(request.base_url).rstrip("/")


def _envelope(data: object) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": data}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer in the API's envelope, with the same number as HTTP status and as code."""
    if not isinstance(error, HTTPException):
        raise TypeError(f"not an HTTP error: {error!r}")
    message = error.detail
    if message == HTTPException(error.status_code).detail:
        # No detail was given: Starlette has put in the standard phrase of the status.
        message = _MESSAGES.get(error.status_code, message)
    return JSONResponse({"code": error.status_code, "msg": message}, error.status_code)


async def _on_client_disconnect(request: Request, error: Exception) -> Response:
    """End a call whose caller left before its body was complete; nobody reads the answer."""
    return Response(status_code=400)


async def _on_other_exception(request: Request, error: Exception) -> Response:
    return JSONResponse({"code": 500, "msg": "Internal Server Error"}, 500)
