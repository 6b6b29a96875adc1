"""The one seam to the network: one method per endpoint, one attempt per paid call."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Literal, Self
from urllib.parse import quote

import httpx
import tenacity
from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue, SecretStr

from prefect_kling.kling.connections import Account, Connections, shared_connections
from prefect_kling.kling.errors import (
    KeyRefused,
    KlingError,
    OutcomeUnknown,
    RequestRefused,
    Unavailable,
    UnreadableReply,
)
from prefect_kling.kling.gate import Arrival
from prefect_kling.kling.http_logs import HTTP_LOGGERS, hide_links_in_logs
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.job_ids import as_job_id, is_job_id, quoted
from prefect_kling.kling.links import is_link
from prefect_kling.kling.outage import Outage
from prefect_kling.kling.reply import PaidOutcome, Reply
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.kling.sent_secrets import SentSecrets
from prefect_kling.kling.server_words import words

API_URL = "https://apimodels.app/api/v1"
DOLLARS = "USD"
_LONGEST_AMOUNT = 40
# Powers of ten. Beyond them, sums overflow and a price fills a page.
_MAGNITUDES = range(-18, 15)
UPLOAD_SECONDS = 300.0
"""How long one upload may take in all: 200 MB at 6 Mbit/s."""
_ADDRESS = re.compile(r"https?://[!-~]{1,2000}", re.IGNORECASE)
_NO_PATH = (".", "..")
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors of httpx after which certainly nothing has left."""


def _web_address(value: str) -> str:
    if not is_link(value):
        raise ValueError("must begin with http:// or https://")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]


class ClientSettings(BaseModel):
    """How to talk to the API. The defaults follow the operator's page."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    base_url: WebAddress = API_URL
    """Where the API lives, up to and including its version."""
    connect_seconds: float = 5.0
    """How long to wait for a connection."""
    read_seconds: float = 30.0
    """How long to wait for the answer to a read."""
    create_seconds: float = 60.0
    """How long to wait for the answer to a paid call; an answer that comes later is an unknown
    outcome."""
    read_attempts: int = 4
    """How often a read is tried before it fails."""
    disputed_rules: Literal["warn", "refuse"] = "warn"
    """What to do with requests on which the page and Kling's documentation disagree."""
    private_results: bool = False
    """Whether results may lie at private addresses although the API itself does not."""
    multi_prompt_as: Literal["string", "array"] = "string"
    """How multi_prompt is written: a JSON string (the page) or an array (Kling's own API)."""


BeforeSend = Callable[[], Awaitable[None]]
"""What to do once a connection stands and before the first byte of a paid call may leave."""


async def send_at_once() -> None:
    """Do nothing before a paid call leaves."""


class Balance(BaseModel):
    """Money on the account; `frozen` is held for running jobs. All in `currency`."""

    model_config = ConfigDict(frozen=True)

    balance: Decimal
    total: Decimal | None = None
    frozen: Decimal | None = None
    currency: str = "USD"


