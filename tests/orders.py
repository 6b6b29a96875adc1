"""Orders of a test's own, and how they stand."""

from decimal import Decimal

from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder

HERE = ResultAccess("http://127.0.0.1/")
"""From where the results of a sandbox may be fetched."""


def ordered(archive: Archive, name: str) -> ClipOrder:
    """An order nobody else has."""
    prompt = f"{name} {archive.bucket.prefix}"
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


def capped(archive: Archive, usd: int = 50) -> Archive:
    """Return the archive with a cap, so that money is accounted for."""
    with_cap = Archive(archive.bucket, cap_usd=Decimal(usd))
    with_cap.fetching = archive.fetching
    return with_cap


def record(archive: Archive, order: ClipOrder) -> Entry:
    """The order's record as it stands."""
    page = archive.ledger.read(order.clip_key)
    assert page is not None
    return page.entry
