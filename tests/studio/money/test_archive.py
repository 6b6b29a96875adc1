"""Clips are kept whole or not at all, once, and never lost for being unexpected."""

import hashlib
import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import ImageInput, VideoRequest
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import DownloadBroken, LedgerUnreadable, LinkExpired, NotAVideo
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive, Clip, FetchPolicy
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job
from prefect_kling.studio.money.submission import submit_once
from prefect_kling.studio.storage.bucket import Bucket
from tests.orders import HERE
from tests.studio.media.clips import Recipe
from tests.studio.media.odd_clips import odd_clips

EAGER = PollPolicy(first=0.05, longest=0.1, deadline=30)


@pytest.fixture
def order(request: pytest.FixtureRequest) -> ClipOrder:
    """An order of this test's own."""
    return ClipOrder(
        request=VideoRequest(
            model="kling-v3-omni", prompt=request.node.name, duration=3, sound="on"
        )
    )


@pytest.fixture
async def job(order: ClipOrder, client: KlingClient) -> VideoJob:
    """The order's job, made and completed."""
    return await poll_until_done(client, (await client.create(order.request)).job_id, EAGER)


@pytest.fixture
def at_once(archive: Archive) -> None:
    """Leave out the pauses between tries."""
    archive.fetching = FetchPolicy(pause_seconds=0, download_pause_seconds=0)


def objects(archive: Archive) -> list[str]:
    """Everything in the archive."""
    return list(archive.bucket.names(""))


def stored_bytes(archive: Archive, clip: Clip) -> bytes:
    """The stored video."""
    file = io.BytesIO()
    archive.bucket.fetch(f"clips/{clip.clip_key}.mp4", file)
    return file.getvalue()


def test_a_clip_is_kept_with_its_record(archive: Archive, order: ClipOrder, job: VideoJob) -> None:
    """Video and record stand under the clip key; the record's hash is that of the stored bytes."""
    clip = archive.keep(order, job, access=HERE)
    assert objects(archive) == [f"clips/{order.clip_key}.json", f"clips/{order.clip_key}.mp4"]
    assert hashlib.sha256(stored_bytes(archive, clip)).hexdigest() == clip.sha256
    assert (clip.media.frames, clip.media.fps, clip.media.audio) == (72, 24, True)
    assert clip.job_id == job.job_id
    assert archive.find(order.clip_key) == clip


def test_a_clip_that_is_kept_is_not_fetched_again(
    archive: Archive, order: ClipOrder, job: VideoJob, sandbox: Sandbox
) -> None:
    """Keeping twice returns the first record."""
    clip = archive.keep(order, job, access=HERE)
    sandbox.fault(on="file", do={"status": 500}, times=None)
    assert archive.keep(order, job, access=HERE) == clip


def test_what_differs_from_the_order_is_noted_not_refused(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """The sandbox paints small pictures here: the clip is kept, and says so."""
    assert archive.keep(order, job, access=HERE).notes == (
        "the picture is 160x90, mode std promises 720p",
    )


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"cut_after": 0}, DownloadBroken),
        ({"truncate": 20_000}, NotAVideo),
        ({"truncate": 0}, NotAVideo),
        ({"replace": "html"}, NotAVideo),
        ({"status": 503}, DownloadBroken),
        ({"status": 404}, LinkExpired),
        ({"status": 403}, LinkExpired),
    ],
    ids=str,
)
def test_what_is_no_whole_video_becomes_no_clip(
    fault: dict[str, Any],
    kind: type[Exception],
    archive: Archive,
    order: ClipOrder,
    job: VideoJob,
    sandbox: Sandbox,
) -> None:
    """Killed, short, foreign or missing downloads never leave a clip, and the next run succeeds."""
    sandbox.fault(on="file", do=fault, times=None)
    with pytest.raises(kind):
        archive.keep(order, job, access=HERE)
    assert [name for name in objects(archive) if not name.startswith("quarantine/")] == []
    sandbox.clear_faults()
    assert archive.keep(order, job, access=HERE).media.frames == 72


