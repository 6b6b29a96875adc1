"""The API: its address, the key and the balance."""

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, ok
from prefect_kling.kling.addresses import host_of
from prefect_kling.studio.storage.concurrency import in_thread

FIX_UPLOADS = "run this again; if it stays so, use a store that the API can reach instead"


async def address(context: DoctorContext) -> Finding:
    """Something answers at the base URL. The key is not sent."""
    base_url = context.loaded_credentials.base_url
    answer = await context.request("GET", f"{base_url}/balance")
    context.api_clock_ahead = answer.clock_ahead

    status = answer.response.status_code
    if status >= 500:
        fix = "wait; the API has trouble of its own"
        return fault(Reason.SERVER_ERROR, base_url, status, fix=fix)
    return ok(Reason.ADDRESS_OK, base_url)


async def key(context: DoctorContext) -> Finding:
    """The API accepts the key."""
    async with context.loaded_credentials.get_client() as client:
        context.balance = await client.balance()
    return ok(Reason.KEY_ACCEPTED)


async def balance(context: DoctorContext) -> Finding:
    """There is money on the account."""
    found = context.balance
    assert found is not None  # noqa: S101  # the check of the key has succeeded
    amount = str(found.balance)
    if found.balance > 0:
        return ok(Reason.BALANCE_OK, found.currency, amount)
    return fault(Reason.BALANCE_EMPTY, found.currency, amount, fix="top up the account")


async def uploads(context: DoctorContext) -> Finding:
    """The API takes an upload and gives it back, if inputs are to be uploaded."""
    uploaded = context.loaded_credentials.uploads
    if uploaded is None:
        return ok(Reason.UPLOADS_NOT_USED)
    address = await in_thread(uploaded.prove)
    answer = await context.request("GET", address)
    status = answer.response.status_code
    if status != 200:
        return fault(Reason.UPLOAD_FAILED, host_of(address), status, fix=FIX_UPLOADS)
    return ok(Reason.UPLOAD_OK)
