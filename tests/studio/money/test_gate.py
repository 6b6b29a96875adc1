"""What passes the gate reaches ledger, budget and archive in a form that does no harm."""

import json
import logging
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.parameters import ImageInput
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, DownloadBroken, LinkForbidden
from prefect_kling.studio.money import result_files
from prefect_kling.studio.money.archive import Archive, FetchPolicy
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import LONGEST_NOTE
from prefect_kling.studio.money.result_files import most_bytes
from prefect_kling.studio.money.settlement import Outcome, collect, keep_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage import layout
from tests.lane import rest_is_slow
from tests.orders import ordered, record

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
EAGER_ALARM = timedelta(days=1)
SECRET_OF_RECEIVER = SecretStr("nobody-may-read-this")
AT_ONCE = FetchPolicy(tries=1, pause_seconds=0, download_pause_seconds=0, confirm_seconds=0.05)


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    capped = Archive(archive.bucket, cap_usd=Decimal(2))
    capped.fetching = AT_ONCE
    return capped


async def sent(name: str, client: KlingClient, archive: Archive) -> Entry:
    """A clip whose job is completed."""
    entry = await submit_once(ordered(archive, name), client, archive)
    await poll_until_done(client, str(entry.job_id), EAGER)
    return entry


@pytest.mark.parametrize(
    ("said", "booked"),
    rest_is_slow(
        [
            ({"credits": 0.25}, "0.25"),
            ({"credits": "0.3165", "currency": "usd"}, "0.3165"),
            ({"credits": 0}, "0"),
            ({"credits": -5}, None),
            ({"credits": "-0.01"}, None),
            ({"credits": 10**30}, None),
            ({"credits": "1e999999"}, None),
            ({"credits": "NaN"}, None),
            ({"credits": True}, None),
            ({"credits": "9" * 4400}, None),
            ({"credits": [0.1]}, None),
            ({"credits": 6}, None),
            ({"credits": 0.25, "currency": "CNY"}, None),
            ({"credits": 25, "currency": "credits"}, None),
            ({"credits": 0.25, "currency": {"USD": 1}}, None),
        ],
        ({"credits": 0.25}, "0.25"),
        ({"credits": -5}, None),
        ({"credits": "NaN"}, None),
        ({"credits": 6}, None),
    ),
    ids=lambda value: str(value)[:40],
)
async def test_only_a_plausible_price_in_dollars_is_booked(
    said: dict[str, Any],
    booked: str | None,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anything else costs what the table says, is logged, and blocks no money."""
    entry = await sent(f"charge {said}"[:60], client, archive)
    body = {"code": 200, "data": {"settled": True, **said}}
    sandbox.fault(on="record", do={"status": 200, "body": body}, times=None)
    job = await client.get(str(entry.job_id))
    clip = (await keep_paid_job(entry, job, client, archive)).clip
    accounts = archive.budget.accounts()
    assert accounts is not None
    expected = clip.listed_usd
    if booked is not None:
        expected = Decimal(booked)
    assert (clip.usd, accounts.spent_usd, accounts.reserved) == (expected, expected, {})
    assert ("the listed price is booked" in caplog.text) is (booked is None)
    sandbox.clear_faults()
    await sent("the next clip", client, archive)


@pytest.mark.parametrize(
    "odd", ["c1; rm -rf /", "c\x00", "c\ud800", "../x", "j" * 9000, ["c1"]], ids=ascii
)
async def test_a_paid_job_with_an_odd_id_is_held_with_it_and_never_sent_again(
    odd: Any, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The record can be written and read, and names the id for a person."""
    order = ordered(archive, f"odd {ascii(odd)[:30]}")
    body = json.dumps({"code": 200, "data": {"taskId": odd, "state": "pending"}})
    sandbox.fault(on="create", do={"status": 200, "body": body})
    with pytest.raises(ClipHeld) as caught:
        await submit_once(order, client, archive)
    if odd != ["c1"]:
        entry = record(archive, order)
        assert (entry.state, bool(entry.job_id)) == (EntryState.HELD, True)
        assert str(entry.job_id).isascii()
        assert str(entry.job_id).isprintable()
    str(caught.value).encode()
    before = sandbox.stats()["posts"]
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive)
    assert sandbox.stats()["posts"] == before


