"""Every state has a way out that a person can take, and no decision pays twice or loses a video."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import BalanceTooLow, JobFailed
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, WrongClip
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.explain import next_steps
from prefect_kling.studio.money.ledger import ClaimRequest, Entry, EntryState, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.settlement import close_failed
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.orders import capped, ordered, record

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=60)
BRIEF = SubmitOptions(look_again=0.05, window=0.5, film=FilmCap("dawn"), retry_pause=0.0)
SWEEP = ReconcileSettings(window_seconds=-1.0, confirm_seconds=0.05)
WHO = "somebody"


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An empty archive with a cap, so that money is accounted for."""
    return capped(archive)


def version_of(archive: Archive, order: ClipOrder) -> VersionedEntry:
    """The record as it stands."""
    version = archive.ledger.read(order.clip_key)
    assert version is not None
    return version


async def bring_to(
    state: EntryState, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Bring a clip's record into a state, as its life does."""
    brief = ClaimRequest(Decimal("0.1899"), silent_seconds=-1.0)
    match state:
        case EntryState.CLAIMED:
            archive.budget.reserve(archive.ledger.claim(order, brief).entry)
        case EntryState.SENDING:
            claimed = archive.ledger.claim(order, brief)
            archive.budget.reserve(claimed.entry)
            archive.ledger.mark_sending(claimed)
        case EntryState.INTENT:
            claimed = archive.ledger.claim(order, brief)
            archive.budget.reserve(claimed.entry)
            old = claimed.entry.model_copy(update={"state": EntryState.INTENT})
            path = f"ledger/jobs/{order.clip_key}.json"
            archive.bucket.replace(path, old.model_dump_json().encode(), claimed.etag)
        case EntryState.SUBMITTED:
            entry = await submit_once(order, client, archive, BRIEF)
            await poll_until_done(client, str(entry.job_id), EAGER)
            sandbox.fault(on="get", do={"status": 404}, job_id=entry.job_id, times=None)
        case EntryState.HELD:
            sandbox.fault(on="create", do={"drop": True})
            with pytest.raises(ClipHeld):
                await submit_once(order, client, archive, BRIEF)
        case EntryState.RELEASED:
            archive.ledger.give_back(archive.ledger.claim(order, brief), "refused")
        case EntryState.FAILED:
            entry = await submit_once(order, client, archive, BRIEF)
            final = JobFailed("no", fail_code="CONTENT_MODERATION", retryable=False)
            await poll_until_done(client, str(entry.job_id), EAGER)
            sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=None)
            await close_failed(entry, final, archive)
        case EntryState.GIVEN_UP:
            await bring_to(EntryState.HELD, order, client, archive, sandbox)
            await decisions.give_up(version_of(archive, order), client, archive, WHO)
        case EntryState.ARCHIVED:
            await submit_once(order, client, archive, BRIEF)
            await poll_until_done(client, str(record(archive, order).job_id), EAGER)
            await reconcile(archive, client, SWEEP)
    assert record(archive, order).state is state


async def lead_out(order: ClipOrder, client: KlingClient, archive: Archive) -> None:
    """Do what `next_steps` names for a state until the clip may be sent again, or is closed."""
    for _ in range(3):
        version = version_of(archive, order)
        match version.entry.state:
            case EntryState.CLAIMED | EntryState.SENDING | EntryState.INTENT:
                await reconcile(archive, client, SWEEP)
            case EntryState.HELD:
                await asyncio.to_thread(decisions.release, version, (), archive, WHO)
            case EntryState.SUBMITTED | EntryState.FAILED | EntryState.GIVEN_UP:
                await decisions.retry(version, client, archive, WHO)
            case EntryState.RELEASED | EntryState.ARCHIVED:
                return


