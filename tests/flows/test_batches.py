"""Batches as flows: frozen first, within their money, resumable, the user's columns in results."""

import asyncio
import logging
import threading
from collections import Counter
from typing import Any

import pytest
from prefect import flow
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import (
    advance_films,
    collect_finished,
    generate_batch,
    generate_clip,
    quick_clip,
    submit_batch,
)
from prefect_kling.flows.quick_clip import ClipForm
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.completion import (
    complete_batches,
    note_sending,
    note_sent,
    open_batches,
)
from prefect_kling.studio.batch.results import RowState
from prefect_kling.studio.errors import NotApproved, OverBudget, TableInvalid
from prefect_kling.studio.film.reading import table as table_reader
from prefect_kling.studio.film.reading import yaml_text
from prefect_kling.studio.film.reading.plain_text import unwrapped
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.reconcile import reconcile
from prefect_kling.tasks import prepare_batch, prepare_storyboard
from prefect_kling.telemetry import events
from tests.lane import rest_is_slow

pytestmark = pytest.mark.usefixtures("prefect_ui")


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


def table(archive: Archive, rows: int, wrong: tuple[int, ...] = ()) -> str:
    """A table with an id for each row, some of which order more seconds than there are."""
    tag = archive.bucket.prefix.strip("/")
    lines = ["id,prompt,duration"]
    for number in range(1, rows + 1):
        duration = 99 if number in wrong else 3
        lines.append(f"SKU-{number},A mug {number} {tag},{duration}")
    return "\n".join(lines) + "\n"


