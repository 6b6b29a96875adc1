"""Automations as code: made once, kept up to date, with messages that a person can act on.

Every alarm is provoked and its message is read where it arrives: at a web server, sent by a real
Prefect server. `test_silence.py` has those about what is not heard of any more, and
`tests/runs/test_approval.py` the one about an approval that is wanted.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed, Failed

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.automations import (
    ADVANCE_NAME,
    ALARM_MESSAGES,
    RECEIVER_NAME,
    SWEEP_NAME,
    WORKERS_NAME,
    _block_id,
    _create,
    _twin_of_advance,
    advance_automation,
    bring_up_to_date,
    line_of,
    message_automations,
)
from prefect_kling.flows import (
    advance_films,
    collect_finished,
    generate_batch,
    generate_clip,
    produce_film,
    submit_film,
)
from prefect_kling.flows.collect import ALARMS
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, FilmIncomplete, StoryboardInvalid
from prefect_kling.studio.media.picture_checks import Suspicion
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import ClaimRequest
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.telemetry.events import announce_alarm, announce_open_picks
from tests.deployments.conftest import Call, is_documented
from tests.inbox import ENOUGH_SECONDS, Inbox, do_nothing, open_inbox, until_loaded

pytestmark = pytest.mark.usefixtures("prefect_ui")
NAMES = [*ALARM_MESSAGES, RECEIVER_NAME]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """An inbox that is open."""
    with open_inbox() as inbox:
        yield inbox


@pytest.mark.slow
async def test_many_clips_that_land_together_are_one_run_of_upkeep() -> None:
    """The first of them starts it; one that lands after the window starts the next."""
    upkeep = await do_nothing.ato_deployment(name=f"upkeep {secrets.token_hex(4)}")
    deployment = await upkeep.aapply()
    window = timedelta(seconds=3)
    automation = await advance_automation(deployment, window).acreate()
    try:
        await until_loaded()
        for number in range(5):
            emit_event("kling.job.completed", {"prefect.resource.id": f"kling.clip.{number}"})
        assert await runs_of(deployment, 1) == 1
        await asyncio.sleep(window.total_seconds())
        emit_event("kling.job.completed", {"prefect.resource.id": "kling.clip.late"})
        assert await runs_of(deployment, 2) == 2
    finally:
        await automation.adelete()
        async with get_client() as api:
            await api.delete_deployment(deployment)


async def runs_of(deployment: UUID, least: int) -> int:
    """Wait until a deployment has so many runs, and return how many it has."""
    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    async with get_client() as api, asyncio.timeout(ENOUGH_SECONDS):
        while True:
            found = await api.read_flow_runs(deployment_filter=only)
            if len(found) >= least:
                return len(found)
            await asyncio.sleep(0.1)


@pytest.fixture
async def notified(inbox: Inbox) -> AsyncIterator[Inbox]:
    """An inbox to which the automations of this package send."""
    await inbox.block.asave("alerts", overwrite=True)
    block = await _block_id(f"{inbox.block.get_block_type_slug()}/alerts")
    kept = await bring_up_to_date(message_automations(block))
    assert [line_of(each) for each in kept] == [f"created: {name}" for name in NAMES]
    await until_loaded()
    yield inbox
    for name in NAMES:
        await (await Automation.aread(name=name)).adelete()


async def nothing_is_deployed() -> None:
    """Forget what another file's tests may have deployed on this server."""
    async with get_client() as api:
        for name in ("advance-films/advance-films", "collect-finished/collect-finished"):
            try:
                found = await api.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
            await api.delete_deployment(found.id)


