"""What a production run needs, looked at piece by piece. No check costs money."""

import re
import secrets
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import prefect
from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.doctor import Check, Finding, Visit, call, fault, hint, ok
from prefect_kling.flows import collect_finished
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.storage.bucket import Bucket, in_thread

T = TypeVar("T")

MOST_SKEW_SECONDS = 60
LINK_SECONDS = 300

START = "start one: `prefect server start`, and name it: `prefect config set PREFECT_API_URL=…`"
LINK_CURE = "see that the keys may read objects, and that nothing between here and the store changes requests"
RECEIVER_CURE = (
    "start `prefect-kling receiver` and see that the proxy in front passes its path and /health"
)
HELD_CURE = "`prefect-kling ledger list held`, then `prefect-kling ledger show KEY`"
ADDRESS_CURE = "check the base URL in the KlingCredentials block, the network and proxies"
STORE_CURE = "check endpoint, region and keys in the credentials block of the S3 Bucket block, and the network"
BUCKET_CURE = "check the bucket's name, its region and the keys in the S3 Bucket block; create the bucket if need be"
RIGHTS_CURE = "allow s3:PutObject, s3:GetObject, s3:ListBucket and s3:DeleteObject under the prefix"
CONDITIONS_CURE = "use a store that honours If-None-Match and If-Match: AWS S3, SeaweedFS from 4.30"


async def _server(visit: Visit) -> Finding:
    address = PREFECT_API_URL.value()
    if not address:
        return fault("no Prefect server is named", START)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client() as client:
            trouble = await client.api_healthcheck()
            if trouble is not None:
                return fault(
                    f"{address} does not answer ({type(trouble).__name__}: {trouble})", START
                )
            if client.server_type is ServerType.CLOUD:
                return ok("Prefect Cloud answers")
            version = await client.api_version()
    if is_older(version, prefect.__version__):
        cure = f"upgrade the server to {prefect.__version__}, or install prefect=={version} here"
        return fault(
            f"the server is {version}, older than this client ({prefect.__version__})", cure
        )
    return ok(f"{version} at {address}")


def is_older(server: str, client: str) -> bool:
    """Whether a server's version is older than a client's, by major and minor number."""
    ours, theirs = (
        [int(part) for part in re.findall(r"\d+", version)[:2]] for version in (client, server)
    )
    return theirs < ours


async def _types(visit: Visit) -> Finding:
    missing = []
    async with get_client() as client:
        for kind in (KlingCredentials, KlingArchive):
            try:
                await client.read_block_type_by_slug(kind.get_block_type_slug())
            except ObjectNotFound:
                missing.append(kind.get_block_type_slug())
    if missing:
        return fault(
            f"not registered: {', '.join(missing)}",
            "`prefect block register -m prefect_kling.blocks`",
        )
    return ok("registered")


async def _credentials(visit: Visit) -> Finding:
    try:
        visit.access = await load_block(KlingCredentials, visit.credentials)
    except (BlockMissing, RuntimeError) as error:
        return _not_loaded(error, KlingCredentials.__name__, visit.credentials)
    return ok(f"{visit.credentials!r}")


async def _archive(visit: Visit) -> Finding:
    try:
        visit.storage = await load_block(KlingArchive, visit.archive)
    except (BlockMissing, RuntimeError) as error:
        return _not_loaded(error, KlingArchive.__name__, visit.archive)
    return ok(f"{visit.archive!r}, {visit.bucket.uri('')}")


def _not_loaded(error: Exception, kind: str, name: str) -> Finding:
    """Tell a block that is not there from one that breaks a rule, whose own words would quote the values."""
    invalid = error.__cause__ or error.__context__
    if isinstance(invalid, ValidationError):
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in invalid.errors()
        )
        return fault(
            f"{kind} {name!r} cannot be read ({wrong})", "correct it in the Prefect UI under Blocks"
        )
    if isinstance(error, RuntimeError):
        return fault(f"{kind} {name!r} cannot be read", "correct it in the Prefect UI under Blocks")
    return fault(
        f"there is no {kind} block named {name!r}",
        "`prefect-kling setup`, or the Prefect UI under Blocks",
    )


