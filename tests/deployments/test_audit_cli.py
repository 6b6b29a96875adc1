"""`prefect-kling ledger audit` and `prefect-kling doctor --live`, as a person runs them."""

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.app import app
from prefect_kling.deployments.cli.audit import NotOursAlone
from prefect_kling.deployments.doctor.live import live_report
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.audit import stored_readings
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.storage import layout
from tests.books.rounds import order, send

pytestmark = pytest.mark.usefixtures("prefect_ui")
DAY = timedelta(hours=26)
Run = Callable[..., str]


@pytest.fixture
def account() -> Iterator[Sandbox]:
    """An API of this test's own, so that its account is ours alone."""
    settings = SandboxSettings(render_seconds=(0, 0), paints=False, balance_usd=1000)
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def block(account: Sandbox) -> KlingCredentials:
    """Access to it; nothing says whose its money is."""
    return KlingCredentials(api_key=SecretStr(account.key), base_url=account.base_url)


@pytest.fixture
def run(
    block: KlingCredentials, archive_block: KlingArchive, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `prefect-kling` in this process against stored blocks; what it prints and returns."""
    name = f"audit-{secrets.token_hex(4)}"
    block.save(name)
    archive_block.save(name)

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        where = ("--archive", name, "--credentials", name)
        returned = app([*words, *where], exit_on_error=False, result_action="return_value")
        assert returned == code
        return " ".join(capsys.readouterr().out.split())

    def allow() -> None:
        block.model_copy(update={"account_is_ours_alone": True}).save(name, overwrite=True)

    run.allow = allow  # type: ignore[attr-defined]
    return run


def submit(prompt: str, block: KlingCredentials, archive: Archive) -> str:
    """Send one clip, perhaps in vain; its key."""
    text = f"{prompt} {archive.bucket.prefix}"

    async def send_it() -> None:
        async with block.get_client() as client:
            await send(text, client, archive)

    asyncio.run(send_it())
    return order(text).clip_key


def let_a_day_pass(key: str, archive: Archive) -> None:
    """Write what the archive would hold if reading and sending had been a day ago."""
    (reading,) = stored_readings(archive)
    archive.bucket.delete(layout.reading(reading.at))
    older = reading.model_copy(update={"at": reading.at - DAY})
    body = older.model_dump_json().encode()
    archive.bucket.put(layout.reading(older.at), body, "application/json")
    version = archive.ledger.read(key)
    assert version is not None
    assert version.entry.sending_since is not None
    sent_at = version.entry.sending_since - DAY + timedelta(minutes=1)
    earlier = version.entry.model_copy(update={"sending_since": sent_at})
    path = layout.ledger_record(key)
    archive.bucket.put(path, earlier.model_dump_json().encode(), "application/json")


def test_a_clip_that_was_not_taken_is_proposed_and_with_a_second_setting_released(
    run: Run, block: KlingCredentials, archive: Archive, account: Sandbox
) -> None:
    """By itself the command changes nothing; without the setting it refuses to."""
    submit("first [seconds:60]", block, archive)
    assert "the first one of this archive" in run("ledger", "audit")
    account.fault(on="create", do={"drop": True})
    key = submit("lost", block, archive)
    young = run("ledger", "audit", "--topped-up", "0")
    assert f"held clip {key}" in young
    assert "not decided by the books" in young
    assert "younger than a day" in young
    second = stored_readings(archive)[-1]
    archive.bucket.delete(layout.reading(second.at))

    let_a_day_pass(key, archive)
    submit("second [seconds:60]", block, archive)
    assert "--topped-up" in run("ledger", "audit")
    told = run("ledger", "audit", "--topped-up", "0")
    assert f"prefect-kling ledger release {key}" in told
    assert "the accounts agree" in told
    with pytest.raises(NotOursAlone, match="account_is_ours_alone"):
        run("ledger", "audit", "--topped-up", "0", "--decide")
    version = archive.ledger.read(key)
    assert version is not None
    assert version.entry.state is EntryState.HELD

    run.allow()  # type: ignore[attr-defined]
    assert "it is released" in run("ledger", "audit", "--topped-up", "0", "--decide")
    version = archive.ledger.read(key)
    assert version is not None
    assert version.entry.state is EntryState.RELEASED


def test_money_that_nobody_knows_of_is_told_and_fails_the_command(
    run: Run, block: KlingCredentials, archive: Archive, account: Sandbox
) -> None:
    """To the last digit, and until the next audit."""
    submit("first [seconds:60]", block, archive)
    run("ledger", "audit", "--topped-up", "0")
    account.charge_elsewhere("0.3333")
    told = run("ledger", "audit", "--topped-up", "0", code=1)
    assert "$0.3333 left the account that no known job explains" in told
    assert "the accounts do not agree" in told
    assert "every cent is explained" in run("ledger", "audit", "--topped-up", "0")


@pytest.mark.parametrize("word", ["many", "-1", "nan"])
def test_a_top_up_that_is_no_amount_is_refused(run: Run, word: str) -> None:
    """Before anything is read."""
    with pytest.raises(ValueError, match="amount in USD"):
        run("ledger", "audit", f"--topped-up={word}")


def test_the_live_report_says_how_frozen_money_behaves_and_names_nothing(
    run: Run, block: KlingCredentials, archive: Archive, account: Sandbox
) -> None:
    """It can be sent to others: no key, no job, no prompt, no balance."""
    key = submit("secret words [seconds:60]", block, archive)
    report = asyncio.run(live_report(block, archive, looks=2, seconds_between=0.1))
    assert [look.frozen.value for look in report.looks] == [
        "frozen is exactly the price of the known running jobs"
    ] * 2
    assert [look.total_changed_usd for look in report.looks] == [0, 0]
    assert report.looks[0].jobs[0].is_running
    text = report.model_dump_json()
    version = archive.ledger.read(key)
    assert version is not None
    for secret in ("secret words", account.key, str(version.entry.job_id), key):
        assert secret not in text
    # The account began with 1000. The digits of a time may be any.
    without_times = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "", text)
    numbers = map(float, re.findall(r"\d+(?:\.\d+)?", without_times))
    assert [number for number in numbers if 990 <= number <= 1000] == []


def test_the_live_report_is_written_to_a_file(
    run: Run,
    block: KlingCredentials,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command says where, and what it saw."""
    monkeypatch.setattr("prefect_kling.deployments.cli.doctor.LOOKS", 1)
    path = tmp_path / "report.json"
    assert str(path) in run("doctor", "--live", "--report", str(path)).replace(" ", "")
    written = json.loads(path.read_text())
    assert written["looks"][0]["frozen"] == "no known job runs"
