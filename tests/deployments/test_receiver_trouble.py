"""The receiver in bad times: no call about an unknown job is lost while store or API are away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

from prefect_kling.blocks import KlingCredentials
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.deployments.receiver import DEFAULTS, ReceiverSettings
from prefect_kling.kling.client import KlingClient
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.settlement import Outcome
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.bucket import Bucket
from tests.deployments.door import Door, open_door, until
from tests.kill.fault_proxy import LOST, RESET, UNAVAILABLE, FaultProxy, fault_proxy
from tests.kill.worker import s3_client
from tests.orders import ordered, record

STOPS_WITHIN_SECONDS = 10.0
QUICK = ReceiverSettings(
    concurrent_clips=1,
    first_delay=0.02,
    longest_delay=0.1,
    repeat_delay=0.05,
    confirm_seconds=0.2,
)


@pytest.fixture
def proxy(s3: LocalS3) -> Iterator[FaultProxy]:
    """The receiver's own way to the store, on which calls can be spoilt."""
    with fault_proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def door(
    credentials: KlingCredentials,
    archive: Archive,
    s3: LocalS3,
    proxy: FaultProxy,
) -> Iterator[Door]:
    """A receiver with one place, whose store can fail; it pauses for moments only."""
    behind = LocalS3(proxy.endpoint, s3.access_key, s3.secret_key)
    bucket = Bucket(s3_client(behind, attempts=1), archive.bucket.name, archive.bucket.prefix)
    with open_door(credentials, Archive(bucket), settings=QUICK) as door:
        yield door


@asynccontextmanager
async def calling() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who calls."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield http


async def held(
    name: str, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> tuple[Entry, str]:
    """A clip that is held, and the job that was made for it; the API has not called."""
    order = ordered(archive, name)
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, SubmitOptions())
    (job,) = [job for job in sandbox.jobs() if job["body"]["prompt"] == order.request.prompt]
    await until_ended(job["id"], client)
    return record(archive, order), job["id"]


async def until_ended(job_id: str, client: KlingClient) -> None:
    """Wait until the API is done with a job."""
    while not (await client.get(job_id)).state.is_terminal:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", [UNAVAILABLE, RESET, LOST])
