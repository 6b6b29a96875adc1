"""Batches whose copies, parts and markers are damaged or forged."""

import asyncio
from decimal import Decimal

import pytest
from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import advance_films, generate_batch
from prefect_kling.flows.batch import make_batch_chunk
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.frozen import freeze
from prefect_kling.studio.batch.results import BatchRow, ResultParts, RowState, merge_results
from prefect_kling.studio.errors import LedgerUnreadable, NotApproved, TableInvalid
from prefect_kling.studio.film.reading.table import read_rows
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout
from prefect_kling.tasks import prepare_batch

pytestmark = pytest.mark.usefixtures("prefect_ui")


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


def table(archive: Archive, rows: int, seconds: int = 3) -> str:
    """A table of some rows."""
    tag = archive.bucket.prefix.strip("/")
    lines = ["id,prompt,duration"]
    lines += [f"SKU-{number},A mug {number} {tag},{seconds}" for number in range(1, rows + 1)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("how", ["planted", "replaced", "chunk"])
async def test_a_copy_that_is_not_what_its_hash_says_pays_nothing(
    how: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Somebody put other rows under the name of a table; nobody has quoted or approved them."""
    small = freeze(read_rows(table(archive, 1)), "table", None)
    large = freeze(read_rows(table(archive, 4, seconds=15)), "table", archive.bucket)
    stored = archive.bucket.read(layout.frozen_table(large.table.id))
    assert stored is not None
    archive.bucket.put(layout.frozen_table(small.table.id), stored.body, "application/jsonl")
    blocks = (credentials, archive_block)
    budget = Spending(approve_above_usd=small.quotes.popitem()[1].at_most_usd)
    runs = {
        "planted": lambda: generate_batch(table(archive, 1), *blocks, budget),
        "replaced": lambda: generate_batch(small.table.id, *blocks, Spending()),
        "chunk": lambda: make_batch_chunk(small.table.id, 1, 1, *blocks),
    }
    with pytest.raises(LedgerUnreadable):
        await runs[how]()
    assert made(sandbox, archive) == 0


async def test_a_claim_of_a_dead_process_is_paid_only_when_it_was_asked_for(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """It has sent nothing, so this run pays for it: that belongs to what this run may cost."""
    prompt = f"A mug {archive.bucket.prefix}"
    request = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    order = ClipOrder(request=request)
    price = quote(request).at_most_usd
    archive.ledger.claim(order, ClaimRequest(at_most_usd=price, silent_seconds=0.5))
    await asyncio.sleep(2)
    with pytest.raises(NotApproved):
        await generate_batch([request], credentials, archive_block, Spending(approve_above_usd=0))
    assert made(sandbox, archive) == 0


async def test_what_is_sent_again_by_choice_is_part_of_what_is_asked(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The clip may be sent three times, and all three be paid: nobody approved more than one."""
    prompt = f"A mug {archive.bucket.prefix}"
    request = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    spending = Spending(approve_above_usd=quote(request).at_most_usd, on_unknown="resubmit")
    with pytest.raises(NotApproved):
        await generate_batch([request], credentials, archive_block, spending)
    assert made(sandbox, archive) == 0


async def test_a_damaged_part_does_not_take_the_results_away(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """What it said is known to ledger and archive."""
    plan = freeze(read_rows(table(archive, 1)), "table", archive.bucket)
    archive.bucket.put(f"{layout.result_parts(plan.table.id)}0.jsonl", b'{"number"', "text/plain")
    result = await generate_batch(table(archive, 1), credentials, archive_block)
    assert result.counts == {RowState.ARCHIVED: 1}


async def test_a_forged_part_hides_no_clip_that_is_held(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """What is archived is said by the archive."""
    sandbox.fault(on="create", do={"status": 503}, times=1)
    result = await generate_batch(table(archive, 1), credentials, archive_block)
    assert result.counts == {RowState.HELD: 1}
    forged = BatchRow(
        number=1, state=RowState.ARCHIVED, clip_key="f" * 32, usd=Decimal(0), uri="s3://x/y.mp4"
    )
    ResultParts(result.table, archive.bucket).write([forged])
    assert merge_results(result.table, archive).counts == {RowState.HELD: 1}


@pytest.mark.parametrize("trouble", ["no table", "no name", "damaged part"])
async def test_a_batch_that_cannot_be_completed_stops_no_other(
    trouble: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Nor the upkeep."""
    broken = {
        "no table": layout.open_batch("a-broken.0123456789abcdef"),
        "no name": layout.open_batch("a-note"),
    }
    if trouble == "damaged part":
        plan = freeze(read_rows(table(archive, 2)), "a-broken", archive.bucket)
        archive.bucket.put(layout.open_batch(plan.table.id), b"sent", "text/plain")
        path = f"{layout.result_parts(plan.table.id)}0.jsonl"
        archive.bucket.put(path, b'{"number"', "text/plain")
    else:
        archive.bucket.put(broken[trouble], b"sent", "text/plain")
    left = freeze(read_rows(table(archive, 1)), "left", archive.bucket)
    archive.bucket.put(layout.open_batch(left.table.id), b"sent", "text/plain")
    await advance_films(credentials, archive_block)
    names = list(archive.bucket.names(layout.OPEN_BATCHES))
    assert layout.open_batch(left.table.id) not in names


async def test_two_tables_of_one_run_are_two(archive_block: KlingArchive, archive: Archive) -> None:
    """A flow of somebody's own may prepare several."""
    rows: list[int] = []

    @flow
    async def own() -> None:
        one = await prepare_batch(table(archive, 1), archive_block)
        two = await prepare_batch(table(archive, 2), archive_block)
        rows.extend([one.rows, two.rows])

    await own()
    assert rows == [1, 2]


async def test_a_table_with_mistakes_is_refused_by_its_id_too(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Whoever does not say that wrong rows are skipped has them refused."""
    text = table(archive, 2).replace("2,A mug", "2,B mug").rstrip()[:-1] + "99\n"
    plan = freeze(read_rows(text), "table", archive.bucket, skip_wrong=True)
    assert plan.wrong == 1
    with pytest.raises(TableInvalid):
        await generate_batch(plan.table.id, credentials, archive_block)
    assert made(sandbox, archive) == 0
