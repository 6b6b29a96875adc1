"""One pool of connections for each event loop and account, and none that outlives its loop."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from prefect_kling.blocks import KlingCredentials
from prefect_kling.kling import connections
from prefect_kling.kling.errors import KeyRefused, UnreadableReply
from prefect_kling.kling.parameters import ImageInput
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from tests.counting_proxy import CountingProxy, counting_proxy, self_signed

REQUEST = VideoRequest(model="kling-v3-omni", prompt="Counted", duration=3)


@pytest.fixture(params=[pytest.param("http", marks=pytest.mark.slow), "https"])
def proxy(
    request: pytest.FixtureRequest,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CountingProxy]:
    """A proxy before the sandbox that counts connections, over TLS in every second test."""
    certificate = None
    if request.param == "https":
        certificate = self_signed(tmp_path)
        context = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(connections, "trust_store", lambda: context)
    port = urlsplit(sandbox.root_url).port
    assert port is not None
    with counting_proxy("127.0.0.1", port, certificate) as counting:
        yield counting


@pytest.fixture
def block(
    proxy: CountingProxy, sandbox: Sandbox, request: pytest.FixtureRequest
) -> KlingCredentials:
    """Access to the sandbox through the proxy."""
    scheme = request.node.callspec.params["proxy"]
    return KlingCredentials(
        api_key=SecretStr(sandbox.key), base_url=f"{scheme}://127.0.0.1:{proxy.port}/api/v1"
    )


@pytest.mark.slow
async def test_fifty_polls_need_no_fifty_connections(
    block: KlingCredentials, proxy: CountingProxy, sandbox: Sandbox
) -> None:
    """Each waiting clip has a client, and all share one pool: at most one handshake in 50 polls."""
    async with block.get_client() as client:
        job = await client.create(REQUEST)
    sandbox.fault(on="get", do={"state": "processing"}, times=5 * 50)
    paid = proxy.accepted
    policy = PollPolicy(first=0.05, longest=0.05, deadline=120.0)

    async def wait() -> None:
        async with block.get_client() as client:
            await poll_until_done(client, job.job_id, policy)

    await asyncio.gather(*(wait() for _ in range(5)))
    assert proxy.accepted - paid <= 5


async def test_every_paid_call_has_a_connection_of_its_own(
    block: KlingCredentials, proxy: CountingProxy
) -> None:
    """A kept connection may close just then, and a paid call lost to that is an unknown outcome."""
    async with block.get_client() as client:
        for count in (1, 2, 3):
            await client.create(REQUEST)
            assert proxy.accepted == count


def test_the_connections_end_with_their_event_loop(
    block: KlingCredentials, proxy: CountingProxy
) -> None:
    """No loop leaves one behind, in whatever thread it runs, and the next loop opens its own."""

    async def ask() -> None:
        async with block.get_client() as client:
            await asyncio.gather(*(client.balance() for _ in range(3)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: asyncio.run(ask()), range(8)))
    accepted = proxy.accepted
    assert accepted >= 8
    deadline = time.monotonic() + 5
    while proxy.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert proxy.open == 0


async def test_a_pool_that_nobody_uses_is_closed_and_opened_again(
    block: KlingCredentials, proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has nothing to ask keeps no connection."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.05)
    client = block.get_client()
    for count in (1, 2):
        await client.balance()
        assert proxy.accepted == count
        async with asyncio.timeout(5):
            while proxy.open:
                await asyncio.sleep(0.01)


async def test_a_changed_key_is_used_at_once(block: KlingCredentials) -> None:
    """Connections belong to a key: a client of another key asks with that one."""
    other = block.model_copy(update={"api_key": SecretStr("sk_another00000000000")})
    async with block.get_client() as client, other.get_client() as wrong:
        await client.balance()
        with pytest.raises(KeyRefused):
            await wrong.balance()
        await client.balance()


@pytest.mark.parametrize("proxy", ["http"], indirect=True)
async def test_what_one_client_sent_is_hidden_in_what_another_reads(
    block: KlingCredentials, sandbox: Sandbox
) -> None:
    """The signature of an input's link is a secret whoever of the same account reads the answer."""
    signature = "b5ff0c64d6a1495e8d3c0ab2f5c6e7d8"
    link = f"https://pictures.example/mug.png?X-Amz-Signature={signature}"
    sent = REQUEST.model_copy(update={"image_list": [ImageInput(image_url=link)]})
    async with block.get_client() as client:
        job = await client.create(sent)
    sandbox.fault(on="get", do={"status": 400, "body": f"cannot read {signature}"})
    async with block.get_client() as client:
        with pytest.raises(UnreadableReply) as caught:
            await client.get(job.job_id)
    assert signature not in str(caught.value)
    assert "cannot read" in str(caught.value)
