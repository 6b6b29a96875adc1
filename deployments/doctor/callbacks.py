"""The callback receiver: it can be reached, and it refuses calls that are not signed."""

from urllib.parse import urlsplit

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, hint, ok
from prefect_kling.deployments.receiver import RECEIVER_HEADER
from prefect_kling.studio.storage.concurrency import in_thread

FIX_RECEIVER = (
    "start `prefect-kling receiver` and see that the proxy in front passes its path and /health"
)
FIX_UNREACHABLE = "give the receiver an address that the API can reach, or do without it"


async def receiver(context: DoctorContext) -> Finding:
    """The receiver answers below /health, if one is configured."""
    credentials = context.loaded_credentials
    unreachable = await in_thread(lambda: credentials.unreachable_callback)
    not_called = None
    if unreachable is not None:
        # Jobs are polled all the same, only later.
        not_called = hint(
            Reason.CALLS_UNREACHABLE, unreachable, credentials.base_url, fix=FIX_UNREACHABLE
        )
    if credentials.receiver_url is None:
        if credentials.webhook_url:
            return not_called or ok(Reason.WEBHOOK_ONLY)
        return ok(Reason.NO_RECEIVER)

    parts = urlsplit(credentials.receiver_url)
    health = parts._replace(path="/health", query="", fragment="").geturl()
    answer = await context.request("GET", health)
    status = answer.response.status_code
    if status != 200:
        return fault(Reason.RECEIVER_UNHEALTHY, health, status, fix=FIX_RECEIVER)
    return not_called or ok(Reason.ADDRESS_OK, health)


async def unsigned_calls(context: DoctorContext) -> Finding:
    """The receiver itself, and no other server, refuses a call with a wrong signature."""
    root = context.loaded_credentials.receiver_url
    if root is None:
        return ok(Reason.NO_CALLS)

    clip_key = "0" * 32
    claim = "0" * 8
    token = "0" * 40
    answer = await context.request("POST", f"{root}/{clip_key}/{claim}/{token}")
    status = answer.response.status_code
    if status != 404:
        fix = f"something else answers at {root}, or lets everybody in; {FIX_RECEIVER}"
        return fault(Reason.CALL_ACCEPTED, value=status, fix=fix)
    if RECEIVER_HEADER not in answer.response.headers:
        fix = "check the path of the receiver URL, and upgrade a receiver of an earlier version"
        return hint(Reason.CALL_REFUSED_BY_OTHER, fix=fix)
    return ok(Reason.CALL_REFUSED)
