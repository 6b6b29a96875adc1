"""A real inbox of messages: a web server that Prefect's notification blocks call.

And how to wait until Prefect heeds the automations that send to it.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prefect import flow
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import emit_event
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture

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


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """An inbox that takes messages until the block ends."""
    with Inbox() as inbox:
        thread = threading.Thread(target=inbox.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield inbox
        finally:
            inbox.shutdown()
            thread.join()


@flow
def do_nothing() -> None:
    """A flow to deploy."""


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