@pytest.mark.slow
async def test_a_program_reads_what_became_of_each_automation(
    call: Call, prefect_ui: str, notified: Inbox
) -> None:
    """One document with the outcome of each, and the reason of what was left out."""
    await nothing_is_deployed()
    reference = f"{notified.block.get_block_type_slug()}/alerts"
    words = ("automations", "--notify", reference, "--json")
    done = await asyncio.to_thread(call, *words, PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert is_documented(told, "AutomationsKept")
    assert all(is_documented(each, "AutomationKept") for each in told["automations"])
    outcomes = {each["name"]: each["outcome"] for each in told["automations"]}
    assert outcomes == dict.fromkeys(NAMES, "unchanged") | dict.fromkeys(
        [ADVANCE_NAME, SWEEP_NAME, WORKERS_NAME], "left_out"
    )


@pytest.mark.slow
async def test_there_is_one_automation_of_a_name_and_it_is_kept_up_to_date(
    notified: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version renews what nobody has changed; what somebody has changed is left and named."""
    await nothing_is_deployed()
    reference = f"{notified.block.get_block_type_slug()}/alerts"
    lines = [line_of(each) for each in await _create(reference)]
    assert lines[: len(NAMES)] == [f"unchanged: {name}" for name in NAMES]
    assert f"left out, advance-films is not deployed: {ADVANCE_NAME}" in lines
    assert f"left out, collect-finished is not deployed: {SWEEP_NAME}" in lines

    held, gone = "kling: a clip is held", "kling: a paid video is gone"
    edited = await Automation.aread(name=held)
    action = edited.actions[0]
    assert isinstance(action, SendNotification)
    edited.actions = [action.model_copy(update={"subject": "Look here"})]
    edited.enabled = False
    await edited.aupdate()
    twin = await Automation.aread(name=gone)
    await twin.acreate()
    newer = replace(ALARM_MESSAGES[gone], subject="In newer words")
    monkeypatch.setitem(ALARM_MESSAGES, gone, newer)

    lines = [line_of(each) for each in await _create(reference)]
    word = "left as it is, made by an earlier version or changed by hand (--replace renews it)"
    assert f"{word}: {held}" in lines
    assert f"renewed: {gone}" in lines
    assert await subjects(gone) == ["In newer words"]
    assert await subjects(held) == ["Look here"]

    assert f"renewed: {held}" in map(line_of, await _create(reference, replace=True))
    assert await subjects(held) == [ALARM_MESSAGES[held].subject]
    # Somebody has switched it off: that stays.
    assert not (await Automation.aread(name=held)).enabled


async def subjects(name: str) -> list[str]:
    """The subjects of all automations of this name."""
    async with get_client() as api:
        found = await api.read_automations_by_name(name)
    return [str(each.actions[0].subject) for each in found]  # type: ignore[union-attr]


async def test_films_are_advanced_by_one_automation_only() -> None:
    """Where prefect.yaml has a trigger that does the same, none is made beside it."""
    upkeep = await do_nothing.ato_deployment(name="advance-films")
    upkeep.name = "advance-films"
    deployment = await upkeep.aapply()
    other = advance_automation(deployment)
    other.name = f"a clip has landed {secrets.token_hex(4)}"
    await other.acreate()
    try:
        assert await _twin_of_advance(deployment) == other.name
        await other.adisable()
        assert await _twin_of_advance(deployment) is None
    finally:
        await other.adelete()
        async with get_client() as api:
            await api.delete_deployment(deployment)


@pytest.mark.slow
async def test_a_held_clip_is_a_message_that_says_what_to_do(
    notified: Inbox,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    prefect_ui: str,
) -> None:
    """A lost answer is one message: the prompt, what it may cost, why, the command, the run."""
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=f"A lamp {number}", duration=3)
        for number in range(2)
    ]
    for request in (requests[0], requests[0], requests[1]):
        sandbox.fault(on="create", do={"drop": True})
        with pytest.raises(ClipHeld):
            await generate_clip(request, credentials, archive_block)
    await notified.about("A lamp 1")
    (message,) = await notified.about("A lamp 0")
    key = ClipOrder(request=requests[0]).clip_key
    first, second, why, what, link = message["text"].splitlines()
    assert link.startswith(f"{prefect_ui}/runs/flow-run/")
    assert message["subject"] == "Kling: a clip is held, it may have been paid for"
    assert (first, second) == ("A lamp 0", f"Clip {key}, at most $0.1899")
    assert why.startswith("the answer was lost")
    assert what == (
        f"It is never sent again by itself. To see it and decide: prefect-kling ledger show {key}"
    )


@pytest.mark.slow
async def test_a_video_that_is_gone_or_about_to_be_is_a_message(
    notified: Inbox,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
) -> None:
    """A sweep tells of a job the API has forgotten, and until when one that soon will be exists."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="A kettle", duration=3))
    archive.ledger.submitted(
        archive.ledger.claim(order, ClaimRequest(Decimal("0.1899"))), "clnosuchjob"
    )
    await collect_finished(credentials, archive_block)
    announce_alarm(
        "expiring",
        order,
        "the API deletes it at 2030-01-01 10:00 UTC: too short",
        Decimal("0.19"),
        "clx5y",
    )
    (gone,) = await notified.about("clnosuchjob, at most $0.1899")
    assert gone["subject"] == "Kling: the API does not know a paid job any more"
    assert gone["text"].startswith(f"A kettle\nClip {order.clip_key}, job clnosuchjob")
    (expiring,) = await notified.about("2030-01-01")
    assert expiring["subject"] == "Kling: a paid video is about to be deleted"
    assert expiring["text"].splitlines()[0:2] == [
        "A kettle",
        f"Clip {order.clip_key}, job clx5y, at most $0.19",
    ]


@flow
async def sweep_that_finds(orders: dict[str, ClipOrder]) -> None:
    """Tell of clips as a sweep does."""
    for kind, order in orders.items():
        announce_alarm(kind, order, f"it is {kind}", Decimal("0.1899"), "clx5y")


async def test_every_alarm_about_a_clip_says_what_how_much_and_where(
    notified: Inbox, prefect_ui: str
) -> None:
    """The prompt, the clip, its job and worst price, why, the next command, and the run."""
    orders = {
        kind: ClipOrder(
            request=VideoRequest(model="kling-v3-omni", prompt=f"A clip that is {kind}", duration=3)
        )
        for kind in ALARMS
    }
    await sweep_that_finds(orders)
    for kind, order in orders.items():
        (message,) = await notified.about(f"A clip that is {kind}")
        _, clip, why, command, link = message["text"].splitlines()
        assert clip == f"Clip {order.clip_key}, job clx5y, at most $0.1899"
        assert why == f"it is {kind}"
        assert "prefect-kling ledger " in command
        assert link.startswith(f"{prefect_ui}/runs/flow-run/")


@pytest.mark.slow
async def test_a_clip_that_looks_wrong_is_a_message(
    notified: Inbox,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    prefect_ui: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what it has cost, which check it fails, and where the video and the run are."""
    # The sandbox paints nothing that looks wrong.
    black = Suspicion(rule="black", measured=3.0, threshold=1.0, at=0.0)
    monkeypatch.setattr(Clip, "suspicions", (black,))
    request = VideoRequest(model="kling-v3-omni", prompt="A dark clip", duration=3)
    clip = await generate_clip(request, credentials, archive_block)
    (message,) = await notified.about("A dark clip")
    lines = message["text"].splitlines()
    assert message["subject"] == "Kling: a clip looks wrong: black"
    assert lines[1] == f"Clip {clip.clip_key}, job {clip.job_id}, $0.1899"
    assert lines[2] == str(black)
    assert lines[3] == clip.uri
    assert lines[-1].startswith(f"{prefect_ui}/runs/flow-run/")


@pytest.mark.slow
async def test_takes_that_wait_for_picks_are_a_message(notified: Inbox, prefect_ui: str) -> None:
    """With the run to open, of how many shots, and until when."""
    run_id = uuid4()
    until = datetime(2030, 1, 1, 10, tzinfo=UTC)
    announce_open_picks(run_id, "film Lamp", shots=2, until=until)
    (message,) = await notified.about("film Lamp has made takes of 2 shots")
    assert message["subject"] == "Kling: film Lamp waits for takes to be picked"
    assert "2030-01-01 10:00 UTC" in message["text"]
    assert message["text"].endswith(f"\n{prefect_ui}/runs/flow-run/{run_id}")


@pytest.mark.slow
async def test_a_budget_that_runs_low_is_a_message(
    notified: Inbox, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The clip that passes four fifths of the cap is followed by a message with both sums."""
    capped = archive_block.model_copy(update={"cap_usd": Decimal("0.20")})
    request = VideoRequest(model="kling-v3-omni", prompt="A dear clip", duration=3)
    await generate_clip(request, credentials, capped)
    (message,) = await notified.about("$0.1899 of $0.20 are spent or set aside.")
    assert "/runs/flow-run/" in message["text"].splitlines()[-1]
    assert message["subject"] == "Kling: the budget of archive is nearly spent"


@pytest.mark.slow
async def test_what_fails_is_a_message_that_says_why_what_was_paid_and_where(
    notified: Inbox,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    prefect_ui: str,
) -> None:
    """A film, a clip, a batch and a storyboard with a mistake: one message each, with a link.

    So is a film that was sent and left and cannot go on.
    """
    tag = archive.bucket.prefix.strip("/")
    bad = f"[fail:CONTENT_MODERATION] {tag}"
    shots = f"[{{prompt: Good {tag}, duration: 3}}, {{prompt: '{bad} film', duration: 3}}]"
    film = f"title: Half {tag}\nscenes:\n  - shots: {shots}\n"
    with pytest.raises(FilmIncomplete):
        await produce_film(film, credentials, archive_block)
    with pytest.raises(StoryboardInvalid):
        await produce_film(f"title: Wrong {tag}\nshotz: []\n", credentials, archive_block)
    refused = VideoRequest(model="kling-v3-omni", prompt=f"{bad} clip", duration=3)
    with pytest.raises(JobFailed):
        await generate_clip(refused, credentials, archive_block)
    table = f"prompt,duration\nA mug {tag},3\n{bad} row,3\n"
    await generate_batch(table, credentials, archive_block)

    left = f"title: Left {tag}\nscenes:\n  - shots: [{{prompt: '{bad} left', duration: 3}}]\n"
    await submit_film(left, credentials, archive_block)
    async with asyncio.timeout(ENOUGH_SECONDS):
        while not (await collect_finished(credentials, archive_block)).counts.get("failed"):
            await asyncio.sleep(0.1)
    await advance_films(credentials, archive_block)

    (half,) = await notified.about(f"Half {tag}")
    assert half["subject"] == f"Kling: film Half {tag} has failed"
    assert "Clips it has made: 1, paid $0.1899" in half["text"]
    assert "Not made: 1.2" in half["text"]
    (clip,) = [each for each in notified.messages if each["subject"].startswith("Kling: clip [")]
    assert "CONTENT_MODERATION" in clip["text"]
    (batch,) = await notified.about("1 of 2 rows have failed, 0 are held")
    assert "results.csv" in batch["text"]
    async with asyncio.timeout(ENOUGH_SECONDS):
        while f"Kling: Left {tag} has failed" not in {
            each["subject"] for each in notified.messages
        }:
            await asyncio.sleep(0.05)
    (wrong,) = await notified.about("there is no field 'shotz'")
    assert wrong["text"].startswith("storyboard, line 2")
    for message in (half, clip, batch, wrong):
        assert message["text"].splitlines()[-1].startswith(f"{prefect_ui}/runs/flow-run/")


@pytest.mark.slow
async def test_a_run_that_dies_or_is_not_answered_is_a_message(
    notified: Inbox, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Prefect's own events of our flows, and of no others."""
    async with get_client() as api:
        tag = secrets.token_hex(4)
        words = "The flow was paused and never resumed."
        other = await api.create_flow_run(do_nothing, name=f"other {tag}")
        await api.set_flow_run_state(other.id, Crashed(message="killed"))
        died = await api.create_flow_run(generate_clip, name=f"died {tag}")
        await api.set_flow_run_state(died.id, Crashed(message="exit code -9"))
        silent = await api.create_flow_run(produce_film, name=f"unanswered {tag}")
        await api.set_flow_run_state(silent.id, Failed(message=words))
    await notified.about("exit code -9")
    await notified.about("The time to answer is over")
    assert {each["subject"] for each in notified.messages if tag in each["subject"]} == {
        f"Kling: the run died {tag} has died",
        f"Kling: nobody has approved unanswered {tag} in time",
    }


def test_a_missing_notification_block_is_told_in_words() -> None:
    """Which block, and how it is named."""
    with pytest.raises(ValueError, match="name it as type/name"):
        asyncio.run(_block_id("slack-webhook/nowhere"))
