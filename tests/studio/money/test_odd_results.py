"""A paid video is never dropped: what plays is kept, the rest is kept raw."""

import io
from typing import Any

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import StudioError, VideoQuarantined
from prefect_kling.studio.media.frames import last_frame
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive, Clip, FetchPolicy
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import reconcile
from prefect_kling.studio.money.settlement import Outcome, keep_paid_job, wait_for_paid_job
from prefect_kling.studio.money.submission import submit_once

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=30)
AT_ONCE = FetchPolicy(pause_seconds=0, download_pause_seconds=0, confirm_seconds=0.1)


@pytest.fixture
def order(request: pytest.FixtureRequest) -> ClipOrder:
    """An order of this test's own."""
    prompt = f"{request.node.name} of the odd ones"
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


@pytest.fixture
async def entry(order: ClipOrder, client: KlingClient, archive: Archive) -> Entry:
    """The order, paid and completed."""
    archive.fetching = AT_ONCE
    entry = await submit_once(order, client, archive)
    await poll_until_done(client, str(entry.job_id), EAGER)
    return entry


async def kept(entry: Entry, client: KlingClient, archive: Archive) -> Clip:
    """Keep the entry's video as a run does."""
    job = await client.get(str(entry.job_id))
    return (await keep_paid_job(entry, job, client, archive)).clip


