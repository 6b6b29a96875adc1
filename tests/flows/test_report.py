"""The accounts of an archive: what everybody paid, equal to what the API charged, to the cent."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import pytest
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import generate_batch, produce_film, produce_scene, report_spending
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import ClipHeld, WrongReport
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.film.pending import PendingFilm
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.ledger import Entry, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.report import Money, Report
from prefect_kling.studio.money.settlement import close_failed, keep_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.conftest import eager_credentials
from tests.orders import ordered

pytestmark = pytest.mark.usefixtures("prefect_ui")

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
SWEEP = ReconcileSettings(window_seconds=-1.0, confirm_seconds=0.05)
PASSING = JobFailed("the API was busy", fail_code="UPSTREAM_BUSY", retryable=True)
FILM = """
title: Dawn
tags: {{project: spring, client: Acme}}
defaults: {{duration: 3}}
scenes:
  - shots:
      - {{prompt: A boat, take: {take}}}
      - {{prompt: A lamp, mode: pro}}
"""
TABLE = """
prompt,                     duration, tag.project, tag.client
A mug,                      3,        autumn,
A jug,                      4,        ,            Gamma
[fail:CONTENT_MODERATION],  3,        autumn,
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An API whose account is this test's alone, and that charges less than the listed price."""
    settings = SandboxSettings(
        render_seconds=(0.0, 0.0), short_side=180, charge_percent=(100, 90, 80)
    )
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def credentials(sandbox: Sandbox) -> KlingCredentials:
    """Access to it, as a block that polls fast."""
    return eager_credentials(sandbox)


@pytest.fixture
async def client(credentials: KlingCredentials) -> AsyncIterator[KlingClient]:
    """A client of it."""
    async with credentials.get_client() as client:
        yield client


@pytest.fixture
def archive_block(s3: LocalS3) -> KlingArchive:
    """An empty archive with a cap, so that it keeps accounts from its first clip on."""
    block = local_archive(s3, prefix=f"test-{secrets.token_hex(6)}")
    block.cap_usd = Decimal(50)
    return block


def film(take: int) -> Storyboard:
    """A film of two shots; the first one in this take."""
    return read_storyboard(FILM.format(take=take))


def paid_for(name: str) -> SubmitOptions:
    """What a clip is submitted with that belongs to something of this name."""
    return SubmitOptions(
        film=FilmCap(name), look_again=0.05, retry_pause=0.05, tags={"client": name}
    )


def version_of(archive: Archive, order: ClipOrder) -> VersionedEntry:
    """The record as it stands."""
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    return version


def usd(value: object) -> Decimal:
    """An amount as the sandbox tells it."""
    return Decimal(str(value))


def by_group(report: Report) -> dict[str, Money]:
    """The money of a report by the words of each group."""
    return {" ".join(row.group): row.money for row in report.rows}


async def completed(client: KlingClient, entry: Entry) -> None:
    """Wait until the API has finished a job."""
    await poll_until_done(client, str(entry.job_id), EAGER)


async def pay_for_a_late_video(client: KlingClient, archive: Archive, sandbox: Sandbox) -> None:
    """A first job counts as failed wrongly, a second one is paid, and both have videos."""
    order = ordered(archive, "late")
    first = await submit_once(order, client, archive, paid_for("late"))
    await completed(client, first)
    await close_failed(first, PASSING, archive)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=first.job_id, times=1)
    second = await submit_once(order, client, archive, paid_for("later"))
    await completed(client, second)
    job = await client.get(str(second.job_id))
    await keep_paid_job(second, job, client, archive)


async def hold(
    client: KlingClient, archive: Archive, sandbox: Sandbox, *, is_made: bool
) -> ClipOrder:
    """A request whose answer is lost, after or before the API has made its job."""
    order = ordered(archive, f"held {is_made}")
    sandbox.fault(on="create", do={"drop": True}, after_commit=is_made)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, paid_for("held"))
    return order


async def give_up(client: KlingClient, archive: Archive, sandbox: Sandbox) -> None:
    """A paid job that the API does not know any more."""
    order = ordered(archive, "given up")
    entry = await submit_once(order, client, archive, paid_for("given up"))
    await completed(client, entry)
    sandbox.fault(on="get", do={"status": 404}, job_id=entry.job_id, times=None)
    await decisions.give_up(version_of(archive, order), client, archive, "somebody")