@pytest.mark.usefixtures("at_once")
def test_a_dropped_download_is_continued(
    archive: Archive, order: ClipOrder, job: VideoJob, sandbox: Sandbox
) -> None:
    """A transfer that is cut twice is still the same video."""
    sandbox.fault(on="file", do={"cut_after": 10_000}, times=2)
    clip = archive.keep(order, job, access=HERE)
    assert hashlib.sha256(stored_bytes(archive, clip)).hexdigest() == clip.sha256


async def test_a_dead_link_is_replaced_by_a_fresh_one(
    archive: Archive, order: ClipOrder, client: KlingClient, sandbox: Sandbox
) -> None:
    """The API is asked once more and the video is kept; the record is closed."""
    entry = await submit_once(order, client, archive)
    job = await poll_until_done(client, str(entry.job_id), EAGER)
    sandbox.fault(on="file", do={"expire": True})
    clip = (await keep_paid_job(entry, job, client, archive)).clip
    assert clip.media.frames == 72
    page = archive.ledger.read(order.clip_key)
    assert page is not None
    assert page.entry.state is EntryState.ARCHIVED


def test_a_job_without_a_link_asks_for_one(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """A completed job may briefly have no link: that is no reason to lose it."""
    with pytest.raises(LinkExpired):
        archive.keep(order, job.model_copy(update={"urls": ()}), access=HERE)


def test_a_damaged_record_is_an_error_never_absent(archive: Archive, order: ClipOrder) -> None:
    """What nobody can read is not taken for a clip that was never made."""
    archive.bucket.put(f"clips/{order.clip_key}.json", b"{", "application/json")
    with pytest.raises(LedgerUnreadable):
        archive.find(order.clip_key)


def test_a_run_that_died_before_its_record_is_completed_without_the_link(
    archive: Archive, order: ClipOrder, job: VideoJob, sandbox: Sandbox
) -> None:
    """The stored video itself is enough, even when the API has forgotten it."""
    clip = archive.keep(order, job, access=HERE)
    archive.bucket.delete(f"clips/{order.clip_key}.json")
    sandbox.fault(on="file", do={"status": 404}, times=None)
    again = archive.keep(order, job, access=HERE)
    assert (again.sha256, again.media) == (clip.sha256, clip.media)


def test_other_bytes_under_a_key_are_never_overwritten(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """What was verified first stays; the record describes what is really there."""
    clip = archive.keep(order, job, access=HERE)
    archive.bucket.delete(f"clips/{order.clip_key}.json")
    other = stored_bytes(archive, clip) + (16).to_bytes(4) + b"free" + b"overhang"
    archive.bucket.put(f"clips/{order.clip_key}.mp4", other, "video/mp4")
    assert archive.keep(order, job, access=HERE).sha256 == hashlib.sha256(other).hexdigest()
    assert stored_bytes(archive, clip) == other


class _Odd(BaseHTTPRequestHandler):
    """Answers every call with an odd clip."""

    clip = b""

    def do_GET(self) -> None:
        """Send it."""
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(self.clip)))
        self.end_headers()
        self.wfile.write(self.clip)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_how_a_paid_clip_is_to_be_shown_is_noted(order: ClipOrder, archive: Archive) -> None:
    """Turned, pixels that are not square, full range, HDR: kept, and told with what is done."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    link = f"http://127.0.0.1:{server.server_port}/v.mp4"
    try:
        for number, (kind, data) in enumerate(odd_clips(Recipe()).items()):
            _Odd.clip = data
            job = VideoJob(job_id=f"odd-{number}", state=JobState.COMPLETED, urls=(link,))
            another = order.model_copy(update={"take": number + 1})
            notes = archive.keep(another, job, access=ResultAccess(link)).notes
            (note,) = [note for note in notes if kind in note]
            assert "encoded anew" in note
    finally:
        server.shutdown()
        server.server_close()


MEASURE = """
import io, resource, sys
from pathlib import Path
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.result_access import ResultAccess
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.money.orders import ClipOrder
url, small, endpoint, access, secret, bucket, prefix = sys.argv[1:]
archive = Archive(Bucket(LocalS3(endpoint, access, secret).client(), bucket, prefix))
def keep(name, url):
    request = VideoRequest(model="kling-v3-omni", prompt=name, duration=15, mode="pro")
    order = ClipOrder(request=request)
    job = VideoJob(job_id=name, state=JobState.COMPLETED, urls=(url,))
    return archive.keep(order, job, access=ResultAccess(url))
