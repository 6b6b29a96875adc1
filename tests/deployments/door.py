"""A receiver that is up, as tests need it: its place, what it announced, and orders of its own."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from prefect_kling.blocks import KlingCredentials
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.deployments.receiver import DEFAULTS, Receiver, ReceiverSettings
from prefect_kling.deployments.receiver_server import (
    CALL_SECONDS,
    MAX_CONNECTIONS,
    receiver_server,
)
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.settlement import Collected, Outcome
from prefect_kling.studio.money.submission import SubmitOptions

SECRET = "nobody-may-read-" + secrets.token_hex(8)
ENOUGH_SECONDS = 400.0


@dataclass
class Door:
    """A running receiver: where it is, the addresses it answers, and what it announced."""

    port: int
    block: KlingCredentials
    tell: Callable[[Entry, Collected], None]
    told: list[tuple[Entry, Collected]] = field(default_factory=list)

    @property
    def addresses(self) -> CallbackAddresses:
        """The addresses the API is given."""
        assert self.block.callbacks is not None
        return self.block.callbacks

    @property
    def terms(self) -> SubmitOptions:
        """SubmitOptions to submit on, so that the API calls here."""
        return SubmitOptions(look_again=0.05, callback=self.addresses.address)

    async def announce(self, entry: Entry, collected: Collected) -> None:
        """Note what is announced, and pass it on."""
        self.told.append((entry, collected))
        self.tell(entry, collected)

    def outcomes(self, *keys: str) -> list[Outcome]:
        """Return how the announced clips ended, in order, without those that still run."""
        ends = [
            (entry, told.outcome)
            for entry, told in self.told
            if told.outcome is not Outcome.RUNNING
        ]
        return [outcome for entry, outcome in ends if not keys or entry.clip_key in keys]


def with_receiver(credentials: KlingCredentials, port: int) -> KlingCredentials:
    """The credentials with a receiver at a port of this machine."""
    fields = {
        "receiver_url": f"http://127.0.0.1:{port}/kling",
        "receiver_secret": SecretStr(SECRET),
    }
    return credentials.model_copy(update=fields)


@contextlib.contextmanager
def serving(
    receiver: Receiver,
    port: int,
    call_seconds: float = CALL_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> Iterator[None]:
    """Run a receiver in a thread until the block ends."""
    app = receiver.app("/kling")
    server = receiver_server(app, "127.0.0.1", port, call_seconds, max_connections)
    thread = threading.Thread(target=server.run, name="receiver", daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def open_door(
    credentials: KlingCredentials,
    archive: Archive,
    tell: Callable[[Entry, Collected], None] = lambda entry, collected: None,
    settings: ReceiverSettings = DEFAULTS,
    call_seconds: float = CALL_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> Iterator[Door]:
    """Run a receiver of an archive until the block ends; `tell` hears what it announces."""
    port = free_ports(1)[0]
    door = Door(port, with_receiver(credentials, port), tell)
    receiver = Receiver(door.addresses, door.block.get_client(), archive, door.announce, settings)
    with serving(receiver, port, call_seconds, max_connections):
        yield door


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; fail if it never is."""
    async with asyncio.timeout(ENOUGH_SECONDS):
        while not is_so():
            await asyncio.sleep(0.02)
