"""The account read beside the ledger, over HTTP and with a real store."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.audit import Audit, act, audit, stored_readings
from prefect_kling.studio.money.books import Obstacle
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.books.rounds import order

PRICE = Decimal("0.1899")
NONE = Decimal(0)
CAPPED = SubmitOptions(film=FilmCap("film", Decimal(100)))


@pytest.fixture
def account() -> Iterator[Sandbox]:
    """An API of this test's own, so that its account is ours alone."""
    settings = SandboxSettings(render_seconds=(0, 0), paints=False, balance_usd=1000)
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
async def ours(account: Sandbox) -> AsyncIterator[KlingClient]:
    """A client of that account."""
    settings = ClientSettings(base_url=account.base_url)
    async with KlingClient(SecretStr(account.key), settings) as client:
        yield client


def tomorrow() -> datetime:
    """A day and an hour later than now."""
    return datetime.now(UTC) + timedelta(hours=25)


async def send(prompt: str, client: KlingClient, archive: Archive) -> str:
    """Send one clip, perhaps in vain; its key."""
    wanted = order(f"{prompt} {archive.bucket.prefix}")
    with suppress(ClipHeld):
        await submit_once(wanted, client, archive, CAPPED)
    return wanted.clip_key


async def lose(sandbox: Sandbox, client: KlingClient, archive: Archive, *, is_paid: bool) -> str:
    """Send a clip whose answer is lost; its key."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=is_paid)
    return await send(f"held {secrets.token_hex(4)}", client, archive)


async def a_day(
    losses: tuple[bool, ...], account: Sandbox, client: KlingClient, archive: Archive
) -> tuple[Audit, list[str]]:
    """A reading, clips with lost answers, and a reading a day later; jobs run at both."""
    await send("first [seconds:60]", client, archive)
    await audit(archive, client)
    keys = [await lose(account, client, archive, is_paid=is_paid) for is_paid in losses]
    await send("second [seconds:60]", client, archive)
    return await audit(archive, client, NONE, tomorrow), keys


async def test_clips_that_were_not_taken_are_proven_unpaid_and_released(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """Their money is set aside no longer, and they can be sent again, once."""
    found, keys = await a_day((False, False), account, ours, archive)
    assert {each.clip_key: each.verdict for each in found.proven} == dict.fromkeys(keys, "unpaid")
    assert sorted(await act(found.proven, found.reading, archive)) == sorted(keys)
    assert await act(found.proven, found.reading, archive) == ()
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.committed() == 2 * PRICE
    for key in keys:
        version = archive.ledger.read(key)
        assert version is not None
        assert version.entry.state is EntryState.RELEASED
        await submit_once(version.entry.order, ours, archive, CAPPED)
    assert account.stats()["created"] == 4


async def test_clips_that_were_all_taken_are_said_to_be_paid_and_stay_held(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """Nothing in the ledger changes for that."""
    found, keys = await a_day((True, True), account, ours, archive)
    assert {each.clip_key: each.verdict for each in found.proven} == dict.fromkeys(keys, "paid")
    assert await act(found.proven, found.reading, archive) == ()
    assert {each.clip_key for each in found.held} == set(keys)


async def test_where_some_were_taken_nothing_is_proven(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """The sum does not say which."""
    found, _ = await a_day((True, False), account, ours, archive)
    assert found.proven == ()
    assert found.since_held is not None
    assert found.since_held.obstacles == (Obstacle.BETWEEN,)
    assert found.since_held.unexplained_usd == PRICE


async def test_readings_are_kept_and_change_no_record(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """Both are read back as they were, oldest first."""
    found, keys = await a_day((False,), account, ours, archive)
    first, second = stored_readings(archive)
    assert second == found.reading
    assert first.at < second.at
    assert first.unknown == ()
    assert [each.clip_key for each in second.unknown] == keys
    assert second.ledger_before == second.ledger_after
    assert first.ledger_after != second.ledger_before


async def test_a_clip_that_somebody_adopted_after_the_reading_is_left_alone(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """The call of the API may come in between."""
    found, (key,) = await a_day((False,), account, ours, archive)
    version = archive.ledger.read(key)
    assert version is not None
    archive.ledger.adopt(version, "a-job", "a person")
    assert await act(found.proven, found.reading, archive) == ()
    now = archive.ledger.read(key)
    assert now is not None
    assert now.entry.state is EntryState.SUBMITTED


async def test_a_clip_whose_sender_did_not_report_is_never_proven(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """Others hold it for a process that died; the rest is judged as if it had been paid."""
    await send("first [seconds:60]", ours, archive)
    await audit(archive, ours)
    wanted = order(f"killed {archive.bucket.prefix}")
    claim = ClaimRequest(PRICE, ours.settings.base_url, ours.account(wanted.clip_key))
    version = archive.ledger.mark_sending(archive.ledger.claim(wanted, claim))
    open_reading = await audit(archive, ours, NONE, tomorrow)
    assert open_reading.reading.open_claims == (wanted.clip_key,)
    archive.ledger.hold(version, "its process died")
    await send("second [seconds:60]", ours, archive)
    found = await audit(archive, ours, NONE, lambda: tomorrow() + timedelta(hours=1))
    assert [each.clip_key for each in found.held] == [wanted.clip_key]
    assert found.proven == ()


async def test_a_clip_of_another_account_is_never_proven(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """The books of this account say nothing about it."""
    await send("first [seconds:60]", ours, archive)
    await audit(archive, ours)
    key = await lose(account, ours, archive, is_paid=False)
    version = archive.ledger.read(key)
    assert version is not None
    other = version.entry.model_copy(update={"account": "another"})
    path = f"ledger/jobs/{key}.json"
    archive.bucket.put(path, other.model_dump_json().encode(), "application/json")
    await send("second [seconds:60]", ours, archive)
    assert (await audit(archive, ours, NONE, tomorrow)).proven == ()


async def test_a_candidate_keeps_a_clip_from_being_proven(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """An answer named its job: that job is looked for, not the sum."""
    await send("first [seconds:60]", ours, archive)
    await audit(archive, ours)
    body = {"code": 500, "msg": "error", "data": {"taskId": "clx-named"}}
    account.fault(on="create", do={"status": 500, "body": body})
    await send("named", ours, archive)
    await send("second [seconds:60]", ours, archive)
    found = await audit(archive, ours, NONE, tomorrow)
    assert [each.job_id for each in found.held] == ["clx-named"]
    assert found.proven == ()


async def test_top_ups_are_told_as_one_sum_since_the_first_reading_that_is_compared(
    account: Sandbox, ours: KlingClient, archive: Archive
) -> None:
    """Later readings cannot know whether they came before or after it."""
    await send("first [seconds:60]", ours, archive)
    await audit(archive, ours)
    await lose(account, ours, archive, is_paid=True)
    await audit(archive, ours)
    lost = await lose(account, ours, archive, is_paid=False)
    account.top_up("50")
    await send("second [seconds:60]", ours, archive)
    found = await audit(archive, ours, Decimal(50), tomorrow)
    assert found.proven == ()
    again = await audit(archive, ours, None, lambda: tomorrow() + timedelta(hours=1))
    assert lost in {each.clip_key for each in again.held}
    assert again.proven == ()