async def _api(visit: Visit) -> Finding:
    status, visit.api_ahead, _ = await call("GET", f"{visit.access.base_url}/balance")
    if status >= 500:
        return fault(
            f"{visit.access.base_url} answers {status}", "wait; the API has trouble of its own"
        )
    return ok(visit.access.base_url)


async def _key(visit: Visit) -> Finding:
    async with visit.access.get_client() as client:
        visit.balance = await client.balance()
    return ok("accepted")


async def _balance(visit: Visit) -> Finding:
    amount = f"{visit.balance.balance} {visit.balance.currency}"
    return (
        ok(amount)
        if visit.balance.balance > 0
        else fault(f"{amount} on the account", "top up the account")
    )


async def _api_clock(visit: Visit) -> Finding:
    return _clock(visit.api_ahead, "the API's")


async def _store_clock(visit: Visit) -> Finding:
    return _clock(visit.store_ahead, "the store's")


def _clock(ahead: float | None, whose: str) -> Finding:
    if ahead is None:
        return hint(
            f"{whose} answer tells no time", "compare this machine's clock with another one"
        )
    words = (
        f"this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} {whose} clock"
    )
    if abs(ahead) > MOST_SKEW_SECONDS:
        return fault(words, "set the clock (NTP); signatures and time windows depend on it")
    return ok(words if abs(ahead) > 1 else f"agrees with {whose}")


async def _store(visit: Visit) -> Finding:
    link = urlsplit(await in_thread(visit.bucket.sign, "doctor/none", LINK_SECONDS))
    visit.store_address = f"{link.scheme}://{link.netloc}"
    status, visit.store_ahead, _ = await call(
        "GET", f"{visit.store_address}/", verify=visit.store_trust
    )
    if status >= 500:
        return fault(
            f"{visit.store_address} answers {status}", "wait; the store has trouble of its own"
        )
    if link.scheme == "http":
        cure = "use an https endpoint anywhere but on a private network"
        return hint(f"{visit.store_address} is not encrypted", cure)
    return ok(visit.store_address)


async def _bucket(visit: Visit) -> Finding:
    await in_thread(lambda: next(visit.bucket.names("doctor/"), None))
    return ok(f"{visit.bucket.name} is there and can be listed")


async def _permissions(visit: Visit) -> Finding:
    return await in_thread(_try_permissions, visit.bucket)


def _try_permissions(bucket: Bucket) -> Finding:
    path, body = _probe(), secrets.token_bytes(16)
    bucket.put(path, body, "application/octet-stream")
    refused: dict[str, str] = {}
    stored = _attempt("get", lambda: bucket.read(path), refused)
    listed = _attempt("list", lambda: path in bucket.names(path), refused)
    _attempt("delete", lambda: bucket.delete(path), refused)
    if refused:
        return fault("; ".join(f"{what}: {words}" for what, words in refused.items()), RIGHTS_CURE)
    if stored is None or stored.body != body or not listed or bucket.read(path) is not None:
        return fault(
            "the store does not give back what was put there a moment ago", "use a consistent store"
        )
    return ok("put, get, list and delete are allowed")


def _attempt(what: str, action: Callable[[], T], refused: dict[str, str]) -> T | None:
    try:
        return action()
    except StudioError as error:
        refused[what] = error.summary
        return None


async def _conditions(visit: Visit) -> Finding:
    await in_thread(visit.bucket.require_conditional_writes)
    return ok("honoured")


async def _link(visit: Visit) -> Finding:
    path, body = _probe(), secrets.token_bytes(16)
    await in_thread(visit.bucket.put, path, body, "application/octet-stream")
    try:
        link = await in_thread(visit.bucket.sign, path, LINK_SECONDS)
        status, _, answer = await call("GET", link, verify=visit.store_trust)
    finally:
        await in_thread(visit.bucket.delete, path)
    if status != 200 or answer != body:
        return fault(f"a fresh link is answered {status}", LINK_CURE)
    return ok("can be fetched from here")


