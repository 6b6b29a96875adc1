"""The S3 store: address, bucket, permissions, conditional writes and signed links."""

import secrets
from urllib.parse import urlsplit

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, hint, ok
from prefect_kling.kling.addresses import host_of
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.studio.storage.preflight import require_usable

LINK_SECONDS = 300
FIX_LINKS = (
    "see that the keys may read objects, and that nothing between here and the store "
    "changes requests"
)
FIX_UNREACHABLE = (
    "films with hand-overs and clips with pictures of the archive are refused: use a store that "
    "the API can reach, or turn on upload_inputs in the KlingCredentials block, which publishes "
    "them at the API for 7 days"
)
FIX_PERMISSIONS = (
    "allow s3:PutObject, s3:GetObject, s3:ListBucket and s3:DeleteObject under the prefix"
)


async def address(context: DoctorContext) -> Finding:
    """Something answers at the endpoint, and the way to it is encrypted."""
    # boto3 retries for a long time where nothing answers. One plain request does not.
    link = urlsplit(await in_thread(context.bucket.sign, f"{layout.DOCTOR}none", LINK_SECONDS))
    endpoint = f"{link.scheme}://{link.netloc}"
    answer = await context.request("GET", f"{endpoint}/", verify=context.store_verify)
    context.store_clock_ahead = answer.clock_ahead

    status = answer.response.status_code
    if status >= 500:
        fix = "wait; the store has trouble of its own"
        return fault(Reason.SERVER_ERROR, endpoint, status, fix=fix)
    if link.scheme == "http":
        fix = "use an https endpoint anywhere but on a private network"
        return hint(Reason.NOT_ENCRYPTED, endpoint, fix=fix)
    return ok(Reason.ADDRESS_OK, endpoint)


async def bucket(context: DoctorContext) -> Finding:
    """The bucket exists and can be listed."""
    await in_thread(lambda: next(context.bucket.names(layout.DOCTOR), None))
    return ok(Reason.BUCKET_OK, context.bucket.name)


async def permissions(context: DoctorContext) -> Finding:
    """An object can be written, read, listed and deleted; the store returns what was written."""
    return await in_thread(_try_permissions, context.bucket)


def _try_permissions(bucket: Bucket) -> Finding:
    path = _probe_path()
    body = secrets.token_bytes(16)
    refusals = []
    is_consistent = True

    bucket.put(path, body, "application/octet-stream")
    try:
        stored = bucket.read(path)
        is_consistent = stored is not None and stored.body == body
    except StudioError as error:
        refusals.append(f"get: {error.summary}")
    try:
        is_consistent = path in bucket.names(path) and is_consistent
    except StudioError as error:
        refusals.append(f"list: {error.summary}")
    try:
        bucket.delete(path)
    except StudioError as error:
        refusals.append(f"delete: {error.summary}")

    if refusals:
        return fault(Reason.PERMISSIONS_MISSING, value="; ".join(refusals), fix=FIX_PERMISSIONS)
    if not is_consistent or bucket.read(path) is not None:
        return fault(Reason.STORE_INCONSISTENT, fix="use a consistent store")
    return ok(Reason.PERMISSIONS_OK)


async def conditional_writes(context: DoctorContext) -> Finding:
    """The store does all that must work once a clip is paid, conditional writes first of all."""
    await in_thread(require_usable, context.bucket)
    return ok(Reason.CONDITIONS_HONOURED)


async def links(context: DoctorContext) -> Finding:
    """A signed link returns the object, and the API can reach its host."""
    credentials = context.credentials
    if credentials is not None and credentials.upload_inputs:
        return ok(Reason.LINKS_NOT_USED)
    path = _probe_path()
    body = secrets.token_bytes(16)
    await in_thread(context.bucket.put, path, body, "application/octet-stream")
    try:
        link = await in_thread(context.bucket.sign, path, LINK_SECONDS)
        answer = await context.request("GET", link, verify=context.store_verify)
    finally:
        await in_thread(context.bucket.delete, path)

    response = answer.response
    if response.status_code != 200 or response.content != body:
        return fault(Reason.LINK_FAILED, value=response.status_code, fix=FIX_LINKS)
    if credentials is None:
        return ok(Reason.LINK_OK)
    access = credentials.input_access
    if not await in_thread(access.reaches, link):
        # Clips that need no input are made all the same.
        host = host_of(link)
        return hint(Reason.LINK_UNREACHABLE, host, access.api_url, fix=FIX_UNREACHABLE)
    return ok(Reason.LINK_OK)


def _probe_path() -> str:
    return f"{layout.DOCTOR}probe-{secrets.token_hex(8)}"