@pytest.mark.parametrize(
    "link",
    ["http://169.254.169.254/latest/meta-data", "http://10.255.255.1/v.mp4", "http://[fe80::1]/"],
)
async def test_a_result_link_into_the_network_is_told_and_not_opened(
    link: str, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The record stays open; the next link of the same answer is tried all the same."""
    entry = await sent(f"inside {link}", client, archive)
    sandbox.fault(on="get", do={"state": "completed", "links": [link]}, times=None)
    job = await client.get(str(entry.job_id))
    with pytest.raises(LinkForbidden, match="private_results"):
        await keep_paid_job(entry, job, client, archive)
    assert record(archive, entry.order).state is EntryState.SUBMITTED
    sandbox.clear_faults()
    sandbox.fault(on="get", do={"state": "completed", "links": [link, "{link}"]}, times=None)
    job = await client.get(str(entry.job_id))
    assert (await keep_paid_job(entry, job, client, archive)).clip.media.frames == 72


async def test_a_video_longer_than_any_that_was_ordered_is_kept_in_part_and_told(
    client: KlingClient, archive: Archive, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download ends at the bound; what arrived is in quarantine, the record open."""
    monkeypatch.setattr(result_files, "LEAST_BYTES", 1000)
    monkeypatch.setattr(result_files, "BYTES_PER_SECOND", {"std": 100, "pro": 100})
    entry = await sent("endless", client, archive)
    sandbox.fault(on="file", do={"slow": 20_000}, times=None)
    job = await client.get(str(entry.job_id))
    with pytest.raises(DownloadBroken, match="too many for 3 s in mode std"):
        await keep_paid_job(entry, job, client, archive)
    kept = archive.quarantine.find(entry.clip_key, job.job_id)
    assert kept is not None
    assert 1300 < kept.bytes < 1300 + 2**17


def test_the_bound_of_a_video_grows_with_seconds_and_mode() -> None:
    """Far above what the longest clip of the best codec in use takes."""

    def bound(**fields: Any) -> int:
        request = VideoRequest.model_validate({"model": "kling-v3-omni", "prompt": "x", **fields})
        return most_bytes(ClipOrder(request=request))

    assert bound(duration=3) < bound(duration=15) < bound(duration=15, mode="pro") < 600 * 2**20
    assert bound(duration=3) > 3 * 18_000_000
    assert bound(duration=15, mode="pro") > 15 * 31_000_000


def signature_of(link: str) -> str:
    """The secret of a signed link."""
    found = re.search("X-Amz-Signature=([0-9a-f]+)", link)
    assert found is not None
    return found[1]


def with_input(order: ClipOrder) -> ClipOrder:
    """The order with a picture of the archive."""
    image = ImageInput(image_url="https://archive.invalid/inputs/0123.png")
    return ClipOrder(request=order.request.model_copy(update={"image_list": [image]}))


async def test_a_secret_that_the_api_quotes_reaches_neither_archive_nor_log(
    client: KlingClient, archive: Archive, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Key, signed link and callback address at DEBUG: every stored byte is looked at."""
    archive.bucket.put("inputs/0123.png", b"picture", "image/png")
    addresses = CallbackAddresses("https://cb.test/kling", SECRET_OF_RECEIVER)
    options = SubmitOptions(callback=addresses.address, look_again=0.05)
    held, failed = (with_input(ordered(archive, f"quoting {name}")) for name in ("held", "failed"))
    escaped_key = "".join(f"\\u{ord(each):04x}" for each in sandbox.key)
    with caplog.at_level(logging.DEBUG):
        signed = archive.sign_inputs(held.request).image_list[0].image_url
        escaped_link = signed.replace("/", "\\/")
        text = f"Failed to fetch {signed} and {escaped_link} for {escaped_key}"
        sandbox.fault(on="create", do={"status": 500, "body": {"code": 500, "msg": text}})
        with pytest.raises(ClipHeld):
            await submit_once(held, client, archive, options)
        entry = await submit_once(failed, client, archive, options)
        callback = addresses.address(entry)
        text = f"Failed to fetch {signed} for {sandbox.key}, calling {callback}, {callback[15:]}"
        data = {
            "taskId": entry.job_id,
            "state": "failed",
            "failCode": "INVALID_INPUT",
            "failMsg": text,
        }
        sandbox.fault(on="get", do={"status": 200, "body": {"code": 200, "data": data}}, times=None)
        ended = await collect(entry, client, archive, EAGER_ALARM, confirm_seconds=0.01)
        assert ended.outcome is Outcome.FAILED
    stored = ""
    for name in archive.bucket.names(""):
        found = archive.bucket.read(name)
        assert found is not None
        stored += found.body.decode()
    told = "\n".join(each.getMessage() for each in caplog.records)
    assert "Failed to fetch" in stored
    assert "botocore" in {each.name.partition(".")[0] for each in caplog.records}
    for secret in (sandbox.key, escaped_key, signature_of(signed), callback.rpartition("/")[2]):
        assert secret not in stored
        assert secret not in told


def test_notes_of_older_versions_are_cleaned_when_they_are_read_and_ids_stay(
    archive: Archive,
) -> None:
    """A record with NUL, halves of characters, megabytes and an odd id still works."""
    order = ordered(archive, "old")
    note = "no\x00\x1b[2J" + "x" * 5_000_000
    old = {
        "clip_key": order.clip_key, "state": "submitted", "order": order.model_dump(mode="json"),
        "at_most_usd": "1", "claim": "a" * 32, "by": "m:1", "job_id": "c 1;\x00",
        "history": [{"at": "2026-01-01T00:00:00Z", "state": "submitted", "note": note}],
        "attempts": [{"number": 1, "claim": "b" * 32, "job_id": "c\u202e0", "state": "failed",
                      "at_most_usd": "1", "why": note}],
    }  # fmt: skip
    archive.bucket.put(
        layout.ledger_record(order.clip_key), json.dumps(old).encode(), "application/json"
    )
    entry = record(archive, order)
    assert (entry.job_id, entry.attempts[0].job_id) == ("c 1;\x00", "c\u202e0")
    for text in (entry.last_note, entry.attempts[0].why):
        assert text.startswith("no")
        assert len(text) <= LONGEST_NOTE
        assert "\x00" not in text
        assert "\x1b" not in text
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    moved = archive.ledger.archived(version, "s3://b/k", Decimal(1))
    assert moved.entry.job_id == "c 1;\x00"
