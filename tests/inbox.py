"""A real inbox of messages: a web server that Prefect's notification blocks call."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prefect.blocks.notifications import CustomWebhookNotificationBlock

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