def _probe() -> str:
    return f"doctor/probe-{secrets.token_hex(8)}"


async def _receiver(visit: Visit) -> Finding:
    url = visit.access.receiver_url
    if url is None:
        webhook = "a webhook is called; jobs are polled all the same"
        return ok(webhook if visit.access.webhook_url else "none is configured; jobs are polled")
    health = urlsplit(url)._replace(path="/health", query="", fragment="").geturl()
    status, _, _ = await call("GET", health)
    return ok(health) if status == 200 else fault(f"{health} answers {status}", RECEIVER_CURE)


async def _unsigned_call(visit: Visit) -> Finding:
    if visit.access.receiver_url is None:
        return ok("no receiver, no calls")
    address = f"{visit.access.receiver_url}/{'0' * 32}/{'0' * 8}/{'0' * 40}"
    status, _, answer = await call("POST", address)
    if status != 404:
        cure = f"something else answers at {visit.access.receiver_url}, or lets everybody in; {RECEIVER_CURE}"
        return fault(f"an unsigned call is answered {status} instead of 404", cure)
    if b"no such address" not in answer:
        return hint(
            "refused, but not in the receiver's words", "check the path of the receiver URL"
        )
    return ok("refused")


async def _sweeps(visit: Visit) -> Finding:
    async with get_client() as client:
        flows = FlowFilter(name=FlowFilterName(any_=[collect_finished.name]))
        deployments = await client.read_deployments(flow_filter=flows)
    if not deployments:
        return hint(
            f"no deployment of {collect_finished.name}",
            "`prefect-kling serve`, or `prefect deploy`",
        )
    if not any(
        schedule.active for each in deployments if not each.paused for schedule in each.schedules
    ):
        return hint(
            "deployed, but no schedule is active",
            "set `active: true` in deployments/prefect.yaml and deploy; served: switch it on in the Prefect UI",
        )
    return ok("its schedule is active")


async def _held(visit: Visit) -> Finding:
    count = await in_thread(_count_held, visit.storage)
    return (
        hint(f"{count} {'clip is' if count == 1 else 'clips are'} held", HELD_CURE)
        if count
        else ok("none")
    )


def _count_held(block: KlingArchive) -> int:
    book = block.get_archive().ledger
    keys = {
        name.removeprefix("ledger/held/").partition(".")[0]
        for name in book.bucket.names("ledger/held/")
    }
    pages = (book.read(key) for key in keys)
    return sum(page is not None and page.entry.state is EntryState.HELD for page in pages)


SERVER, KEEPS, ACCESS, ARCHIVE = (
    "Prefect server",
    "block types",
    "credentials block",
    "archive block",
)
CHECKS = (
    Check(
        SERVER,
        _server,
        cure="see that PREFECT_API_URL, PREFECT_API_KEY and PREFECT_API_AUTH_STRING are right",
    ),
    Check(KEEPS, _types, (SERVER,), "see that this client may use the Prefect server"),
    Check(ACCESS, _credentials, (SERVER,), "see that this client may use the Prefect server"),
    Check(ARCHIVE, _archive, (SERVER,), "see that this client may use the Prefect server"),
    Check("API address", _api, (ACCESS,), ADDRESS_CURE),
    Check("API key", _key, ("API address",)),
    Check("balance", _balance, ("API key",)),
    Check("clock and API", _api_clock, ("API address",)),
    Check("store", _store, (ARCHIVE,), STORE_CURE),
    Check("clock and store", _store_clock, ("store",)),
    Check("bucket", _bucket, ("store",), BUCKET_CURE),
    Check("permissions", _permissions, ("bucket",), RIGHTS_CURE),
    Check("conditional writes", _conditions, ("permissions",), CONDITIONS_CURE),
    Check("links", _link, ("permissions",), LINK_CURE),
    Check("receiver", _receiver, (ACCESS,), RECEIVER_CURE),
    Check("unsigned calls", _unsigned_call, ("receiver",), RECEIVER_CURE),
    Check("sweeps", _sweeps, (SERVER,)),
    Check("held clips", _held, ("bucket",)),
)