class Charge(BaseModel):
    """What a job really cost, once `settled`.

    `credits` is an amount in `currency`, None while it is open.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    settled: bool
    credits: Decimal | None
    currency: str = "USD"
    said: str = ""
    """The amount as the API wrote it, which may be none."""


class KlingClient:
    """An asynchronous client of the Kling Omni-Video API.

    Use it as a context manager. It is cheap: all clients of one event loop share their connections
    to an account (see `connections`), those with a `transport` of their own apart. The key is never
    printed: not by repr, not in errors, not in logs.
    All methods except `create` are free and repeat themselves on network trouble, 429 and 5xx.
    """

    def __init__(
        self,
        key: SecretStr,
        settings: ClientSettings | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings or ClientSettings()
        self._key = SecretStr(key.get_secret_value().strip())
        if not re.fullmatch(r"[!-~]+", self._key.get_secret_value()):
            raise KeyRefused("the API key is empty, or holds characters that no key has")
        hide_links_in_logs(*HTTP_LOGGERS)
        self._account = Account(self.settings.base_url, self._key)
        self._own_connections: Connections | None = None
        if transport is not None:
            self._own_connections = Connections(self._account, transport)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connections]:
        """Lend the connections for one call."""
        if self._own_connections is not None:
            yield self._own_connections
            return
        async with shared_connections(self._account) as connections:
            yield connections

    def __repr__(self) -> str:
        return f"KlingClient({self.settings.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own_connections is not None:
            await self._own_connections.close()

    @property
    def result_access(self) -> ResultAccess:
        """From where the results of this API may be fetched."""
        return ResultAccess(self.settings.base_url, self.settings.private_results)

    def account(self, salt: str) -> str:
        """Return a salted fingerprint of the API key: equal for equal key and salt, no secret."""
        key = self._key.get_secret_value().encode()
        return hmac.new(key, f"account {salt}".encode(), hashlib.sha256).hexdigest()[:16]

    async def create(
        self, request: VideoRequest, before_send: BeforeSend = send_at_once
    ) -> VideoJob:
        """Send one paid request, exactly once, and return the job.

        `before_send` is awaited once the connection stands, before the first byte leaves. What it
        raises is raised, and then nothing was sent.

        **Costs money** (see `quote`). Calling it twice pays twice: the API has no idempotency key.
        Raises `RequestRefused`, `KeyRefused`, `BalanceTooLow` or `Unavailable` when certainly
        nothing was made (`reply.py` has the lists), and `OutcomeUnknown` in every other case, 5xx
        and lost answers included; its `job_id` is the job that the answer names, if any.
        """
        request.require_sendable()
        disputes = request.disputes()
        if disputes and self.settings.disputed_rules == "refuse":
            raise RequestRefused("; ".join(str(dispute) for dispute in disputes))
        reply = await self._post(request.body(self.settings.multi_prompt_as), before_send)
        job = VideoJob.read(reply.data)
        if reply.outcome is not PaidOutcome.TAKEN or job is None:
            raise reply.create_error()
        if job.job_id != reply.named_job_id or not is_job_id(job.job_id):
            message = "the API took the request, and it is not clear which job its answer names"
            job_id = reply.named_job_id or job.job_id
            raise OutcomeUnknown(message, job_id=job_id, status=reply.status)
        return job

    async def _post(self, body: dict[str, JsonValue], before_send: BeforeSend) -> Reply:
        """Send a paid call once, within `create_seconds` however slowly an answer comes in."""
        async with self._connected() as connections:
            return await self._post_over(connections, body, before_send)

    async def _post_over(
        self, connections: Connections, body: dict[str, JsonValue], before_send: BeforeSend
    ) -> Reply:
        seconds = self.settings.create_seconds
        connections.secrets.note(body)
        request = connections.paying.build_request(
            "POST",
            "/video/generations",
            json=body,
            timeout=httpx.Timeout(seconds, connect=self.settings.connect_seconds),
        )
        may_have_left = False
        clock = asyncio.get_running_loop().time
        arrival = Arrival()
        trouble = ""
        was_never_sent = False
        try:
            async with asyncio.timeout(None) as limit:

                async def leave() -> None:
                    nonlocal may_have_left
                    await before_send()
                    may_have_left = True
                    limit.reschedule(clock() + seconds)

                if connections.is_traced:
                    request.extensions["trace"] = _before_first_byte(leave)
                else:
                    await leave()
                await arrival.take(await connections.paying.send(request, stream=True))
        except (httpx.HTTPError, TimeoutError) as error:
            trouble = _say(error, connections.secrets)
            was_never_sent = not may_have_left or isinstance(error, NEVER_SENT)
        # Raised out here, an error does not carry the request, and with it the key, as its context.
        if was_never_sent:
            message = f"the API at {self.settings.base_url} cannot be reached"
            raise Unavailable(message, detail=trouble)
        reply = _read(arrival, connections.secrets)
        if reply is None or (trouble and reply.named_job_id is None):
            message = (
                "the answer was lost: whether the request was taken is not "
                "known, and it may be paid"
            )
            raise OutcomeUnknown(message, detail=trouble)
        return reply

    async def get(self, job_id: str) -> VideoJob:
        """Ask how a job stands. Free, safe to repeat.

        An answer with 403 and a page of HTML are passing trouble, too: a gateway before the API may
        send them. An end under this very id counts whatever the envelope around it says. Raises
        `JobNotFound`, `KeyRefused`, and `Unavailable`, `UnreadableReply` or a 403 after
        `read_attempts` tries. `Unavailable` is raised at once, and mostly without asking, while the
        reads of this event loop find the API away (see `Outage`).
        """
        async with self._connected() as connections:
            outage = connections.outage

            def may_pass(error: BaseException) -> bool:
                return _may_pass(error) and not outage.is_on

            return await self._repeating(may_pass)(self._get_once, job_id, outage)

    async def _get_once(self, job_id: str, outage: Outage) -> VideoJob:
        params = {"task_id": job_id}
        what = f"job {quoted(job_id)} could not be read"
        reply = await self._fetch_once("/video/generations", what, params, outage)
        # Ids pass the gate as well; an old record may name one that does not come out unchanged.
        asked = as_job_id(job_id)
        job = None
        if reply.data:
            job = VideoJob.read(reply.data, asked)
        if job is None or job.job_id != asked:
            raise UnreadableReply(
                "the API's answer is about no job", job_id=job_id, status=reply.status
            )
        return job.model_copy(update={"job_id": job_id})

    async def balance(self) -> Balance:
        """Ask for the money on the account. Free; also the cheapest way to check the key."""
        reply = await self._fetch("/balance", "the balance could not be read")
        balance = amount(reply.data.get("balance"))
        if balance is None:
            raise UnreadableReply("the API's answer holds no balance", status=reply.status)
        return Balance(
            balance=balance,
            total=amount(reply.data.get("total")),
            frozen=amount(reply.data.get("frozen")),
            currency=_currency(reply.data),
        )

    async def record(self, job_id: str) -> Charge | None:
        """Ask what a job really cost. Free.

        None when the API has no such record or none that can be read.
        """
        if job_id in _NO_PATH:
            return None
        message = f"the charge of job {quoted(job_id)} could not be read"
        try:
            reply = await self._fetch(f"/records/{quote(job_id, safe='')}", message)
        except (KlingError, UnicodeError):
            return None
        if not reply.data:
            return None
        settled = reply.data.get("settled") is True
        said = reply.data.get("credits")
        paid = None
        if settled:
            paid = amount(said)
        return Charge(
            job_id=job_id,
            settled=settled,
            credits=paid,
            currency=_currency(reply.data),
            said=words("" if said is None else str(said), _LONGEST_AMOUNT),
        )

    async def upload(self, file: BinaryIO, name: str, media_type: str) -> str:
        """Store a file at the API, and return its address.

        **This publishes the file**: it needs no key, and the API keeps it for 7 days. Free, safe to
        repeat: each call makes another address. `name` is told to the API. Raises `RequestRefused`
        or `KeyRefused` when the API will not take the file, `Unavailable` after `read_attempts`
        tries, or `UnreadableReply`.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Unavailable),
            stop=tenacity.stop_after_attempt(self.settings.read_attempts),
            wait=wait_as_told,
            reraise=True,
        )
        return await retrying(self._upload_once, file, name, media_type)

    async def _upload_once(self, file: BinaryIO, name: str, media_type: str) -> str:
        what = f"{name} could not be uploaded"
        file.seek(0)
        async with self._connected() as connections:
            request = connections.free.build_request(
                "POST",
                "/files",
                files={"file": (name, file, media_type)},
                timeout=self._read_timeout,
            )
            reply = await _ask(connections, request, what, UPLOAD_SECONDS)
        if not reply.is_done:
            raise reply.upload_error(what)
        address = reply.data.get("publicUrl")
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address.strip()):
            raise UnreadableReply(
                "the API's answer holds no address of the uploaded file", status=reply.status
            )
        return address.strip()

    async def _fetch(self, path: str, what: str, **params: str) -> Reply:
        """Read once or, while the API is unavailable, a few times."""
        return await self._repeating(_is_unavailable)(self._fetch_once, path, what, params)

    def _repeating(self, passes: Callable[[BaseException], bool]) -> tenacity.AsyncRetrying:
        """Return what repeats a free call, `read_attempts` times at most, if its error `passes`."""
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(passes),
            stop=tenacity.stop_after_attempt(self.settings.read_attempts),
            wait=wait_as_told,
            reraise=True,
        )

    async def _fetch_once(
        self, path: str, what: str, params: dict[str, str], outage: Outage | None = None
    ) -> Reply:
        job_id = params.get("task_id")
        async with self._connected() as connections:
            try:
                request = connections.free.build_request(
                    "GET", path, params=params, timeout=self._read_timeout
                )
            except (httpx.InvalidURL, UnicodeError):
                request = None
            if request is None:
                raise UnreadableReply(f"{what}: no request can hold its id", job_id=job_id)
            reply = await _ask(connections, request, what, self._longest_read, job_id, outage)
        asked = as_job_id(job_id)
        if not reply.is_done and not (asked and reply.tells_end_of(asked)):
            raise reply.read_error(what, job_id)
        return reply

    @property
    def _longest_read(self) -> float:
        """How long a free call may take in all, once it is its turn."""
        return self.settings.connect_seconds + 3 * self.settings.read_seconds

    @property
    def _read_timeout(self) -> httpx.Timeout:
        settings = self.settings
        return httpx.Timeout(
            settings.read_seconds, connect=settings.connect_seconds, pool=settings.read_seconds
        )