async def test_a_report_equals_the_apis_account_and_the_budgets(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """Films, a batch, failures, a late video, held and given-up clips, and one under way."""
    await produce_scene(film(take=2), credentials, archive_block)
    await produce_film(film(take=1), credentials, archive_block)
    spending = Spending(tags={"client": "Beta"})
    batch = await generate_batch(TABLE, credentials, archive_block, spending)
    await pay_for_a_late_video(client, archive, sandbox)
    await give_up(client, archive, sandbox)
    await hold(client, archive, sandbox, is_made=False)
    taken = await hold(client, archive, sandbox, is_made=True)
    running = ordered(archive, "[seconds:600]")
    under_way = await submit_once(running, client, archive, paid_for("running"))

    (taken_id,) = [
        str(each["id"]) for each in sandbox.jobs() if each["body"]["prompt"] == taken.request.prompt
    ]
    await poll_until_done(client, taken_id, EAGER)
    (job,) = [each for each in sandbox.jobs() if each["id"] == taken_id]
    made = report_archive(archive, ("film",))
    charged = usd(sandbox.stats()["paid_usd"])
    assert made.total.paid_usd + usd(job["cost"]) == charged
    told = [await client.record(each["id"]) for each in sandbox.jobs()]
    assert sum(each.credits or 0 for each in told if each is not None) == charged

    films = by_group(made)
    assert films["running"].reserved_usd == usd(sandbox.balance()["frozen"])
    assert films["held"] == Money(
        requests=2, held_usd=2 * version_of(archive, taken).entry.at_most_usd
    )
    assert (films["given up"].clips, films["given up"].wasted_usd) == (
        0,
        films["given up"].paid_usd,
    )
    assert (films["late"].clips, films["later"].clips) == (0, 1)
    assert films["late"].wasted_usd == films["late"].paid_usd > 0
    dawn = films["dawn"]
    assert (dawn.clips, dawn.paid_usd, dawn.charged_usd) == (3, dawn.charged_usd, dawn.paid_usd)
    assert dawn.paid_usd < dawn.estimated_usd
    unused = archive.find(film_clip(archive, take=2).clip_key)
    assert unused is not None
    assert dawn.unused_usd == unused.usd
    rows = films[f"batch {batch.table.id}"]
    assert (rows.requests, rows.failed, rows.clips, rows.paid_usd) == (3, 1, 2, batch.usd)

    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.spent_usd == made.total.paid_usd
    assert accounts.spent_on_films_usd == {
        name: money.paid_usd for name, money in films.items() if money.paid_usd
    }
    set_aside = sum(each.usd for each in accounts.reserved.values())
    assert set_aside == made.total.reserved_usd + made.total.held_usd

    who = by_group(report_archive(archive, ("project", "client")))
    assert {name: money.clips for name, money in who.items() if money.clips} == {
        "spring Acme": 3,
        "autumn Beta": 1,
        " Gamma": 1,
        " later": 1,
    }

    # The held job is found, and the running one is waited for no longer: nothing is unknown now.
    version = version_of(archive, taken)
    await decisions.adopt(version, await client.get(taken_id), client, archive, "somebody")
    await reconcile(archive, client, SWEEP)
    again = report_archive(archive, ("month", "model", "mode"))
    assert again.total.paid_usd == usd(sandbox.stats()["paid_usd"])
    assert sum(row.money.paid_usd for row in again.rows) == again.total.paid_usd
    assert again.total.reserved_usd == under_way.at_most_usd


def film_clip(archive: Archive, take: int) -> ClipOrder:
    """The order of the film's first shot in some take."""
    return plan_film(film(take)).clips[0].order


async def test_the_report_of_a_schedule_is_a_page_of_its_run(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    client: KlingClient,
) -> None:
    """A tag of others stays a text on it, and what there is nothing to report by is refused."""
    tags = {"client": "[x](https://evil.example) | <b>"}
    options = SubmitOptions(film=FilmCap("dusk"), look_again=0.05, tags=tags)
    entry = await submit_once(ordered(archive, "page"), client, archive, options)
    await completed(client, entry)
    await reconcile(archive, client, SWEEP)
    made = await report_spending(archive_block, "client,film")
    assert made.total.clips == 1
    artifact = await Artifact.get("spending")
    assert artifact is not None
    page = str(artifact.data)
    assert f"${made.total.paid_usd} are paid for 1 clips" in page
    assert "[x](https://" not in page
    assert "| client | film | requests | clips | paid | estimated | charged |" in page
    assert f" | dusk | 1 | 1 | ${made.total.paid_usd} | " in page
    assert "<b>" not in page
    with pytest.raises(WrongReport, match="did you mean client"):
        await report_spending(archive_block, "clinet")


@pytest.mark.slow
async def test_tags_change_no_clip_and_no_name_of_what_is_pending(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The same film for another client finds every clip, and its records stay as they are."""
    await produce_film(film(1), credentials, archive_block)
    other = film(1).model_copy(update={"tags": {"client": "Other"}})
    assert PendingFilm(storyboard=other).path == PendingFilm(storyboard=film(1)).path
    await produce_film(other, credentials, archive_block, Spending(tags={"project": "winter"}))
    assert len(sandbox.jobs()) == 2
    found = by_group(await asyncio.to_thread(report_archive, archive, ("project", "client")))
    assert {name: money.clips for name, money in found.items()} == {"spring Acme": 2}
