"""Version 671d239, on the same archive, stops at states it does not know: pays nothing."""

import json
import os
import subprocess
import sys
import tarfile
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pytest

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.orders import ordered, record

OLD = "671d239"
SCRIPT = Path(__file__).with_name("old_version.py")
ROOT = Path(__file__).parents[2]
CLAIM = ClaimRequest(Decimal("0.1899"), silent_seconds=-1.0)


@pytest.fixture(scope="module")
def old_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which Python imports the old version, out of this project's history."""
    wanted = ["git", "archive", OLD, "kling", "studio"]
    told = subprocess.run(wanted, cwd=ROOT, capture_output=True, check=False)
    if told.returncode != 0:
        pytest.skip(f"the history of this checkout does not hold {OLD}")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=BytesIO(told.stdout)) as packed:
        packed.extractall(folder / "prefect_kling", filter="data")
    # Without it an installed package would win over this folder.
    (folder / "prefect_kling" / "__init__.py").touch()
    return folder


async def bring_to(
    state: EntryState, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Leave a record in a state that the old version does not know."""
    if state is EntryState.GIVEN_UP:
        sandbox.fault(on="create", do={"drop": True})
        with pytest.raises(ClipHeld):
            await submit_once(order, client, archive, SubmitOptions(window=0.5))
        version = archive.ledger.read(order.clip_key)
        assert version is not None
        await decisions.give_up(version, client, archive, "somebody")
        return
    claimed: VersionedEntry = archive.ledger.claim(order, CLAIM)
    archive.budget.reserve(claimed.entry)
    if state is EntryState.SENDING:
        archive.ledger.mark_sending(claimed)


def everything(archive: Archive) -> dict[str, bytes]:
    """All objects that are about money."""
    found = {}
    for name in archive.bucket.names("ledger/"):
        stored = archive.bucket.read(name)
        assert stored is not None
        found[name] = stored.body
    return found


@pytest.mark.slow
@pytest.mark.parametrize("state", [EntryState.CLAIMED, EntryState.SENDING, EntryState.GIVEN_UP])
async def test_an_older_version_stops_at_a_state_it_does_not_know(
    state: EntryState,
    old_packages: Path,
    client: KlingClient,
    archive: Archive,
    s3: LocalS3,
    sandbox: Sandbox,
) -> None:
    """Not even asked to send again does it pay, and its sweep leaves the record as it is."""
    capped = Archive(archive.bucket, cap_usd=Decimal(50))
    order = ordered(archive, f"old {state}")
    await bring_to(state, order, client, capped, sandbox)
    before = everything(archive)
    made = len(sandbox.jobs())
    access = {
        "endpoint_url": s3.endpoint,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        "region_name": "us-east-1",
    }
    told = {
        "s3": json.dumps(access),
        "bucket": archive.bucket.name,
        "prefix": archive.bucket.prefix,
        "api": sandbox.base_url,
        "key": sandbox.key,
        "prompt": str(order.request.prompt),
    }
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(told)],
        env=os.environ | {"PYTHONPATH": str(old_packages)},
        capture_output=True,
        check=True,
    )
    came = json.loads(ended.stdout)
    assert came["submit"] == "LedgerUnreadable"
    assert came["sweep"] in ("trouble", "")
    assert everything(archive) == before
    assert len(sandbox.jobs()) == made
    assert record(archive, order).state is state
