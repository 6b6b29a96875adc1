"""Automations as code: made once, with messages that a person can read when something happens."""

import asyncio
import contextlib
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest
from prefect import flow
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import emit_event
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.automations import (
    ADVANCE_NAME,
    ALARM_MESSAGES,
    _block_id,
    _create,
    advance_automation,
    create_missing,
    message_automations,
)
from prefect_kling.flows import collect_finished, generate_clip
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.telemetry.events import announce_alarm

pytestmark = pytest.mark.usefixtures("prefect_ui")
ENOUGH_SECONDS = 120.0


class Inbox(ThreadingHTTPServer):
    """Where the messages arrive: what Slack would be."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Delivery)
        self.messages: list[dict[str, str]] = []

    @property
    def block(self) -> CustomWebhookNotificationBlock:
        """The notification block that sends here."""
        form = {"subject": "{{subject}}", "text": "{{body}}"}
        url = f"http://127.0.0.1:{self.server_address[1]}/hook"
        return CustomWebhookNotificationBlock(name="alerts", url=url, json_data=form)

    async def about(self, words: str) -> list[dict[str, str]]:
        """Wait for a message with these words, and return all there are by then."""
        async with asyncio.timeout(ENOUGH_SECONDS):
            while not (found := [each for each in self.messages if words in each["text"]]):
                await asyncio.sleep(0.05)
        return found


class _Delivery(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        """Keep one message."""
        self.server.messages.append(
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        )
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  named by http.server
        """Say nothing."""


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """An inbox that is open."""
    with Inbox() as inbox:
        thread = threading.Thread(target=inbox.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield inbox
        finally:
            inbox.shutdown()
            thread.join()


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


async def until_loaded() -> None:
    """Wait until Prefect evaluates the automations that were made by now, in their order."""
    name = f"kling.test.{secrets.token_hex(4)}"
    deployment = await (await do_nothing.ato_deployment(name=name)).aapply()
    run = RunDeployment(source="selected", deployment_id=deployment, parameters={})
    trigger = EventTrigger(expect={name}, posture=Posture.Reactive, threshold=1)
    automation = await Automation(name=name, trigger=trigger, actions=[run]).acreate()
    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    async with get_client() as api, asyncio.timeout(ENOUGH_SECONDS):
        while not await api.read_flow_runs(deployment_filter=only):
            emit_event(name, {"prefect.resource.id": name})
            await asyncio.sleep(0.5)
        await api.delete_deployment(deployment)
    await automation.adelete()


@flow
def do_nothing() -> None:
    """A flow to deploy."""


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
    assert await create_missing(message_automations(block)) == list(ALARM_MESSAGES)
    yield inbox
    for name in ALARM_MESSAGES:
        await (await Automation.aread(name=name)).adelete()


async def test_automations_are_made_once(notified: Inbox) -> None:
    """A second time nothing is made, and what is not deployed is left out."""
    # Another file's tests may have deployed everything on this server.
    async with get_client() as api:
        with contextlib.suppress(ObjectNotFound):
            await api.delete_deployment(
                (await api.read_deployment_by_name("advance-films/advance-films")).id
            )
    lines = await _create(f"{notified.block.get_block_type_slug()}/alerts")
    left_out = f"left out, advance-films is not deployed: {ADVANCE_NAME}"
    assert lines == [*(f"left as it is: {name}" for name in ALARM_MESSAGES), left_out]
    for name, told in ALARM_MESSAGES.items():
        trigger = (await Automation.aread(name=name)).trigger
        assert told.event in str(trigger)
        assert told.resource in str(trigger)


async def test_a_held_clip_is_a_message_that_says_what_to_do(
    notified: Inbox, credentials: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """A lost answer ends in one message: the prompt, what it may cost, why, and the command."""
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
    first, second, why, what = message["text"].splitlines()
    assert message["subject"] == "Kling: a clip is held, it may have been paid for"
    assert (first, second) == ("A lamp 0", f"Clip {key}, at most $0.1899")
    assert why.startswith("the answer was lost")
    assert what == (
        f"It is never sent again by itself. To see it and decide: prefect-kling ledger show {key}"
    )


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
    assert expiring["text"].splitlines()[0:2] == ["A kettle", f"Clip {order.clip_key}, job clx5y"]


async def test_a_budget_that_runs_low_is_a_message(
    notified: Inbox, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The clip that passes four fifths of the cap is followed by a message with both sums."""
    capped = archive_block.model_copy(update={"cap_usd": Decimal("0.20")})
    request = VideoRequest(model="kling-v3-omni", prompt="A dear clip", duration=3)
    await generate_clip(request, credentials, capped)
    (message,) = await notified.about("$0.1899 of $0.20 are spent or set aside.")
    assert message["subject"] == "Kling: the budget of archive is nearly spent"


def test_a_missing_notification_block_is_told_in_words() -> None:
    """Which block, and how it is named."""
    with pytest.raises(ValueError, match="name it as type/name"):
        asyncio.run(_block_id("slack-webhook/nowhere"))
