"""The clock of this machine beside the clocks of the API and the store."""

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, hint, ok

MAX_SKEW_SECONDS = 60.0


async def api_clock(context: DoctorContext) -> Finding:
    """The clock of this machine agrees with the API's."""
    return _compare("the API's", context.api_clock_ahead)


async def store_clock(context: DoctorContext) -> Finding:
    """The clock of this machine agrees with the store's."""
    return _compare("the store's", context.store_clock_ahead)


def _compare(other: str, ahead: float | None) -> Finding:
    if ahead is None:
        return hint(
            Reason.CLOCK_UNKNOWN, other, fix="compare this machine's clock with another one"
        )
    if abs(ahead) > MAX_SKEW_SECONDS:
        return fault(
            Reason.CLOCK_OFF,
            other,
            ahead,
            fix="set the clock (NTP); signatures and time windows depend on it",
        )
    return ok(Reason.CLOCK_OK, other, ahead)
