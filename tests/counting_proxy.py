"""A proxy before a server on loopback that counts its connections, with or without TLS."""

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class CountingProxy:
    """Where it listens, and what came over it."""

    port: int
    host: str
    target: tuple[str, int]
    accepted: int = 0
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection in both directions until either side ends."""
        self.accepted += 1
        self.open += 1
        try:
            there, back = await asyncio.open_connection(*self.target)
            both = (_carry(reader, back), _carry(there, writer))
            # The proxy may end before those who use it.
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*both)
        finally:
            self.open -= 1


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        return
    finally:
        writer.close()


def self_signed(folder: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 into one file, and return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def counting_proxy(
    host: str, port: int, certificate: Path | None = None
) -> Iterator[CountingProxy]:
    """Run a proxy before a server in a thread of its own, until the block ends."""
    proxy = CountingProxy(0, "127.0.0.1", (host, port))
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def run(end: asyncio.Event) -> None:
        server = await asyncio.start_server(proxy.serve, proxy.host, 0, ssl=context)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await end.wait()
        server.close()

    end = asyncio.Event()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run(end))

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