def state(archive: Archive, entry: Entry) -> EntryState:
    """Where the clip's money stands."""
    page = archive.ledger.read(entry.clip_key)
    assert page is not None
    return page.entry.state


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        ({"append": "zeros"}, "1,024 bytes behind its last box"),
        ({"append": "json"}, "bytes behind its last box"),
        ({"webm": True}, "it is a WebM file"),
        ({"gzip": True}, "packed with gzip"),
        ({"media_type": "text/plain"}, "the server called it text/plain"),
        ({"promise": 1000}, "the server promised another length"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_plays_is_kept_and_noted(
    fault: dict[str, Any],
    note: str,
    entry: Entry,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """However a sound video is delivered, it is the clip and has a last picture."""
    sandbox.fault(on="file", do=fault, times=None)
    clip = await kept(entry, client, archive)
    assert note in "; ".join(clip.notes)
    assert clip.media.frames == 72
    assert state(archive, entry) is EntryState.ARCHIVED
    file = io.BytesIO()
    archive.copy_out(clip, file)
    assert last_frame(file).data


@pytest.mark.parametrize("fault", [{"truncate": 20_000}, {"replace": "html"}], ids=str)
async def test_what_cannot_be_verified_is_kept_raw_and_told(
    fault: dict[str, Any],
    entry: Entry,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """The bytes are in quarantine with a reason; a sound file wins later."""
    sandbox.fault(on="file", do=fault, times=None)
    with pytest.raises(VideoQuarantined, match="ledger quarantine accept"):
        await kept(entry, client, archive)
    found = archive.quarantine.find(entry.clip_key, str(entry.job_id))
    assert found is not None
    assert found.reason
    file = io.BytesIO()
    archive.bucket.fetch(archive.bucket.path_of(found.uri), file)
    assert len(file.getvalue()) == found.bytes
    assert state(archive, entry) is EntryState.SUBMITTED
    assert (await reconcile(archive, client)).counts == {"quarantined": 1}
    sandbox.clear_faults()
    assert (await kept(entry, client, archive)).media.frames == 72


async def test_a_page_does_not_displace_a_file_in_the_quarantine(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """Of what a job delivered, the most is kept: an error page comes after the half of a video."""
    for fault in ({"truncate": 20_000}, {"replace": "html"}):
        sandbox.clear_faults()
        sandbox.fault(on="file", do=fault, times=None)
        with pytest.raises(StudioError):
            await kept(entry, client, archive)
    found = archive.quarantine.find(entry.clip_key, str(entry.job_id))
    assert found is not None
    assert found.bytes == 20_000


async def test_a_quarantined_file_can_be_accepted(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """On a person's word it becomes the clip, with a note that says who and why."""
    sandbox.fault(on="file", do={"truncate": 20_000}, times=None)
    with pytest.raises(VideoQuarantined):
        await kept(entry, client, archive)
    found = next(iter(archive.quarantine.files(entry.clip_key[:8])))
    clip = archive.accept(found, "ann@desk")
    assert clip.bytes == 20_000
    assert "ann@desk" in clip.notes[-2]
    assert archive.find(entry.clip_key) == clip


@pytest.mark.parametrize(
    "fault",
    [
        {"replace": "html"},
        {"replace": "picture"},
        {"truncate": 20_000},
        {"expire": True},
        {"status": 403},
        {"promise": 10},
    ],
    ids=str,
)
async def test_passing_trouble_with_a_file_passes(
    fault: dict[str, Any],
    entry: Entry,
    archive: Archive,
    client: KlingClient,
    sandbox: Sandbox,
) -> None:
    """A fresh read of the job and another try are enough; nothing is left in the quarantine."""
    sandbox.fault(on="file", do=fault, times=2)
    assert (await kept(entry, client, archive)).media.frames == 72
    assert list(archive.quarantine.files()) == []


@pytest.mark.parametrize(
    "links",
    [
        ["{link}\n"],
        [" {link}"],
        ["//{host}"],
        ["HTTP://{host}"],
        ["{link}x", "{link}"],
        ["https://covers.invalid/cover.jpg", "{link}"],
        ["http://[::1", "http://files.invalid/a b", "{link}"],
    ],
    ids=str,
)
async def test_all_links_are_tried_and_read_leniently(
    links: list[str], entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """One good link among the results is enough, however it is written."""
    sandbox.fault(on="get", do={"links": links}, times=None)
    assert (await kept(entry, client, archive)).media.frames == 72


async def test_a_picture_without_an_ending_is_no_video(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """A first link that serves a picture is passed over, and the further result is noted."""
    sandbox.fault(on="get", do={"links": ["{host}&picture".replace("{host}", "{link}"), "{link}"]})
    sandbox.fault(on="file", do={"replace": "picture"})
    clip = await kept(entry, client, archive)
    assert clip.media.frames == 72


async def test_further_results_are_noted(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """A second link is written down without its signature."""
    other = "https://files.example/second.mp4?signature=secret"
    sandbox.fault(on="get", do={"links": ["{link}", other]}, times=None)
    clip = await kept(entry, client, archive)
    assert "the API gave a further result: files.example/second.mp4" in clip.notes
    assert "secret" not in clip.model_dump_json()


async def test_an_unknown_state_with_a_link_is_finished_if_two_reads_agree(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """A waiting run and a sweep both archive it."""
    sandbox.fault(on="get", do={"state": "archived_ok", "links": ["{link}"]}, times=None)
    job = await wait_for_paid_job(entry, client, archive, EAGER)
    assert job.state is JobState.COMPLETED
    assert (await reconcile(archive, client)).counts == {"archived": 1}


async def test_an_unknown_state_whose_links_change_is_not_finished(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """Its file goes to the quarantine and the record stays open."""
    sandbox.fault(on="get", do={"state": "preview", "links": ["{link}"]})
    link = (await client.get(str(entry.job_id))).urls
    sandbox.fault(on="get", do={"state": "preview", "links": ["http://files.invalid/1.mp4"]})
    sandbox.fault(on="get", do={"state": "preview", "links": ["{link}"]})
    assert link
    assert (await reconcile(archive, client)).counts == {"quarantined": 1}
    assert state(archive, entry) is EntryState.SUBMITTED
    assert archive.quarantine.find(entry.clip_key, str(entry.job_id)) is not None


def test_links_that_we_sent_are_no_results(archive: Archive) -> None:
    """Neither a user's input, nor a link to our archive, nor the callback address."""
    request = VideoRequest(
        model="kling-v3-omni",
        prompt="echo",
        duration=3,
        image_list=[
            {"image_url": "https://mine.example/in.mp4?a=1"},
            {"image_url": f"{ARCHIVE_URL}inputs/abc.mp4"},
        ],
        callback_url="https://mine.example/call",
    )
    echoed = (
        "https://mine.example/in.mp4?b=2",
        "https://s3.example/films/p/inputs/abc.mp4?X-Amz-Signature=1",
        "http://mine.example/call",
    )
    true = "https://files.example/v.mp4"
    job = VideoJob(job_id="c1", state=JobState.PROCESSING, urls=(*echoed, true))
    assert archive.links_of(ClipOrder(request=request), job) == (true,)


async def test_ranges_with_wrong_bytes_are_never_archived(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """A damaged rest is found by decoding everything, and the whole is fetched anew."""
    good = (await client.get(str(entry.job_id))).urls[0]
    sandbox.fault(on="file", do={"cut_after": 60_000})
    sandbox.fault(on="file", do={"damage_range": True})
    clip = await kept(entry, client, archive)
    whole = io.BytesIO()
    from prefect_kling.studio.storage.download import download

    assert clip.sha256 == download(good, whole, access=client.result_access).sha256


async def test_a_sweep_says_how_a_quarantined_clip_goes_on(
    entry: Entry, archive: Archive, client: KlingClient, sandbox: Sandbox
) -> None:
    """The words of a finding end with the command that accepts the file."""
    sandbox.fault(on="file", do={"truncate": 20_000}, times=None)
    findings = await reconcile(archive, client)
    assert "ledger quarantine accept" in findings.named[Outcome.QUARANTINED][entry.clip_key]