async def _ask(
    connections: Connections,
    request: httpx.Request,
    what: str,
    seconds: float,
    job_id: str | None = None,
    outage: Outage | None = None,
) -> Reply:
    """Send a free call once, when it is its turn, and read its answer.

    Raises `Unavailable` if none arrives whole within so many seconds, or if it heeds an `outage`.
    """
    arrival = Arrival()
    trouble = ""
    # A call that heeds none is the only one that knows of its own.
    outage = outage or Outage()
    async with connections.turns:
        # Asked in turn: who has waited through the beginning of an outage does not send either.
        if not outage.admits:
            raise Unavailable(what, job_id=job_id, detail="other reads find the API away")
        with outage.call():
            try:
                async with asyncio.timeout(seconds):
                    await arrival.take(await connections.free.send(request, stream=True))
            except (httpx.HTTPError, TimeoutError) as error:
                # The host without what else an address may hold.
                host = request.url.netloc.decode("ascii")
                trouble = f"{_say(error, connections.secrets)} ({host})"
            reply = _read(arrival, connections.secrets)
            if reply is None or trouble or reply.is_unavailable:
                outage.note_failure()
            else:
                outage.note_answer()
    if reply is None or trouble:
        raise Unavailable(what, job_id=job_id, detail=trouble)
    return reply