async def test_wrong_rows_are_refused_or_skipped_and_later_paid_alone(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Refused whole with all their lines; skipped, the rest is made; corrected, only they are."""
    wrong = tuple(range(5, 300, 10))
    text = table(archive, 300, wrong)
    with pytest.raises(TableInvalid) as refused:
        await generate_batch(text, credentials, archive_block)
    assert [mistake.line for mistake in refused.value.mistakes] == [number + 1 for number in wrong]
    assert str(refused.value.mistakes[-1].line) in refused.value.message
    assert made(sandbox, archive) == 0

    few = text.splitlines()[:7]
    result = await generate_batch("\n".join(few), credentials, archive_block, wrong_rows="skip")
    assert result.counts == {RowState.ARCHIVED: 5, RowState.WRONG: 1}
    rows = list(result.read_rows(archive))
    assert [row.given["id"] for row in rows] == [f"SKU-{number}" for number in range(1, 7)]
    assert "duration" in rows[4].trouble
    assert made(sandbox, archive) == 5

    corrected = "\n".join(few).replace(",99", ",3")
    again = await generate_batch(corrected, credentials, archive_block)
    assert again.counts == {RowState.ARCHIVED: 6}
    assert made(sandbox, archive) == 6


async def test_a_batch_run_again_fills_what_is_missing(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """And pays nothing else; the results are whole both times."""
    tag = archive.bucket.prefix.strip("/")
    text = f"id,prompt,duration,take\n1,A mug {tag},3,1\n2,A jug {tag},3,\n3,A mug {tag},3,2\n"
    sandbox.fault(on="create", do={"status": 402}, times=1)
    first = await generate_batch(text, credentials, archive_block)
    assert Counter(row.state for row in first) == {RowState.ARCHIVED: 2, RowState.FAILED: 1}
    second = await generate_batch(text, credentials, archive_block)
    assert second.table == first.table
    assert second.counts == {RowState.ARCHIVED: 3}
    assert [row.given["id"] for row in second] == ["1", "2", "3"]
    assert len({row.clip_key for row in second}) == 3
    assert made(sandbox, archive) == 3
    assert second.usd == sum(row.clip.usd for row in second if row.clip is not None)


async def test_a_run_that_is_begun_again_goes_on_with_the_table_it_froze(
    archive_block: KlingArchive, archive: Archive
) -> None:
    """Whatever lies at the address by now was approved by nobody."""
    archive.bucket.put("tables/mugs.csv", table(archive, 2).encode(), "text/csv")
    plans: list[Any] = []

    @flow
    async def begun_again() -> None:
        plans.append(await prepare_batch("tables/mugs.csv", archive_block))
        archive.bucket.put("tables/mugs.csv", table(archive, 3).encode(), "text/csv")
        plans.append(await prepare_batch("tables/mugs.csv", archive_block))

    @flow
    async def another_run() -> None:
        plans.append(await prepare_batch("tables/mugs.csv", archive_block))

    await begun_again()
    await another_run()
    assert [plan.rows for plan in plans] == [2, 2, 3]
    assert plans[0].table.name == "mugs"


@pytest.mark.parametrize("what", ["batch", "submit-batch", "clip", "quick-clip"])
@pytest.mark.parametrize(
    ("spending", "error"),
    [
        (Spending(budget_usd="0.10"), OverBudget),
        (Spending(approve_above_usd="0.10"), NotApproved),
    ],
    ids=["budget", "approval"],
)
async def test_nothing_is_sent_beyond_what_may_be_spent(
    what: str,
    spending: Spending,
    error: type[Exception],
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Batches and single clips keep to the same limits as films."""
    prompt = f"A lamp {archive.bucket.prefix.strip('/')}"
    request = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    form = ClipForm(prompt=prompt, seconds=3)
    blocks = (credentials, archive_block)
    runs = {
        "batch": lambda: generate_batch([request], *blocks, spending),
        "submit-batch": lambda: submit_batch([request], *blocks, spending),
        "clip": lambda: generate_clip(request, *blocks, spending=spending),
        "quick-clip": lambda: quick_clip(form, *blocks, spending=spending),
    }
    with pytest.raises(error):
        await runs[what]()
    assert made(sandbox, archive) == 0


async def test_a_budget_counts_what_was_paid_before_there_was_one(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The most that the batch may cost, earlier runs included."""
    text = table(archive, 4)
    sandbox.fault(on="create", do={"status": 402}, times=2)
    first = await generate_batch(text, credentials, archive_block)
    assert first.count(RowState.ARCHIVED) == 2
    spending = Spending(budget_usd=first.usd * 3 / 2)
    with pytest.raises(OverBudget):
        await generate_batch(text, credentials, archive_block, spending)
    assert made(sandbox, archive) == 2
    spending = Spending(budget_usd=first.usd * 2)
    await generate_batch(text, credentials, archive_block, spending)
    assert made(sandbox, archive) == 4


@pytest.mark.parametrize(
    "upkeep", rest_is_slow(["collect-finished", "advance-films"], "collect-finished")
)
async def test_a_batch_that_was_left_completes_itself(
    upkeep: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The upkeep after its last clip has landed writes the results and tells it, once."""
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda name, resource, payload: told.append((name, payload))
    )
    result = await submit_batch(table(archive, 3), credentials, archive_block)
    assert not result.is_complete
    assert [each.id for each in open_batches(archive.bucket)] == [result.table.id]
    async with asyncio.timeout(30):
        while any(job["state"] not in ("completed", "failed") for job in sandbox.jobs()):
            await asyncio.sleep(0.05)
    if upkeep == "advance-films":
        # As the receiver does.
        async with credentials.get_client() as client:
            await reconcile(archive, client)
    for _ in range(2):
        if upkeep == "advance-films":
            await advance_films(credentials, archive_block)
        else:
            await collect_finished(credentials, archive_block)
    completed = [payload for name, payload in told if name == "kling.batch.completed"]
    assert [payload["archived"] for payload in completed] == [3]
    assert list(open_batches(archive.bucket)) == []
    rows = list(result.read_rows(archive))
    assert [(row.given["id"], row.state) for row in rows] == [
        (f"SKU-{number}", RowState.ARCHIVED) for number in (1, 2, 3)
    ]


async def test_a_batch_that_is_still_being_sent_is_not_complete(
    archive_block: KlingArchive, archive: Archive
) -> None:
    """None of its clips may be under way; it is open until all were sent, or its run has died."""
    plan = await prepare_batch(table(archive, 1), archive_block)
    bucket = archive.bucket
    note_sending(plan.table, bucket)
    assert list(complete_batches(archive)) == []
    given_up = complete_batches(archive, longest_sending_seconds=0.0)
    assert [each.table.id for each in given_up] == [plan.table.id]
    note_sending(plan.table, bucket)
    note_sent(plan.table, bucket)
    assert [each.table.id for each in complete_batches(archive)] == [plan.table.id]
    assert list(open_batches(bucket)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("prompt\n" + "A mug with a long handle\n" * 20_000, "put it into the archive's bucket"),
        ("tables/mugs.parquet", "export it as JSON Lines or CSV"),
    ],
    ids=["pasted", "Parquet"],
)
async def test_what_cannot_be_read_here_is_refused_with_advice(
    given: str, words: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Prefect Cloud drops a run with too large parameters without a word."""
    with pytest.raises(TableInvalid, match=words):
        await submit_batch(given, credentials, archive_block)


async def test_the_page_shows_counts_money_and_rows_in_trouble(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive
) -> None:
    """Clips have a link to watch; the addresses of the results are there."""
    tag = archive.bucket.prefix.strip("/")
    text = f"id,prompt,duration\n1,A mug {tag},3\n2,[fail:CONTENT_MODERATION] {tag},3\n"
    result = await generate_batch(text, credentials, archive_block)
    page = await Artifact.get(key="batch-table")
    assert page is not None
    shown = str(page.data)
    for part in (
        "1 of 2 rows",
        f"${result.usd}",
        result.csv_uri,
        "CONTENT",
        "![clip](data:",
        ") [Watch](http",
    ):
        assert part in shown


async def test_rows_and_price_are_told_before_a_budget_refuses(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever hands in a table learns what it would cost before anything is sent."""
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    poor = Spending.model_validate({"budget_usd": 0.2})
    with pytest.raises(OverBudget):
        await generate_batch(table(archive, 3), credentials, archive_block, poor)
    assert "3 requests, 3 different clips: 0 archived" in caplog.text
    assert "to pay $0.5697, at most $" in caplog.text
    assert made(sandbox, archive) == 0


async def test_large_texts_are_read_beside_the_event_loop(
    archive_block: KlingArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes seconds, in which the process polls and stores other clips."""
    readers: list[int] = []

    def note_thread(text: str) -> str:
        readers.append(threading.get_ident())
        return unwrapped(text)

    monkeypatch.setattr(table_reader, "unwrapped", note_thread)
    monkeypatch.setattr(yaml_text, "unwrapped", note_thread)

    @flow
    async def read() -> None:
        await prepare_batch("prompt,duration\nA mug,3\n", archive_block)
        await prepare_storyboard("title: T\nscenes: [{shots: [{prompt: P}]}]\n", archive_block)

    await read()
    assert len(readers) >= 2
    assert threading.get_ident() not in readers
