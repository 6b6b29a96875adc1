"""The money path over real HTTP and S3: one paid job per clip key, whatever is answered."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.client import BeforeSend, ClientSettings, KlingClient
from prefect_kling.kling.errors import (
    BalanceTooLow,
    JobFailed,
    KeyRefused,
    RequestRefused,
    Unavailable,
)
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import (
    ClipHeld,
    StorageRefused,
    StorageUnavailable,
    StudioError,
)
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive
from prefect_kling.studio.money.budget import find_reservation
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings
from prefect_kling.studio.money.record import BEFORE_A_JOB
from prefect_kling.studio.money.settlement import close_failed, wait_for_paid_job
from prefect_kling.studio.money.submission import (
    PREPARE_SECONDS,
    SubmitOptions,
    sender_window,
    submit_once,
)
from prefect_kling.studio.storage.concurrency import in_thread
from tests.orders import record

USD = Decimal(1)
QUICK = SubmitOptions(busy=0.3, look_again=0.05, retry_pause=0.05)
STEADY = SubmitOptions(look_again=0.05)
EAGER = PollPolicy(first=0.05, longest=0.1, deadline=30)


@pytest.fixture
def order(request: pytest.FixtureRequest) -> ClipOrder:
    """An order of this test's own."""
    return ClipOrder(
        request=VideoRequest(model="kling-v3-omni", prompt=request.node.name, duration=3)
    )


@pytest.fixture
async def hasty(sandbox: Sandbox) -> AsyncIterator[KlingClient]:
    """A client that gives up on an answer after a second."""
    settings = ClientSettings(base_url=sandbox.base_url, create_seconds=1.0)
    async with KlingClient(SecretStr(sandbox.key), settings) as client:
        yield client


def made(sandbox: Sandbox, order: ClipOrder) -> int:
    """How many jobs the API really made for an order."""
    return sum(job["body"].get("prompt") == order.request.prompt for job in sandbox.jobs())


NAMES_A_JOB = json.dumps({"code": 400, "msg": "no", "data": {"taskId": "c7"}})


