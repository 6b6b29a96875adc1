"""What the API says a job has cost, as far as that can be booked."""

import logging
from decimal import Decimal

from prefect_kling.kling.client import DOLLARS, Charge, KlingClient
from prefect_kling.kling.job_ids import quoted

MOST_TIMES_RESERVED = 5
"""A charge beyond so many times the worst price is no price of this job."""
ALWAYS_BELIEVED_USD = Decimal(5)
"""For models that somebody has configured without a price."""
LOG = logging.getLogger(__name__)


async def read_charge(
    client: KlingClient, job_id: str, reserved_usd: Decimal | None
) -> Decimal | None:
    """Return the API's own figure for a job in dollars.

    None where there is none that can be booked.

    It must be a number, in dollars, and between nothing and `MOST_TIMES_RESERVED` times the worst
    price of the request, as far as that is known: a negative charge would free money that is spent,
    an absurd one block the archive. Anything else is logged, and the caller books the price of the
    table. Free, safe to repeat.
    """
    charge = await client.record(job_id)
    if charge is None or not charge.settled:
        return None
    if _can_be_booked(charge, reserved_usd):
        return charge.credits
    if charge.said:
        LOG.warning(
            "job %s: the API says that it cost %s %s; the listed price is booked instead",
            quoted(job_id),
            charge.said,
            charge.currency,
        )
    return None


def _can_be_booked(charge: Charge, reserved_usd: Decimal | None) -> bool:
    if charge.credits is None or charge.currency not in (DOLLARS, "$", "US$"):
        return False
    if charge.credits < 0:
        return False
    if reserved_usd is None:
        return True
    return charge.credits <= max(MOST_TIMES_RESERVED * reserved_usd, ALWAYS_BELIEVED_USD)