async def test_a_store_that_is_away_when_the_api_calls(
    kind: str,
    door: Door,
    proxy: FaultProxy,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Each kind of call to the store fails at first; the one call resolves the held clip."""
    entry, job_id = await held(f"away {kind}", client, archive, sandbox)
    # In the order in which they come: the record is read, read and changed, the markers removed.
    for number in (0, 2, 3, 5):
        proxy.spoil(archive.bucket.prefix.strip("/"), number, kind)
    async with calling() as http:
        await http.post(door.addresses.address(entry), json={"taskId": job_id})
    await until(lambda: record(archive, entry.order).state is EntryState.ARCHIVED)
    clip = archive.find(entry.clip_key)
    assert clip is not None
    assert clip.job_id == job_id


async def test_an_api_that_is_away_when_it_has_called(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """It answers nothing for a while, and whoever calls meanwhile finds the one place free."""
    entry, job_id = await held("silent", client, archive, sandbox)
    other = await submit_once(ordered(archive, "meanwhile"), client, archive, SubmitOptions())
    sandbox.fault(on="get", do={"status": 503, "retry_after": 0}, times=None, job_id=job_id)
    async with calling() as http:
        await http.post(door.addresses.address(entry), json={"taskId": job_id})
        while not door.outcomes(other.clip_key):
            await http.post(door.addresses.address(other), json={})
    assert record(archive, entry.order).state is EntryState.HELD
    sandbox.clear_faults()
    await until(lambda: door.outcomes(entry.clip_key) == [Outcome.ARCHIVED])


async def test_a_file_that_cannot_be_had_yet(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A clip nobody waits for does not lie until the next sweep because its download broke off."""
    entry = await submit_once(ordered(archive, "cut"), client, archive, SubmitOptions())
    await until_ended(str(entry.job_id), client)
    sandbox.fault(on="file", do={"cut_after": 0}, times=4)
    async with calling() as http:
        await http.post(door.addresses.address(entry), json={})
    await until(lambda: door.outcomes(entry.clip_key) == [Outcome.ARCHIVED])


async def test_what_waiting_cannot_cure_is_told_at_once(
    door: Door,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong key is no passing trouble: the log names clip and job for a person to adopt."""
    entry, job_id = await held("locked", client, archive, sandbox)
    sandbox.fault(on="get", do={"status": 401}, times=None)
    async with calling() as http:
        await http.post(door.addresses.address(entry), json={"taskId": job_id})
    await until(lambda: f"clip {entry.clip_key}, job {job_id}: " in caplog.text)
    assert "tried again" not in caplog.text


async def test_more_calls_than_may_wait_are_tried_once(
    credentials: KlingCredentials,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Memory is bounded: beyond so many, a call is logged and left to sweeps and persons."""
    entry, job_id = await held("crowded", client, archive, sandbox)
    sandbox.fault(on="get", do={"status": 503, "retry_after": 0}, times=None, job_id=job_id)
    settings = replace(QUICK, max_waiting=0)
    with open_door(credentials, archive, settings=settings) as door:
        async with calling() as http:
            await http.post(door.addresses.address(entry), json={"taskId": job_id})
        await until(lambda: f"clip {entry.clip_key}, job {job_id}: " in caplog.text)


async def test_a_call_is_not_lost_behind_one_that_names_another_job(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """While a call with a wrong id is looked into, the right one arrives: it resolves the clip."""
    entry, job_id = await held("behind", client, archive, sandbox)
    sandbox.fault(on="get", do={"stall": 0.5}, job_id="clnosuchjob")
    polled = sandbox.stats()["polled"]
    async with calling() as http:
        await http.post(door.addresses.address(entry), json={"taskId": "clnosuchjob"})
        await until(lambda: sandbox.stats()["polled"] > polled)
        await http.post(door.addresses.address(entry), json={"taskId": job_id})
    await until(lambda: door.outcomes(entry.clip_key) == [Outcome.ARCHIVED])


async def test_a_receiver_that_is_stopped_says_what_it_leaves(
    credentials: KlingCredentials,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It does not go on for ten minutes: one last try, and the log names clip and job."""
    caplog.set_level(logging.WARNING, logger="kling.receiver")
    entry, job_id = await held("stopped", client, archive, sandbox)
    sandbox.fault(on="get", do={"status": 503, "retry_after": 0}, times=None, job_id=job_id)
    with open_door(credentials, archive) as door:
        async with calling() as http:
            await http.post(door.addresses.address(entry), json={"taskId": job_id})
        await until(lambda: "tried again" in caplog.text)
        assert f"job {job_id}: " not in caplog.text
    assert f"clip {entry.clip_key}, job {job_id}: " in caplog.text
    assert record(archive, entry.order).state is EntryState.HELD


async def test_an_address_that_leaked_cannot_make_it_ask_the_api_without_end(
    credentials: KlingCredentials, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Whatever ids the calls name: one look at a time for a clip, with a pause after each."""
    entry = await submit_once(ordered(archive, "leaked"), client, archive)
    sandbox.fault(on="get", do={"state": "processing"}, times=None, job_id=entry.job_id)
    polled = sandbox.stats()["polled"]
    started = asyncio.get_running_loop().time()
    with open_door(credentials, archive) as door:
        async with calling() as http:
            for batch in range(10):
                calls = [
                    http.post(
                        door.addresses.address(entry), json={"taskId": f"clinvented{batch}{n}"}
                    )
                    for n in range(60)
                ]
                assert {answer.status_code for answer in await asyncio.gather(*calls)} == {202}
        looked = asyncio.get_running_loop().time() - started
        assert sandbox.stats()["polled"] - polled <= 2 + looked / DEFAULTS.repeat_delay


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /kling/a HTTP/1.1\r\nHost: a\r\n",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1",
    ],
)
async def test_a_call_that_never_ends_is_ended(
    sent: bytes, credentials: KlingCredentials, client: KlingClient, archive: Archive
) -> None:
    """Neither a head nor a body may keep a connection for longer than a call may take."""
    entry = await submit_once(ordered(archive, "endless"), client, archive)
    with open_door(credentials, archive, call_seconds=0.3) as door:
        path = urlsplit(door.addresses.address(entry)).path.encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(sent.replace(b"{path}", path))
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


async def test_half_open_calls_beyond_the_limit_keep_it_busy_for_a_while_only(
    credentials: KlingCredentials, client: KlingClient, archive: Archive
) -> None:
    """Further calls are told to come again; the API does, and polls find what it has not told."""
    entry = await submit_once(ordered(archive, "crowded"), client, archive)
    with open_door(credentials, archive, call_seconds=2.0, max_connections=20) as door:
        address = door.addresses.address(entry)
        opened = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(30)]
        for _, writer in opened:
            writer.write(b"POST /kling/a HTTP/1.1\r\nHost: a\r\n")
        async with calling() as http, asyncio.timeout(60):
            body = {"taskId": entry.job_id}
            answer = await http.post(address, json=body)
            assert answer.status_code == 503
            while answer.status_code == 503:
                await asyncio.sleep(0.2)
                answer = await http.post(address, json=body)
            assert answer.is_success
        for _, writer in opened:
            writer.close()


async def test_it_stops_soon_whatever_is_open(
    credentials: KlingCredentials, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A call and a download without an end take ten seconds at most, and nothing is lost."""
    entry = await submit_once(ordered(archive, "stopping"), client, archive)
    await until_ended(str(entry.job_id), client)
    sandbox.fault(on="file", do={"stall": 300}, times=None)
    with open_door(credentials, archive) as door:
        async with calling() as http:
            await http.post(door.addresses.address(entry), json={"taskId": entry.job_id})
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"POST /kling/a HTTP/1.1\r\nHost: a\r\n")
        await until(lambda: sandbox.stats()["downloads"] > 0)
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < STOPS_WITHIN_SECONDS
    writer.close()
    sandbox.clear_faults()
    assert record(archive, entry.order).state is EntryState.SUBMITTED
