"""The receiver as it runs: calls over HTTP, real archives, and polling that needs none of it."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile

import httpx
import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.deployments.receiver import LARGEST_BODY, ReceiverSettings
from prefect_kling.flows import collect_finished, submit_batch
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import Outcome, keep_paid_job, wait_for_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.deployments.door import ENOUGH_SECONDS, SECRET, Door, open_door, until, with_receiver
from tests.orders import capped, ordered, record


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    return capped(archive, 90)


@pytest.fixture
def door(credentials: KlingCredentials, archive: Archive) -> Iterator[Door]:
    """A receiver that is up."""
    with open_door(credentials, archive, settings=ReceiverSettings(confirm_seconds=0.2)) as door:
        yield door


@pytest.fixture
async def caller() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who calls."""
    async with httpx.AsyncClient(
        timeout=30, trust_env=False, limits=httpx.Limits(max_connections=40)
    ) as http:
        yield http


async def follow(
    order: ClipOrder,
    block: KlingCredentials,
    archive: Archive,
    terms: SubmitOptions,
    polls: PollPolicy | None = None,
) -> Clip:
    """Make a clip as a flow does: submit, wait with the block's polls or these, keep."""
    async with block.get_client() as client:
        entry = await submit_once(order, client, archive, terms)
        policy = polls or block.poll_policy
        job = await wait_for_paid_job(entry, client, archive, policy, is_watched=True)
        return (await keep_paid_job(entry, job, client, archive)).clip


async def test_a_call_of_the_api_finishes_the_clip(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Nobody waits: the API's one call has the clip archived, closed, settled, announced once."""
    order = ordered(archive, "nobody waits")
    entry = await submit_once(order, client, archive, door.terms)
    await until(lambda: bool(door.outcomes()))
    clip, accounts = archive.find(order.clip_key), archive.budget.accounts()
    assert clip is not None
    assert accounts is not None
    assert [(told.outcome, told.clip) for _, told in door.told] == [(Outcome.ARCHIVED, clip)]
    assert (clip.job_id, record(archive, order).state) == (entry.job_id, EntryState.ARCHIVED)
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})