@pytest.mark.parametrize("state", list(EntryState))
async def test_every_state_has_a_way_to_another_clip(
    state: EntryState, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """A person can have the clip made; no money and no marker is left behind."""
    await bring_to(state, order, client, archive, sandbox)
    await lead_out(order, client, archive)
    entry = await submit_once(order, client, archive, BRIEF)
    await poll_until_done(client, str(entry.job_id), EAGER)
    await reconcile(archive, client, SWEEP)
    assert record(archive, order).state is EntryState.ARCHIVED
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.reserved == {}
    assert list(archive.ledger.open_markers()) == []


@pytest.mark.parametrize(
    "state",
    [
        EntryState.SENDING,
        EntryState.INTENT,
        EntryState.HELD,
        EntryState.SUBMITTED,
        EntryState.FAILED,
    ],
)
async def test_every_open_state_can_be_given_up(
    state: EntryState, order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The worst price is booked where money may be gone, none for a failed job."""
    await bring_to(state, order, client, archive, sandbox)
    if state is EntryState.SUBMITTED:
        sandbox.fault(on="record", do={"status": 404}, times=None)
    entry = await decisions.give_up(version_of(archive, order), client, archive, WHO)
    accounts = archive.budget.accounts()
    assert accounts is not None
    expected = Decimal(0) if state is EntryState.FAILED else entry.at_most_usd
    assert (accounts.spent_usd, accounts.reserved) == (expected, {})
    with pytest.raises(JobFailed, match="given up"):
        await submit_once(order, client, archive, replace(BRIEF, on_unknown="resubmit"))


@pytest.mark.parametrize(
    ("state", "visits"),
    [
        (EntryState.SENDING, 0),
        (EntryState.HELD, 0),
        (EntryState.SUBMITTED, 1),
    ],
)
async def test_a_given_up_clip_is_visited_by_sweeps_only_while_a_job_is_known(
    state: EntryState,
    visits: int,
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """A video that comes late would be archived; without a job there is none, and no marker."""
    await bring_to(state, order, client, archive, sandbox)
    if visits:
        version = version_of(archive, order)
        archive.ledger.hold(version, "the API lost it", version.entry.job_id)
    sandbox.fault(on="record", do={"status": 404}, times=None)
    await decisions.give_up(version_of(archive, order), client, archive, WHO)
    visited = [marker.clip_key for marker in archive.ledger.open_markers()]
    assert visited == [order.clip_key] * visits
    assert list(archive.ledger.held_markers()) == []


async def test_giving_up_books_nothing_for_a_job_that_has_failed(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The clip is held for its first request, whose outcome is unknown."""
    await bring_to(EntryState.HELD, order, client, archive, sandbox)
    again = replace(BRIEF, on_unknown="resubmit")
    entry = await submit_once(order, client, archive, again)
    final = JobFailed("no", fail_code="CONTENT_MODERATION", retryable=False)
    await close_failed(entry, final, archive)
    assert record(archive, order).state is EntryState.HELD
    await decisions.give_up(version_of(archive, order), client, archive, WHO)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (entry.request_usd, {})


async def test_a_clip_whose_first_job_failed_at_an_account_that_is_gone_has_a_way_out(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Its second request was refused, and the key was changed: giving up and retrying makes it."""
    entry = await submit_once(order, client, archive, BRIEF)
    await poll_until_done(client, str(entry.job_id), EAGER)
    sandbox.fault(on="get", do={"state": "failed"}, job_id=entry.job_id, times=None)
    passing = JobFailed("busy", fail_code="UPSTREAM_BUSY", retryable=True)
    await close_failed(entry, passing, archive)
    sandbox.fault(on="create", do={"status": 402})
    with pytest.raises(BalanceTooLow):
        await submit_once(order, client, archive, BRIEF)
    assert record(archive, order).state is EntryState.RELEASED
    sandbox.clear_faults()
    sandbox.fault(on="get", do={"status": 404}, job_id=entry.job_id, times=None)
    other = KlingClient(SecretStr(sandbox.key), client.settings)
    # The sandbox takes one key, so only the fingerprint of the account differs here.
    other.account = lambda salt: "another account"  # type: ignore[method-assign]
    async with other:
        with pytest.raises(JobFailed, match="ledger give-up"):
            await submit_once(order, other, archive, replace(BRIEF, busy=0.3))
        await decisions.give_up(version_of(archive, order), other, archive, WHO)
        assert record(archive, order).state is EntryState.GIVEN_UP
        await decisions.retry(version_of(archive, order), other, archive, WHO, 0.0)
        again = await submit_once(order, other, archive, BRIEF)
        await poll_until_done(other, str(again.job_id), EAGER)
        await reconcile(archive, other, SWEEP)
    assert record(archive, order).state is EntryState.ARCHIVED
    accounts = archive.budget.accounts()
    clip = archive.find(order.clip_key)
    assert accounts is not None
    assert clip is not None
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})


async def test_a_given_up_clip_whose_video_comes_late_is_archived_and_booked_at_its_price(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The API had forgotten the job for a while."""
    await bring_to(EntryState.SUBMITTED, order, client, archive, sandbox)
    sandbox.fault(on="record", do={"status": 404}, times=1)
    await decisions.give_up(version_of(archive, order), client, archive, WHO)
    sandbox.clear_faults()
    await reconcile(archive, client, SWEEP)
    clip = archive.find(order.clip_key)
    assert clip is not None
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})
    assert list(archive.ledger.open_markers()) == []


async def test_the_job_of_a_given_up_clip_that_its_sender_names_late_is_booked_once(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Its own price replaces the worst price of the request: it is the same request."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=True, times=1)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, BRIEF)
    sent = record(archive, order)
    given_up = await decisions.give_up(version_of(archive, order), client, archive, WHO)
    assert given_up.charged_usd == sent.at_most_usd
    job_id = next(
        job["id"] for job in sandbox.jobs() if job["body"]["prompt"] == order.request.prompt
    )
    archive.ledger.add_late_job(sent, job_id)
    await poll_until_done(client, job_id, EAGER)
    await reconcile(archive, client, SWEEP)
    clip = archive.find(order.clip_key)
    accounts = archive.budget.accounts()
    assert clip is not None
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (clip.usd, {})
    assert list(archive.ledger.open_markers()) == []


async def test_no_attempt_is_made_while_the_old_job_may_have_a_video(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Running, completed, or unknown to an unproven account: `retry` refuses."""
    entry = await submit_once(order, client, archive, BRIEF)
    sandbox.fault(on="get", do={"state": "processing"}, job_id=entry.job_id, times=1)
    with pytest.raises(WrongClip, match="wait for it"):
        await decisions.retry(version_of(archive, order), client, archive, WHO)
    await poll_until_done(client, str(entry.job_id), EAGER)
    with pytest.raises(WrongClip, match="is completed"):
        await decisions.retry(version_of(archive, order), client, archive, WHO)
    sandbox.fault(on="get", do={"status": 404}, job_id=entry.job_id, times=None)
    elsewhere = KlingClient(SecretStr("sk_other"), ClientSettings(base_url=sandbox.base_url))
    async with elsewhere:
        elsewhere.get = client.get  # type: ignore[method-assign]
        with pytest.raises(WrongClip, match="nothing proves"):
            await decisions.retry(version_of(archive, order), elsewhere, archive, WHO)
    assert record(archive, order) == entry


async def test_a_job_that_a_person_named_wrongly_can_be_corrected(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The wrong job is free for its own clip; a plain answer's job is never replaced."""
    await bring_to(EntryState.HELD, order, client, archive, sandbox)
    wrong = await client.create(order.request)
    right = await client.create(order.request)
    await decisions.adopt(version_of(archive, order), wrong, client, archive, WHO)
    await decisions.adopt(version_of(archive, order), right, client, archive, WHO)
    assert record(archive, order).job_id == right.job_id
    assert archive.jobs.owner(wrong.job_id) is None
    other = ordered(archive, "another clip")
    await bring_to(EntryState.HELD, other, client, archive, sandbox)
    with pytest.raises(WrongClip, match=f"belongs to clip {order.clip_key}"):
        await decisions.adopt(version_of(archive, other), right, client, archive, WHO)
    plain = ordered(archive, "a plain answer")
    await submit_once(plain, client, archive, BRIEF)
    with pytest.raises(WrongClip, match="its sender itself"):
        await decisions.adopt(version_of(archive, plain), wrong, client, archive, WHO)


async def test_many_clips_are_chosen_by_film_age_and_state(
    client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Clips with a named job, and those with a living sender, are skipped and told."""
    orders = [ordered(archive, f"held {number}") for number in range(4)]
    sandbox.fault(on="create", do={"drop": True}, times=2)
    for each in orders[:2]:
        with pytest.raises(ClipHeld):
            await submit_once(each, client, archive, BRIEF)
    named = {"status": 500, "body": {"data": {"taskId": "c7"}}}
    sandbox.fault(on="create", do=named)
    with pytest.raises(ClipHeld):
        await submit_once(orders[2], client, archive, BRIEF)
    sandbox.fault(on="create", do={"drop": True})
    with pytest.raises(ClipHeld):
        await submit_once(orders[3], client, archive, replace(BRIEF, window=600.0, film=None))

    def chosen(**narrowed: object) -> dict[str, str]:
        selection = decisions.Selection((EntryState.HELD,), **narrowed)  # type: ignore[arg-type]
        found = decisions.select(selection, archive)
        return {each.version.entry.clip_key: each.skipped for each in found}

    # The store tells ages in whole seconds.
    while any("alive" in chosen(film="dawn")[each.clip_key] for each in orders[:2]):
        await asyncio.sleep(0.1)
    everything = chosen()
    assert [everything[each.clip_key] for each in orders[:2]] == ["", ""]
    assert "named job c7" in everything[orders[2].clip_key]
    assert "alive" in everything[orders[3].clip_key]
    assert set(chosen(film="dawn")) == {each.clip_key for each in orders[:3]}
    assert chosen(older_than=timedelta(hours=1)) == {}
    assert chosen(film="dusk") == {}


@pytest.mark.parametrize("state", list(EntryState))
def test_every_state_names_its_next_step(state: EntryState) -> None:
    """An archived clip needs none; every other state names what a person can do."""
    entry = Entry.model_construct(
        clip_key="f" * 32,
        state=state,
        order=ClipOrder.model_validate(
            {"request": {"model": "kling-v3-omni", "prompt": "Dawn", "duration": 3}}
        ),
    )
    assert bool(next_steps(entry)) is (state is not EntryState.ARCHIVED)


async def test_a_job_that_is_found_after_its_clip_was_given_up_is_booked_for_its_film(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The worst price is taken back from the film, and the video's own price put in its place."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    with pytest.raises(ClipHeld):
        await submit_once(order, client, archive, BRIEF)
    await decisions.give_up(version_of(archive, order), client, archive, WHO)
    (job_id,) = [
        each["id"] for each in sandbox.jobs() if each["body"].get("prompt") == order.request.prompt
    ]
    job = await poll_until_done(client, job_id, EAGER)
    await decisions.adopt(version_of(archive, order), job, client, archive, WHO)
    await reconcile(archive, client, SWEEP)
    clip = archive.find(order.clip_key)
    accounts = archive.budget.accounts()
    assert clip is not None
    assert accounts is not None
    assert accounts.spent_on_films_usd["dawn"] == accounts.spent_usd == clip.usd