def _read(arrival: Arrival, secrets: SentSecrets) -> Reply | None:
    answer = arrival.read(secrets)
    if answer is None:
        return None
    return Reply.read(answer)


def _say(error: Exception, secrets: SentSecrets) -> str:
    """Return what is known of trouble with a connection.

    A server may have written some of it.
    """
    return words(secrets.hide(f"{type(error).__name__}: {error}".rstrip(": ")))


def amount(value: JsonValue) -> Decimal | None:
    """Return an amount of money that stands in an answer as a number or as digits.

    None for what is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    if len(text) > _LONGEST_AMOUNT:
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    if not found.is_finite() or (found and found.adjusted() not in _MAGNITUDES):
        return None
    return found


def _currency(data: Mapping[str, JsonValue]) -> str:
    currency = data.get("currency")
    if currency is None:
        return DOLLARS
    return words(str(currency), 20).strip().upper()


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, Unavailable)


def _may_pass(error: BaseException) -> bool:
    """Whether a read of a job is worth repeating: a 401 is not, the key is wrong."""
    if isinstance(error, KeyRefused):
        return error.status == 403 and error.code in (None, 403)
    if isinstance(error, UnreadableReply):
        return error.status is not None and error.status < 400
    return isinstance(error, Unavailable)


def _before_first_byte(
    leave: Callable[[], Awaitable[None]],
) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """Return a trace function for httpcore that awaits `leave` before a POST's first byte.

    A proxy's own CONNECT request is traced as well, and is not paid for.
    """

    async def trace(event: str, details: Mapping[str, Any]) -> None:
        if not event.endswith(".send_request_headers.started"):
            return
        if details["request"].method == b"POST":
            await leave()

    return trace


def wait_as_told(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the server asked for, else 0.5 s doubling, with jitter."""
    if state.outcome is not None:
        error = state.outcome.exception()
        if isinstance(error, Unavailable) and error.retry_after is not None:
            return min(error.retry_after, 60.0)
    return tenacity.wait_random_exponential(multiplier=0.5, max=20.0)(state)