async def test_with_a_receiver_a_clip_takes_six_gets_at_most(
    door: Door, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    """Count every GET about a job: the receiver's and the flow's, polls, charge and file.

    The receiver looks at the job, twice if it is called before the sender has noted the id; then
    come charge and file. Who waits asks nothing, so that three are left for the polls of a longer
    wait.
    """
    archive.fetching = replace(archive.fetching, watch_seconds=0.1)
    caplog.set_level(logging.INFO, logger="httpx")
    orders = [ordered(archive, f"counted {number}") for number in range(4)]
    clips = await asyncio.gather(
        *(follow(order, door.block, archive, door.terms) for order in orders)
    )
    await until(
        lambda: len(door.outcomes()) == len(orders) or not list(archive.ledger.open_markers())
    )
    lines = [each.getMessage() for each in caplog.records if each.name == "httpx"]
    gets = [sum("GET" in line and clip.job_id in line for line in lines) for clip in clips]
    assert all(3 <= count <= 4 for count in gets), gets
    assert all(record(archive, order).state is EntryState.ARCHIVED for order in orders)


async def test_a_failed_job_is_closed_and_announced(
    door: Door, client: KlingClient, archive: Archive
) -> None:
    """The API calls for failures too."""
    order = ordered(archive, "[fail:CONTENT_MODERATION]")
    await submit_once(order, client, archive, door.terms)
    await until(lambda: bool(door.outcomes()))
    failure = door.told[-1][1].failure
    assert failure is not None
    assert (door.outcomes(), failure.fail_code) == ([Outcome.FAILED], "CONTENT_MODERATION")
    assert record(archive, order).state is EntryState.FAILED


async def test_a_lost_answer_is_made_good_by_the_call(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The request was paid and its answer lost: the API's own call resolves it."""
    order = ordered(archive, "lost answer")
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    # Nearly always the call comes after the sender has given up.
    with contextlib.suppress(ClipHeld):
        await submit_once(order, client, archive, door.terms)
    await until(lambda: bool(door.outcomes()))
    assert door.outcomes() == [Outcome.ARCHIVED]
    assert record(archive, order).state is EntryState.ARCHIVED
    assert list(archive.bucket.names("ledger/held/")) == []


@pytest.mark.slow
async def test_an_early_call_is_followed_by_one_that_finishes(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox, caller: httpx.AsyncClient
) -> None:
    """While the API still says "processing" nothing is archived, whatever a call's body claims."""
    order = ordered(archive, "early")
    entry = await submit_once(order, client, archive, SubmitOptions(look_again=0.05))
    sandbox.fault(on="get", do={"state": "processing"}, times=None, job_id=entry.job_id)
    address, said = door.addresses.address(entry), {"taskId": entry.job_id, "state": "completed"}
    assert (await caller.post(address, json={"data": said})).status_code == 202
    await until(lambda: bool(door.told))
    assert (door.told[0][1].outcome, record(archive, order).state) == (
        Outcome.RUNNING,
        EntryState.SUBMITTED,
    )
    sandbox.clear_faults()
    while not door.outcomes():
        await caller.post(address, content=b"")
    assert door.outcomes() == [Outcome.ARCHIVED]


async def test_repeated_calls_do_the_work_once(
    door: Door, client: KlingClient, archive: Archive, sandbox: Sandbox, caller: httpx.AsyncClient
) -> None:
    """A hundred calls for one clip at once: one download, one announcement."""
    order = ordered(archive, "repeated")
    entry = await submit_once(order, client, archive, SubmitOptions(look_again=0.05))
    while not (await client.get(str(entry.job_id))).state.is_terminal:
        await asyncio.sleep(0.02)
    before = sandbox.stats()["downloads"]
    address = door.addresses.address(entry)
    answers = await asyncio.gather(
        *(caller.post(address, json={"taskId": entry.job_id}) for _ in range(100))
    )
    await until(lambda: bool(door.outcomes()))
    assert {answer.status_code for answer in answers} == {202}
    assert door.outcomes() == [Outcome.ARCHIVED]
    assert sandbox.stats()["downloads"] == before + 1


GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe\x00",
    b"<html>",
    b"{}",
    b'{"data": null}',
    b'{"data": [1]}',
    b'{"data": {"taskId": ["a", "b"]}}',
    b'{"taskId": {"a": 1}}',
    b'{"taskId": "\\ud800"}',
    b'{"taskId": "a\\nforged line of a log"}',
    b'{"taskId": "../balance"}',
    b'{"taskId": "clnosuchjob"}',
    b'{"taskId": "' + b"x" * 10_000 + b'"}',
    b'{"taskId": "x", "createTime": 1e308, "completeTime": NaN}',
    b'{"taskId": "x", "raw": ' + b"[" * 800 + b"]" * 800 + b"}",
    b'{"taskId": "x", "resultJson": "' + b"[" * 9_000 + b'"}',
    b"[" * 60_000,
    b"9" * 60_000,
]


@dataclass
class Nuisance:
    """Who calls and means no good, about a clip that is archived and one that is held."""

    http: httpx.AsyncClient
    archived: str
    held: str
    root: str

    async def call(self, number: int) -> tuple[int, int]:
        """Make one call; the status it should get, and the one it got."""
        kinds = [self._forged, self._garbled, self._garbled, self._replayed, self._misdirected]
        if number % 50 == 0:
            big = await self.http.post(self.held, content=b'{"taskId": "' + b"x" * 2**20)
            return 413, big.status_code
        return await kinds[number % 5](number)

    async def _forged(self, number: int) -> tuple[int, int]:
        clip, _, token = self.held.rpartition("/")
        other = self.archived.rpartition("/")[2]
        wrong = [
            other,
            token[:-1],
            token + "0",
            secrets.token_hex(20),
            "%C3%A9" * 40,
            "%ff" * 40,
            "%00",
            "x" * 5000,
        ]
        answer = await self.http.post(
            f"{clip}/{wrong[number // 5 % len(wrong)]}", json={"taskId": "clnosuchjob"}
        )
        return 404, answer.status_code

    async def _garbled(self, number: int) -> tuple[int, int]:
        answer = await self.http.post(self.held, content=GARBAGE[number % len(GARBAGE)])
        return 202, answer.status_code

    async def _replayed(self, number: int) -> tuple[int, int]:
        answer = await self.http.post(self.archived, json={"data": {"state": "failed"}})
        return 202, answer.status_code

    async def _misdirected(self, number: int) -> tuple[int, int]:
        if number % 2:
            where = "/".join(["kling", *"a" * (number % 7)])
            return 404, (await self.http.post(f"{self.root}/{where}", content=b"{}")).status_code
        method = ["GET", "PUT", "DELETE", "PATCH"][number // 10 % 4]
        return 405, (await self.http.request(method, self.held)).status_code


async def test_bad_calls_do_no_harm(
    door: Door,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    caller: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Forged, garbled, huge, misdirected, replayed: each is answered, none changes a thing."""
    for name in ("kling", "kling.receiver", "uvicorn", "uvicorn.error"):
        caplog.set_level(logging.DEBUG, logger=name)
    good, bad = ordered(archive, "good"), ordered(archive, "held")
    await submit_once(good, client, archive, door.terms)
    await until(lambda: bool(door.outcomes()))
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(bad, client, archive, door.terms)
    before = [
        record(archive, good),
        record(archive, bad),
        archive.find(good.clip_key),
        archive.budget.accounts(),
    ]
    addresses = [door.addresses.address(record(archive, order)) for order in (good, bad)]
    nuisance = Nuisance(caller, *addresses, f"http://127.0.0.1:{door.port}")
    answers = await asyncio.gather(*(nuisance.call(number) for number in range(220)))
    wrong = {(meant, got) for meant, got in answers if meant != got}
    assert (len(answers), wrong) == (220, set())
    assert (await caller.get(f"{nuisance.root}/health")).text == "ok"
    assert [record(archive, good), record(archive, bad)] == before[:2]
    assert [archive.find(good.clip_key), archive.budget.accounts()] == before[2:]
    assert (archive.find(bad.clip_key), door.outcomes()) == (None, [Outcome.ARCHIVED])
    # The access log, which `prefect-kling receiver` filters out, is not written by code of ours.
    ours = [each for each in caplog.records if each.name.startswith(("kling", "uvicorn.error"))]
    text = "\n".join(each.getMessage() + str(each.exc_info or "") for each in ours)
    assert "archived" in text
    assert [each.getMessage() for each in ours if each.levelno >= logging.ERROR] == []
    assert [
        hidden
        for hidden in (SECRET, *(each.rpartition("/")[2] for each in addresses))
        if hidden in text
    ] == []


async def test_a_long_body_is_measured_as_it_comes(
    door: Door, archive: Archive, caller: httpx.AsyncClient
) -> None:
    """A body that does not say how long it is, is cut off too; one that just fits is read."""
    order = ordered(archive, "long")
    entry = Entry(
        clip_key=order.clip_key, state="intent", order=order, at_most_usd=1, claim="a" * 32, by=""
    )

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1024

    address, most = door.addresses.address(entry), LARGEST_BODY // 1024
    assert (await caller.post(address, content=pieces(most))).status_code == 202
    assert (await caller.post(address, content=pieces(most + 1))).status_code == 413


async def test_polling_alone_finishes_everything(
    credentials: KlingCredentials, archive: Archive
) -> None:
    """Every call is lost, for nobody listens: polls as rare as those of safety find all clips."""
    soon = PollPolicy(first=0.5, longest=3600.0, growth=2.5, initial_delay=0.2)
    archive.fetching = replace(archive.fetching, receiver_seconds=0.0)
    block = with_receiver(credentials, free_ports(1)[0])
    terms = SubmitOptions(look_again=0.05, callback=block.callback)
    orders = [ordered(archive, f"alone {number}") for number in range(6)]
    async with asyncio.timeout(ENOUGH_SECONDS):
        following = (follow(order, block, archive, terms, soon) for order in orders)
        clips = await asyncio.gather(*following)
    assert {clip.clip_key for clip in clips} == {order.clip_key for order in orders}
    assert {record(archive, order).state for order in orders} == {EntryState.ARCHIVED}
    assert list(archive.ledger.open_markers()) == []


def polls_by(seconds: float, patience: PollPolicy) -> int:
    """How often a wait has polled when a job ends after so many seconds, by arithmetic alone."""
    return len(
        list(
            takewhile(
                lambda at: at < min(seconds, patience.deadline), accumulate(patience.delays())
            )
        )
    )


@pytest.mark.parametrize("jitter", [-1, 0, 1])
def test_no_render_of_an_hour_takes_more_than_six_gets(
    jitter: int, credentials: KlingCredentials
) -> None:
    """Polls until the job ends, the receiver's look, charge and file: six at most."""
    patience = with_receiver(credentials, 1).poll_policy
    off = 1 + jitter * patience.jitter
    patience = replace(
        patience, jitter=0, first=patience.first * off, initial_delay=patience.initial_delay * off
    )
    assert patience.deadline == credentials.wait_minutes * 60 == 3600
    most = {seconds: polls_by(seconds, patience) + 3 for seconds in range(3601)}
    assert (most[142], most[486], max(most.values())) == (3, 4, 6)


def test_the_safety_polls_fall_where_the_documents_say(credentials: KlingCredentials) -> None:
    """With a receiver 3, 10½ and 29 minutes after sending, and at the end; without, as ever."""
    patience = replace(with_receiver(credentials, 1).poll_policy, jitter=0)
    times = takewhile(lambda at: at < patience.deadline, accumulate(patience.delays()))
    assert [at / 60 for at in times] == [3.0, 10.5, 29.25]
    assert credentials.poll_policy.longest == credentials.longest_poll_seconds


@pytest.mark.usefixtures("prefect_ui")
async def test_clips_that_nobody_waits_for_are_all_archived(
    door: Door,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Sent and left: the receiver archives those whose calls arrive, one sweep the rest."""
    tag = archive.bucket.prefix
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=f"{number} {tag}", duration=3)
        for number in range(10)
    ]
    deaf = with_receiver(credentials, free_ports(1)[0])
    heard = await submit_batch(requests[:6], door.block, archive_block)
    unheard = await submit_batch(requests[6:], deaf, archive_block)
    assert not any(row.trouble for row in [*heard, *unheard])
    await until(lambda: len(door.outcomes()) == 6)
    assert all(archive.find(row.clip_key) for row in heard)
    assert not any(archive.find(row.clip_key) for row in unheard)
    await until(
        lambda: all(
            job["state"] == "completed" for job in sandbox.jobs() if tag in str(job["body"])
        )
    )
    findings = await collect_finished(deaf, archive_block)
    assert findings.counts == {"archived": 4}
    assert len({job["id"] for job in sandbox.jobs() if tag in str(job["body"])}) == 10