keep("warm up", small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
clip = keep("large", url)
print(clip.bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [200, 300])
def test_memory_does_not_grow_with_the_video(
    megabytes: int, archive: Archive, job: VideoJob, s3: LocalS3, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A 200 MB result (one PUT) and a 300 MB one (in parts) need under 64 MB more."""
    import httpx

    small = httpx.get(job.urls[0]).content
    padding = megabytes * 10**6 - len(small)
    with (tmp_path / "large.mp4").open("wb") as file:
        file.write(small + padding.to_bytes(4) + b"free")
        file.truncate(len(small) + padding)
    serving = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    with subprocess.Popen(
        serving, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split("(")[1].split("/)")[0]
            where = (s3.endpoint, s3.access_key, s3.secret_key, BUCKET, archive.bucket.prefix)
            command = [sys.executable, "-c", MEASURE, f"{address}/large.mp4", job.urls[0], *where]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    stored, grown_kib = (int(word) for word in done.stdout.split())
    assert stored == megabytes * 10**6
    assert grown_kib < 64 * 1024


def test_a_video_that_another_clip_has_is_told(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """A result that was mixed up is kept, and names the clip that has it; so is a known record's.

    A clip is no duplicate of itself, and what this process has only read counts as well.
    """
    first = archive.keep(order, job, access=HERE)
    assert first.suspect == ""
    other = archive.keep(order.model_copy(update={"take": 2}), job, access=HERE)
    assert other.suspect == "duplicate"
    assert f"its pictures are those of clip {order.clip_key}" in other.notes

    elsewhere = Archive(Bucket(archive.bucket._s3, archive.bucket.name, archive.bucket.prefix))
    assert elsewhere.find(order.clip_key) == first
    third = elsewhere.keep(order.model_copy(update={"take": 3}), job, access=HERE)
    assert third.suspicions[0].clip_key == order.clip_key


def test_trouble_in_a_check_is_a_note_of_the_clip(
    archive: Archive, order: ClipOrder, job: VideoJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a check raises, the paid clip is kept without a report."""

    def fail(*_: object) -> None:
        raise NotAVideo("the decoder is in a bad mood")

    monkeypatch.setattr("prefect_kling.studio.money.clip_checks.check_pictures", fail)
    clip = archive.keep(order, job, access=HERE)
    assert clip.pictures is None
    assert any("its pictures were not checked: the decoder" in note for note in clip.notes)
    assert archive.find(order.clip_key) == clip


def test_a_first_picture_is_read_from_the_archive_and_compared(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """One that is not there is no trouble."""
    picture = io.BytesIO()
    Image.new("RGB", (640, 360), (255, 0, 255)).save(picture, "PNG")
    archive.bucket.put("inputs/pink.png", picture.getvalue(), "image/png")
    for name, suspect in (("pink", "first frame"), ("missing", "")):
        image = ImageInput(image_url=f"{ARCHIVE_URL}inputs/{name}.png", type="first_frame")
        request = order.request.model_copy(update={"image_list": [image]})
        clip = archive.keep(ClipOrder(request=request), job, access=HERE)
        assert clip.suspect.replace(", duplicate", "").replace("duplicate", "") == suspect


def test_records_from_before_the_checks_are_read(
    archive: Archive, order: ClipOrder, job: VideoJob
) -> None:
    """And a fingerprint that somebody has spoilt keeps no clip from being read."""
    clip = archive.keep(order, job, access=HERE)
    older = json.loads(clip.model_dump_json())
    del older["pictures"]
    assert Clip.model_validate(older).suspicions == ()
    assert clip.pictures is not None
    spoilt = clip.pictures.model_copy(update={"fingerprint": "?"})
    document = clip.model_copy(update={"pictures": spoilt}).model_dump_json().encode()
    archive.bucket.put(f"clips/{order.clip_key}.json", document, "application/json")
    assert archive.find(order.clip_key) is not None