async def test_an_order_is_paid_once_and_then_found(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The second submission returns the first one's job."""
    first = await submit_once(order, client, archive, QUICK)
    again = await submit_once(order, client, archive, QUICK)
    assert first.job_id == again.job_id
    assert made(sandbox, order) == 1


async def test_of_sixteen_callers_one_pays(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Whoever loses the race waits for the winner's job id."""
    entries = await asyncio.gather(*(submit_once(order, client, archive, QUICK) for _ in range(16)))
    assert len({entry.job_id for entry in entries}) == 1
    assert made(sandbox, order) == 1


UNKNOWN: list[dict[str, Any]] = [
    {"do": {"status": 503}},
    {"do": {"status": 502}, "after_commit": True},
    {"do": {"code": 500}, "after_commit": True},
    {"do": {"html": True}, "after_commit": True},
    {"do": {"drop": True}},
    {"do": {"drop": True}, "after_commit": True},
    {"do": {"stall": 3}, "after_commit": True},
]


@pytest.mark.parametrize("fault", UNKNOWN, ids=json.dumps)
async def test_an_unknown_outcome_is_held_and_never_sent_again(
    fault: dict[str, Any], order: ClipOrder, hasty: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Whether the job was made or not: the clip is held, and asking again sends nothing."""
    sandbox.fault(on="create", **fault)
    for _ in range(3):
        with pytest.raises(ClipHeld, match="may have cost up to"):
            await submit_once(order, hasty, archive, QUICK)
    assert record(archive, order).state is EntryState.HELD
    assert made(sandbox, order) == (1 if fault.get("after_commit") else 0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 400}, RequestRefused),
        ({"code": 400}, RequestRefused),
        ({"status": 401}, KeyRefused),
        ({"code": 402}, BalanceTooLow),
    ],
    ids=str,
)
async def test_a_refusal_releases_the_intent(
    fault: dict[str, Any],
    kind: type[Exception],
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Nothing was paid, so once the cause is gone the same order goes through."""
    sandbox.fault(on="create", do=fault)
    with pytest.raises(kind):
        await submit_once(order, client, archive, QUICK)
    assert record(archive, order).state is EntryState.RELEASED
    assert (await submit_once(order, client, archive, QUICK)).state is EntryState.SUBMITTED
    assert made(sandbox, order) == 1


@pytest.mark.parametrize("status", [409, 423, 425, 499])
async def test_an_answer_on_no_list_is_held(
    status: int, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A gateway that gave up, or knows such a job, proves no refusal: nothing is sent again."""
    sandbox.fault(on="create", do={"status": status}, after_commit=True)
    for _ in range(2):
        with pytest.raises(ClipHeld, match="may have cost up to"):
            await submit_once(order, client, archive, QUICK)
    assert made(sandbox, order) == 1


@pytest.mark.parametrize("status", [400, 429, 502])
async def test_an_id_in_a_bad_answer_is_kept_and_never_paid_again(
    status: int, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The clip is held with the id, and not even `resubmit` sends it again."""
    sandbox.fault(on="create", do={"status": status, "body": NAMES_A_JOB}, after_commit=True)
    for on_unknown in ("hold", "resubmit", "resubmit"):
        terms = SubmitOptions(on_unknown=on_unknown, busy=0.3, look_again=0.05)
        with pytest.raises(ClipHeld) as caught:
            await submit_once(order, client, archive, terms)
        assert caught.value.job_id == "c7"
    entry = record(archive, order)
    assert (entry.state, entry.job_id, entry.attempt) == (EntryState.HELD, "c7", 1)
    assert made(sandbox, order) == 1


@pytest.mark.parametrize("trouble", [StorageUnavailable, StorageRefused])
async def test_an_id_in_a_bad_answer_is_written_with_insistence(
    trouble: type[StudioError],
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that is away for a while delays a job's note and does not prevent it."""
    hold = archive.ledger.hold
    failures = [trouble("not now"), trouble("not yet")]

    def hold_in_the_end(*args: Any, **kwargs: Any) -> VersionedEntry:
        if failures:
            raise failures.pop()
        return hold(*args, **kwargs)

    monkeypatch.setattr(archive.ledger, "hold", hold_in_the_end)
    sandbox.fault(on="create", do={"status": 500, "body": NAMES_A_JOB})
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, QUICK)
    assert (record(archive, order).state, record(archive, order).job_id) == (EntryState.HELD, "c7")
    assert failures == []


async def test_few_clips_at_a_time_are_between_claim_and_job_id(
    client: KlingClient, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many clips and event loops, a kill leaves this many in doubt at most."""
    create = client.create
    in_doubt: list[int] = []

    async def counting(request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        states = [page.entry.state for page in map(archive.ledger.read, keys) if page is not None]
        in_doubt.append(sum(state in BEFORE_A_JOB for state in states))
        await asyncio.sleep(0.05)
        return await create(request, before_send)

    monkeypatch.setattr(client, "create", counting)
    prompts = [f"few at a time {archive.bucket.prefix} {number}" for number in range(12)]
    orders = [
        ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
        for prompt in prompts
    ]
    keys = [order.clip_key for order in orders]
    terms = SubmitOptions(sends_at_once=3)

    async def several(mine: list[ClipOrder]) -> None:
        await asyncio.gather(*(submit_once(order, client, archive, terms) for order in mine))

    await several(orders)
    assert len(in_doubt) == 12
    assert 2 <= max(in_doubt) <= 3


def test_the_window_covers_all_that_a_sender_may_insist_on() -> None:
    """Nobody calls a sender dead that may still be writing its job's id down."""
    settings = ClientSettings(connect_seconds=7, create_seconds=90)
    assert sender_window(settings, insist=300) > PREPARE_SECONDS + 7 + 90 + 300
    assert ReconcileSettings().longest_silence >= sender_window(ClientSettings())


async def test_a_job_that_is_named_after_a_release_is_waited_for_and_counted(
    order: ClipOrder, client: KlingClient, archive_block: KlingArchive
) -> None:
    """A person released the clip too early: the sender's job is its job after all."""
    archive = Archive(archive_block.get_archive().bucket, cap_usd=Decimal(5))
    create = client.create

    async def released_meanwhile(request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        job = await create(request, before_send)
        page = archive.ledger.read(order.clip_key)
        assert page is not None
        archive.ledger.release(archive.ledger.hold(page, "vanished"), "released by a person")
        archive.budget.settle(page.entry, Decimal(0))
        return job

    client.create = released_meanwhile  # type: ignore[method-assign]
    entry = await submit_once(order, client, archive, QUICK)
    assert record(archive, order).state is EntryState.SUBMITTED
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert find_reservation(accounts, order.clip_key, entry.claim)
    assert order.clip_key in {marker.clip_key for marker in archive.ledger.open_markers()}


async def test_a_job_of_an_earlier_claim_is_added_to_the_record(
    order: ClipOrder, client: KlingClient, archive: Archive
) -> None:
    """Another claim has the clip by now: the late id is noted, no reason to send again."""
    create = client.create

    async def taken_over_meanwhile(request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        job = await create(request, before_send)
        page = archive.ledger.read(order.clip_key)
        assert page is not None
        archive.ledger.release(archive.ledger.hold(page, "vanished"), "released by a person")
        archive.ledger.claim(order, ClaimRequest(USD))
        return job

    client.create = taken_over_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ClipHeld) as caught:
        await submit_once(order, client, archive, QUICK)
    entry = record(archive, order)
    assert entry.state is EntryState.CLAIMED
    assert [late.job_id for late in entry.late_jobs] == [caught.value.job_id]
    page = archive.ledger.read(order.clip_key)
    assert page is not None
    archive.ledger.hold(page, "vanished")
    chosen = SubmitOptions(on_unknown="resubmit", look_again=0.05)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, chosen)


async def test_a_run_that_is_cancelled_while_it_claims_leaves_nothing_in_doubt(
    order: ClipOrder, client: KlingClient, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is awaited and given back: nothing was sent, and nobody needs to be asked."""
    claim = archive.ledger.claim
    begun = threading.Event()

    def slow(*args: Any) -> VersionedEntry:
        begun.set()
        time.sleep(0.3)
        return claim(*args)

    monkeypatch.setattr(archive.ledger, "claim", slow)
    running = asyncio.create_task(submit_once(order, client, archive, QUICK))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert record(archive, order).state is EntryState.RELEASED


@pytest.mark.parametrize("status", [400, 500])
async def test_half_a_character_in_the_servers_words_stops_no_record(
    status: int, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A text that was cut inside a sign is written down without it, and a named job is kept."""
    body = json.dumps({"code": status, "msg": "no \ud83d", "data": {"taskId": "c7"}})
    sandbox.fault(on="create", do={"status": status, "body": body})
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, QUICK)
    assert (record(archive, order).state, record(archive, order).job_id) == (EntryState.HELD, "c7")


async def test_a_busy_api_is_queued_for(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """429 costs nothing and is tried again until it passes."""
    sandbox.fault(on="create", do={"status": 429, "retry_after": 0}, times=3)
    heard: list[str] = []
    await submit_once(order, client, archive, STEADY, heard.append)
    assert made(sandbox, order) == 1
    assert len(heard) == 3


async def test_a_busy_answer_is_no_attempt_of_a_clip_that_is_sent_again_by_choice(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Only requests that may have been taken count: a lost one, and after many busy answers one."""
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, QUICK)
    sandbox.fault(on="create", do={"status": 429, "retry_after": 0}, times=4)
    chosen = SubmitOptions(on_unknown="resubmit", look_again=0.05)
    entry = await submit_once(order, client, archive, chosen)
    assert made(sandbox, order) == 1
    assert entry.attempt == 2
    assert [each.state for each in entry.attempts] == ["unknown"]


async def test_a_clip_that_was_sent_as_often_as_it_may_is_still_queued_for_a_busy_api(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Its last request was not taken, so it is repeated; a run that gives up leaves it so."""
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, QUICK)
    sandbox.fault(on="create", do={"status": 429}, times=None)
    last = replace(QUICK, on_unknown="resubmit", max_attempts=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await submit_once(order, client, archive, last)
    assert record(archive, order).state is EntryState.HELD
    sandbox.clear_faults()
    entry = await submit_once(order, client, archive, last)
    assert (entry.attempt, made(sandbox, order)) == (2, 1)


async def test_a_busy_api_is_not_queued_for_for_ever(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """After `busy` seconds the caller is told, and the intent is released."""
    sandbox.fault(on="create", do={"status": 429}, times=None)
    with pytest.raises(Unavailable):
        await submit_once(order, client, archive, QUICK)
    assert record(archive, order).state is EntryState.RELEASED


async def test_an_api_that_cannot_be_reached_costs_nothing(
    order: ClipOrder, archive: Archive
) -> None:
    """A refused connection means that nothing was sent."""
    async with KlingClient(
        SecretStr("sk_x"), ClientSettings(base_url="http://127.0.0.1:9/api/v1")
    ) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await submit_once(order, client, archive, QUICK)
    assert record(archive, order).state is EntryState.RELEASED


async def test_a_cancelled_run_waits_a_while_for_the_answer_to_a_paid_request(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The answer that comes within the grace is written down: nobody needs to decide anything."""
    create = client.create

    async def slow(request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        job = await create(request, before_send)
        await asyncio.sleep(0.5)
        return job

    client.create = slow  # type: ignore[method-assign]
    running = asyncio.create_task(submit_once(order, client, archive, QUICK))
    while made(sandbox, order) == 0:
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert record(archive, order).state is EntryState.SUBMITTED


async def test_a_cancelled_run_is_held_if_no_answer_comes_within_the_grace(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The record says that the run was cancelled, and how long it waited."""
    sandbox.fault(on="create", do={"stall": 5}, after_commit=True)
    hasty = SubmitOptions(grace=0.2)
    running = asyncio.create_task(submit_once(order, client, archive, hasty))
    while made(sandbox, order) == 0:
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    entry = record(archive, order)
    assert entry.state is EntryState.HELD
    assert "cancelled while its request was under way" in entry.last_note


async def test_a_cancelled_run_whose_request_was_refused_ends_cancelled_and_holds_nothing(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The refusal that comes within the grace is certain: the claim is given back."""
    create = client.create
    refused = asyncio.Event()
    is_cancelled = asyncio.Event()

    async def slow(request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        try:
            return await create(request, before_send)
        finally:
            refused.set()
            await is_cancelled.wait()

    client.create = slow  # type: ignore[method-assign]
    sandbox.fault(on="create", do={"status": 402})
    running = asyncio.create_task(submit_once(order, client, archive, QUICK))
    await refused.wait()
    running.cancel()
    asyncio.get_running_loop().call_later(0.05, is_cancelled.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert record(archive, order).state is EntryState.RELEASED
    assert made(sandbox, order) == 0


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_the_id_of_a_paid_job_that_cannot_be_written_down_is_logged(
    is_cancelled: bool,
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For whoever is called: the log may be the only place that has it."""
    begun = threading.Event()

    def away(*args: Any) -> VersionedEntry:
        begun.set()
        raise StorageUnavailable("the store is away")

    monkeypatch.setattr(archive.ledger, "submitted", away)
    options = replace(QUICK, insist=0.2)
    running = asyncio.create_task(submit_once(order, client, archive, options))
    await asyncio.to_thread(begun.wait)
    if is_cancelled:
        running.cancel()
    with pytest.raises((ClipHeld, asyncio.CancelledError)):
        await running
    (job_id,) = [
        job["id"] for job in sandbox.jobs() if job["body"]["prompt"] == order.request.prompt
    ]
    (line,) = [each for each in caplog.records if each.levelname == "CRITICAL"]
    assert job_id in line.getMessage()


@pytest.mark.parametrize("moment", ["reserve", "mark_sending"])
async def test_a_run_that_is_cancelled_before_the_first_byte_sends_nothing(
    moment: str,
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim is released, even if the connection stood already."""
    owner = {"reserve": archive.budget, "mark_sending": archive.ledger}[moment]
    original = getattr(owner, moment)
    begun = threading.Event()
    go_on = threading.Event()

    def slow(*args: Any) -> Any:
        begun.set()
        go_on.wait(10)
        return original(*args)

    monkeypatch.setattr(owner, moment, slow)
    running = asyncio.create_task(submit_once(order, client, archive, QUICK))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert record(archive, order).state is EntryState.RELEASED
    assert made(sandbox, order) == 0


async def test_what_was_only_claimed_by_a_vanished_process_is_sent(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Nothing had left yet, so nobody needs to decide anything."""
    archive.ledger.claim(order, ClaimRequest(USD))
    brief = SubmitOptions(window=2.0, look_again=0.05)
    assert (await submit_once(order, client, archive, brief)).state is EntryState.SUBMITTED
    assert made(sandbox, order) == 1


async def test_what_a_vanished_process_may_have_sent_is_held(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A sending record older than the window has no living sender, and nobody sends it again."""
    archive.ledger.mark_sending(archive.ledger.claim(order, ClaimRequest(USD)))
    nobody_lives_that_long = SubmitOptions(window=-1.0, look_again=0.01)
    with pytest.raises(ClipHeld, match="vanished"):
        await submit_once(order, client, archive, nobody_lives_that_long)
    assert made(sandbox, order) == 0


async def test_a_sender_whose_claim_was_released_sends_nothing(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It slept until others called it dead: it finds out before its first byte leaves."""
    mark_sending = archive.ledger.mark_sending
    slept: list[str] = []

    def after_a_sleep(version: VersionedEntry) -> VersionedEntry:
        if not slept:
            slept.append(version.entry.claim)
            archive.ledger.release_dead_claim(version, "vanished")
        return mark_sending(version)

    monkeypatch.setattr(archive.ledger, "mark_sending", after_a_sleep)
    entry = await submit_once(order, client, archive, STEADY)
    assert made(sandbox, order) == 1
    assert entry.claim not in slept


async def test_a_vanished_senders_clip_is_sent_again_only_if_that_was_chosen(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """With on_unknown="resubmit" the very run that finds the dead sender goes on."""
    archive.ledger.mark_sending(archive.ledger.claim(order, ClaimRequest(USD)))
    chosen = SubmitOptions(on_unknown="resubmit", window=2.0, look_again=0.05)
    assert (await submit_once(order, client, archive, chosen)).state is EntryState.SUBMITTED
    assert made(sandbox, order) == 1


async def test_a_young_intent_is_waited_for(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A second process waits for the first one's request, then shares its job."""
    page = archive.ledger.claim(order, ClaimRequest(USD))
    waiting = asyncio.create_task(submit_once(order, client, archive, QUICK))
    job = await client.create(order.request)
    await in_thread(archive.ledger.submitted, page, job.job_id)
    assert (await waiting).job_id == job.job_id
    assert made(sandbox, order) == 1


async def test_a_failed_job_is_tried_again_only_if_that_makes_sense(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A passing failure gets attempts up to the limit, a final one none; all are recorded."""
    for code, attempts in (("UPSTREAM_BUSY", 3), ("CONTENT_MODERATION", 1)):
        order = ClipOrder(
            request=VideoRequest(
                model="kling-v3-omni", prompt=f"[fail:{code}] {archive.bucket.prefix}"
            )
        )
        for _ in range(attempts):
            entry = await submit_once(order, client, archive, QUICK)
            with pytest.raises(JobFailed, match=code) as failure:
                await wait_for_paid_job(entry, client, archive, EAGER)
            assert [await close_failed(entry, failure.value, archive) for _ in range(2)] == [
                True,
                False,
            ]
        with pytest.raises(JobFailed, match=code) as refused:
            await submit_once(order, client, archive, QUICK)
        assert "prefect-kling ledger retry" in str(refused.value)
        assert made(sandbox, order) == record(archive, order).attempt == attempts


async def test_signed_links_are_sent_and_never_written_down(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The API gets a link that works, the ledger keeps the address it stands for."""
    request = VideoRequest.model_validate(
        {
            "model": "kling-v3-omni",
            "prompt": f"signed {archive.bucket.prefix}",
            "image_list": [{"image_url": f"{ARCHIVE_URL}frames/x.png", "type": "first_frame"}],
        }
    )
    order = ClipOrder(request=request)
    await submit_once(order, client, archive, QUICK)
    sent = next(job["body"] for job in sandbox.jobs() if job["body"]["prompt"] == request.prompt)
    assert "Signature" in sent["image_list"][0]["image_url"]
    stored = archive.bucket.read(f"ledger/jobs/{order.clip_key}.json")
    assert stored is not None
    assert b"Signature" not in stored.body
    assert ARCHIVE_URL.encode() in stored.body


async def test_a_job_id_that_cannot_be_written_is_told(
    order: ClipOrder, client: KlingClient, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store is gone between POST and receipt, the error carries the job's id."""

    def gone(*args: object) -> None:
        raise StorageUnavailable("the store is gone")

    monkeypatch.setattr(archive.ledger, "submitted", gone)
    with pytest.raises(ClipHeld, match="is paid for") as caught:
        await submit_once(order, client, archive, SubmitOptions(insist=0.2))
    assert caught.value.job_id
