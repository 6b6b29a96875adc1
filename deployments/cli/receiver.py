"""`prefect-kling receiver`: the callback receiver as a service."""

import asyncio
import logging
import socket
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit

from prefect.events.worker import EventsWorker

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.cli.ports import port_in_words
from prefect_kling.deployments.cli.signals import until_ended
from prefect_kling.deployments.receiver import Receiver
from prefect_kling.deployments.receiver_server import receiver_server
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.settlement import Collected
from prefect_kling.telemetry.events import announce_ended, announce_receiver


def receiver(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    credentials: str = "default",
    archive: str = "default",
) -> None:
    """Answer the API's callbacks until interrupted; archive each finished clip at once.

    Free. Put it behind TLS at the receiver URL of the credentials block; it answers below
    that URL's path, and `/health`.

    Args:
        host: Where to listen.
        port: The port to listen on.
        credentials: Name of the KlingCredentials block, with receiver URL and secret.
        archive: Name of the KlingArchive block.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # httpx writes a line for every poll.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    service, path = asyncio.run(_load_receiver(credentials, archive))
    next_step = f"End that, or listen elsewhere: prefect-kling receiver --port {port + 1}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with until_ended(), ExitStack() as open_sockets:
        with port_in_words(host, port, next_step):
            listener = socket.create_server((host, port), family=family)
        open_sockets.enter_context(listener)
        # Connections inherit it. Otherwise the second part of an answer waits for 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        receiver_server(service.app(path), host, port).run(sockets=[listener])


async def _load_receiver(credentials: str, archive: str) -> tuple[Receiver, str]:
    """Return the receiver of these blocks and the path below which it answers."""
    credentials_block = await load_block(KlingCredentials, credentials)
    archive_block = await load_block(KlingArchive, archive)
    addresses = credentials_block.callbacks
    if addresses is None:
        raise BlockMissing(
            f"the KlingCredentials block {credentials!r} has no receiver: "
            f"give it a URL and a secret"
        )

    path = urlsplit(addresses.base_url).path.rstrip("/")
    client = credentials_block.get_client()
    service = Receiver(
        addresses,
        client,
        archive_block.get_archive(),
        _announce,
        show_life=partial(_show_life, credentials),
    )
    return service, path


async def _show_life(name: str, stopped: bool) -> None:
    announce_receiver(name, stopped=stopped)
    if stopped:
        # The signal that stops this process ends it before Prefect would send what is left.
        await asyncio.to_thread(EventsWorker.drain_all, timeout=5)


async def _announce(entry: Entry, collected: Collected) -> None:
    announce_ended(entry, collected)
