"""Nothing passes its seven days in silence: alarms by age since sent, whatever the state."""

from datetime import timedelta
from decimal import Decimal

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest
from prefect_kling.studio.money.overdue import AlarmAges
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import submit_once
from tests.orders import ordered

NEVER = timedelta(days=99)


@pytest.mark.parametrize(
    ("ages", "kind"),
    [
        (AlarmAges(overdue=timedelta(0), expiring=NEVER), "overdue"),
        (AlarmAges(overdue=timedelta(0), expiring=timedelta(0)), "expiring"),
        (AlarmAges(), None),
    ],
)
@pytest.mark.parametrize("state", ["running", "held", "unreadable"])
async def test_an_open_record_is_told_by_its_age(
    state: str,
    ages: AlarmAges,
    kind: str | None,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """An endless job, a held clip and an unreadable job are told with price and next step."""
    if state == "held":
        claimed = archive.ledger.claim(ordered(archive, state), ClaimRequest(Decimal(1)))
        archive.ledger.hold(claimed, "nobody knows")
    else:
        await submit_once(ordered(archive, state), client, archive)
        do = {"state": "pending"} if state == "running" else {"status": 400}
        sandbox.fault(on="get", do=do, times=None)
    findings = await reconcile(archive, client, ReconcileSettings(ages=ages))
    told = [each for each in ("overdue", "expiring") if each in findings.named]
    if kind is None:
        assert told == []
        return
    assert told == [kind]
    ((key, words),) = findings.named[kind].items()
    assert "open for 0 h since it was sent" in words
    assert "at most $" in words
    assert f"prefect-kling ledger give-up {key}" in words
