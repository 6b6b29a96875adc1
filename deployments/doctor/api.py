"""The API: its address, the key and the balance."""

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, ok


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
