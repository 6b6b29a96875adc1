"""The two decisions only a person can take, taken as a person would."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.app import app
from prefect_kling.flows import collect_finished, generate_clip
from prefect_kling.kling.errors import JobNotFound
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, VideoQuarantined, WrongClip
from prefect_kling.studio.money.archive import Archive, FetchPolicy
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.orders import ordered

pytestmark = pytest.mark.usefixtures("prefect_ui")
Run = Callable[..., str]


@pytest.fixture
def request_(archive: Archive) -> VideoRequest:
    """A request of this test's own."""
    return VideoRequest(model="kling-v3-omni", prompt=f"Held {archive.bucket.prefix}", duration=3)


@pytest.fixture
def key(request_: VideoRequest) -> str:
    """Its clip key."""
    return ClipOrder(request=request_).clip_key


@pytest.fixture
def run(
    credentials: KlingCredentials, archive_block: KlingArchive, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `prefect-kling` in this process against stored blocks, and return what it prints."""
    credentials.save("ledger-test", overwrite=True)
    archive_block.save("ledger-test", overwrite=True)

    def run(*words: str) -> str:
        capsys.readouterr()
        app([*words, "--archive", "ledger-test"], exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    return run


@pytest.fixture
def held(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> str:
    """A clip whose paid answer was lost; the id of the job that was really made."""
    sandbox.fault(on="create", do={"status": 502}, after_commit=True)
    with pytest.raises(ClipHeld):
        asyncio.run(generate_clip(request_, credentials, archive_block))
    return next(
        str(job["id"]) for job in sandbox.jobs() if job["body"]["prompt"] == request_.prompt
    )


def made(sandbox: Sandbox, request: VideoRequest) -> int:
    """How many jobs the API really made for a request."""
    return sum(job["body"]["prompt"] == request.prompt for job in sandbox.jobs())


def state(archive: Archive, key: str) -> EntryState:
    """Where the clip's money stands."""
    page = archive.ledger.read(key)
    assert page is not None
    return page.entry.state


@pytest.mark.usefixtures("held")
def test_a_held_clip_says_what_happened_and_what_to_do(run: Run, key: str) -> None:
    """`show` tells what happened, what it may have cost, and the two commands that resolve it."""
    told = run("ledger", "show", key[:8])
    assert "held: it is not known whether its request was taken, and it may be paid" in told
    assert "does not tell whether the request was taken" in told
    assert "Look at the task list of your account" in told
    assert "nothing was paid" not in told.lower()
    assert "at most $0.1899" in told
    assert "HTTP 502" in told
    assert f"prefect-kling ledger adopt {key} JOB_ID" in told
    assert f"prefect-kling ledger release {key}" in told
    assert key in run("ledger", "list", "--state", "held").replace("\n", "")


@pytest.mark.usefixtures("held")
def test_a_held_clip_is_told_in_prefect(key: str) -> None:
    """An artifact carries the same words into the Prefect UI."""
    artifact = Artifact.get(f"held-{key}")
    assert artifact is not None
    assert f"prefect-kling ledger release {key}" in str(artifact.data)


def test_an_adopted_job_is_archived_and_never_paid_again(
    run: Run,
    held: str,
    key: str,
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """Adopting names the job; the next run, or a sweep, archives it."""
    assert held in run("ledger", "adopt", key, held, "--credentials", "ledger-test")
    clip = asyncio.run(generate_clip(request_, credentials, archive_block))
    assert clip.job_id == held
    assert made(sandbox, request_) == 1
    assert state(archive_block.get_archive(), key) is EntryState.ARCHIVED


@pytest.mark.usefixtures("held")
def test_an_adopted_job_must_exist(run: Run, key: str, archive: Archive) -> None:
    """A mistyped id is refused by asking the API, and the clip stays held."""
    with pytest.raises(JobNotFound):
        run("ledger", "adopt", key, "clmistyped", "--credentials", "ledger-test")
    assert state(archive, key) is EntryState.HELD


@pytest.mark.usefixtures("held")
def test_a_released_clip_is_sent_again(
    run: Run,
    key: str,
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """A person's word that nothing was made is enough, and only then is it sent again."""
    with pytest.raises(ClipHeld):
        asyncio.run(generate_clip(request_, credentials, archive_block))
    assert made(sandbox, request_) == 1
    run("ledger", "release", key)
    asyncio.run(generate_clip(request_, credentials, archive_block))
    assert made(sandbox, request_) == 2


def test_a_release_of_a_clip_whose_job_was_named_wants_the_id_typed_in(
    run: Run,
    key: str,
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """An answer named a job: who says that it is not there must have looked for that one."""
    body = json.dumps({"code": 400, "data": {"taskId": "c7"}})
    sandbox.fault(on="create", do={"status": 400, "body": body})
    with pytest.raises(ClipHeld):
        asyncio.run(generate_clip(request_, credentials, archive_block))
    archive = archive_block.get_archive()
    assert f"ledger release {key} c7" in run("ledger", "show", key)
    for typed in ((), ("c8",)):
        with pytest.raises(WrongClip, match="named job c7"):
            run("ledger", "release", key, *typed)
        assert state(archive, key) is EntryState.HELD
    run("ledger", "release", key, "c7")
    assert state(archive, key) is EntryState.RELEASED


def test_only_held_clips_can_be_decided(
    run: Run,
    key: str,
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
) -> None:
    """A paid clip cannot be released into being paid again, and an unknown key names nothing."""
    asyncio.run(generate_clip(request_, credentials, archive_block))
    with pytest.raises(WrongClip, match="only a clip that is held"):
        run("ledger", "release", key)
    with pytest.raises(WrongClip, match="0 clips begin with"):
        run("ledger", "show", "ffffffffffffffffffffffff")


@pytest.mark.slow
def test_many_held_clips_are_released_by_one_command_with_their_sum(
    run: Run,
    archive_block: KlingArchive,
    credentials: KlingCredentials,
    sandbox: Sandbox,
) -> None:
    """First they are only listed; a wrong sum changes nothing; the right one releases all."""
    archive = archive_block.get_archive()
    orders = [ordered(archive, f"many {number}") for number in range(20)]
    sandbox.fault(on="create", do={"drop": True}, times=len(orders))
    brief = SubmitOptions(window=1.0)

    async def send_all() -> None:
        async with credentials.get_client() as client:
            for order in orders:
                with pytest.raises(ClipHeld):
                    await submit_once(order, client, archive, brief)

    asyncio.run(send_all())
    while "skipped" in (told := run("ledger", "release")):
        # Their sender counts as dead after a second; the store tells ages in whole seconds.
        pass
    assert all(order.clip_key in told for order in orders)
    total = 20 * Decimal("0.1899")
    assert f"20 clips, at most ${total}. Nothing is changed yet" in told
    with pytest.raises(WrongClip, match="the sum is"):
        run("ledger", "release", "--confirm", "1")
    assert {state(archive, order.clip_key) for order in orders} == {EntryState.HELD}
    assert "20 clips are released" in run("ledger", "release", "--confirm", str(total))
    assert {state(archive, order.clip_key) for order in orders} == {EntryState.RELEASED}


@pytest.mark.usefixtures("held")
def test_a_sweep_tells_what_is_held(
    key: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """`collect_finished` runs as a flow, names held clips, and leaves a report."""
    findings = asyncio.run(collect_finished(credentials, archive_block))
    assert findings.counts == {"held": 1}
    report = Artifact.get("collected")
    assert report is not None
    assert key in str(report.data)


def test_resubmitting_has_to_be_chosen_in_advance(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """With on_unknown="resubmit" a lost answer is sent again, which the record says."""
    sandbox.fault(on="create", do={"status": 502}, after_commit=True)
    clip = asyncio.run(generate_clip(request_, credentials, archive_block, on_unknown="resubmit"))
    assert made(sandbox, request_) == 2
    page = archive_block.get_archive().ledger.read(clip.clip_key)
    assert page is not None
    assert "may be paid already" in " ".join(event.note for event in page.entry.history)


def test_a_low_balance_is_told_with_the_balance(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """402 stops, and the error says what the account holds."""
    from prefect_kling.kling.errors import BalanceTooLow

    sandbox.fault(on="create", do={"status": 402})
    with pytest.raises(BalanceTooLow, match=r"the account has [\d.]+ USD"):
        asyncio.run(generate_clip(request_, credentials, archive_block))


@pytest.mark.slow
def test_a_quarantined_file_is_listed_and_accepted(
    run: Run,
    key: str,
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """The list says why and where; accepting it archives the clip; the next run costs nothing."""
    archive_block.get_archive().fetching = FetchPolicy(pause_seconds=0, download_pause_seconds=0)
    sandbox.fault(on="file", do={"truncate": 20_000}, times=None)
    with pytest.raises(VideoQuarantined, match="ledger quarantine accept"):
        asyncio.run(generate_clip(request_, credentials, archive_block))
    listed = run("ledger", "quarantine", "list")
    assert key in listed
    assert "20,000" in listed
    with pytest.raises(WrongClip, match="0 files"):
        run("ledger", "quarantine", "accept", "ffff")
    cheaper = {"code": 200, "data": {"settled": True, "credits": "0.05"}}
    sandbox.fault(on="record", do={"status": 200, "body": cheaper})
    assert "is archived" in run(
        "ledger", "quarantine", "accept", key[:8], "--credentials", "ledger-test"
    )
    page = archive.ledger.read(key)
    assert page is not None
    assert page.entry.state is EntryState.ARCHIVED
    assert page.entry.charged_usd == Decimal("0.05")
    sandbox.clear_faults()
    clip = asyncio.run(generate_clip(request_, credentials, archive_block))
    assert "accepted from the quarantine by" in " ".join(clip.notes)
    assert made(sandbox, request_) == 1
