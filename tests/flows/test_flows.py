"""Flows on a real Prefect server, over real HTTP, into a real S3 server."""

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

import av
import httpx
import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import PrefectClient, get_client
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import generate_clip, produce_film, produce_scene
from prefect_kling.kling.errors import JobFailed, KeyRefused, StillRunning
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import (
    FilmIncomplete,
    StorageRefused,
    StorageUnavailable,
    StoryboardInvalid,
)
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.telemetry.progress import ShotProgress, Stage, subscribe
from tests.conftest import eager_credentials
from tests.flows.pictures import video
from tests.lane import rest_is_slow

pytestmark = pytest.mark.usefixtures("prefect_ui")

_ALL_TIME = {"occurred": {"since": "2020-01-01T00:00:00Z"}}

FILM = """
title: Two scenes {tag}
defaults: {{duration: 3}}
scenes:
  - title: Chain
    continuity: last_frame
    shots:
      - {{title: A, prompt: "First {tag}"}}
      - {{title: B, prompt: "Second {tag}"}}
      - {{title: C, prompt: "Third {tag}", duration: 4}}
  - title: Cuts
    shots:
      - {{title: D, prompt: "Fourth {tag}", sound: on}}
      - {{title: E, prompt: "Fifth {tag}"}}
"""


@pytest.fixture
def tag(archive: Archive) -> str:
    """Words that make this test's prompts its own."""
    return archive.bucket.prefix.strip("/")


@pytest.fixture
def request_(tag: str) -> VideoRequest:
    """A request of this test's own."""
    return VideoRequest(model="kling-v3-omni", prompt=f"One clip {tag}", duration=3)


@pytest.fixture
async def api() -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server."""
    async with get_client() as api:
        yield api


def usd(sandbox: Sandbox) -> Decimal:
    """What the API says has been paid."""
    return Decimal(str(sandbox.stats()["paid_usd"]))


def made(sandbox: Sandbox, tag: str) -> int:
    """How many jobs the API really made for this test."""
    return sum(tag in str(job["body"].get("prompt")) for job in sandbox.jobs())


async def test_a_clip_is_made_once_and_then_found(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tag: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second run returns the same clip and pays nothing; a new take is a new clip.

    The page of each run shows a picture and a link to watch.
    """
    clip = await generate_clip(request_, credentials, archive_block)
    _, page = await page_of(f"clip-{clip.clip_key[:8]}")
    assert "![clip](data:image/jpeg;base64," in page
    assert clip.job_id in page
    (link,) = links_of(page)
    assert read(link) == video(archive, f"clips/{clip.clip_key}.mp4").getvalue()
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    assert await generate_clip(request_, credentials, archive_block) == clip
    assert "already archived, nothing to pay" in caplog.text
    assert made(sandbox, tag) == 1
    other = await generate_clip(request_, credentials, archive_block, take=2)
    assert other.clip_key != clip.clip_key
    assert made(sandbox, tag) == 2


async def test_two_runs_at_once_share_one_job(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """Two flow runs of the same request pay once and return the same clip."""
    runs = [generate_clip(request_, credentials, archive_block) for _ in range(2)]
    one, two = await asyncio.gather(*runs)
    assert one == two
    assert made(sandbox, tag) == 1


def test_a_synchronous_flow_can_make_a_clip(
    request_: VideoRequest, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """`asyncio.run` inside a synchronous flow makes the clip as its sub-flow."""

    @flow
    def nightly_report() -> str:
        clip: Clip = asyncio.run(generate_clip(request_, credentials, archive_block))
        return clip.uri

    assert nightly_report().endswith(".mp4")


async def test_a_job_that_outlasts_the_waiting_is_adopted_by_the_next_run(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """The deadline stops the waiting and names the job; nothing is paid again."""
    sandbox.fault(on="get", do={"state": "processing"}, times=None)
    hasty = credentials.model_copy(update={"wait_minutes": 0.005})
    with pytest.raises(StillRunning) as caught:
        await generate_clip(request_, hasty, archive_block)
    sandbox.clear_faults()
    clip = await generate_clip(request_, credentials, archive_block)
    assert clip.job_id == caught.value.job_id
    assert made(sandbox, tag) == 1


async def test_trouble_while_waiting_and_fetching_passes(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """429, 5xx, dropped connections and cut downloads on the way to a paid video do not show."""
    for do in ({"status": 429, "retry_after": 0}, {"status": 502}, {"drop": True}):
        sandbox.fault(on="get", do=do)
    sandbox.fault(on="get", do={"no_url": True})
    sandbox.fault(on="file", do={"cut_after": 5000}, times=2)
    assert (await generate_clip(request_, credentials, archive_block)).media.frames == 72
    assert made(sandbox, tag) == 1


@pytest.mark.parametrize(
    ("code", "attempts"),
    rest_is_slow([("CONTENT_MODERATION", 1), ("UPSTREAM_BUSY", 3)], ("UPSTREAM_BUSY", 3)),
)
async def test_a_failed_job_is_told_in_words(
    code: str,
    attempts: int,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """A final failure ends the flow at once, a transient one after three attempts; both free."""
    request = VideoRequest(model="kling-v3-omni", prompt=f"[fail:{code}] {tag}", duration=3)
    paid = sandbox.stats()["paid_usd"]
    with pytest.raises(JobFailed, match=code):
        await generate_clip(request, credentials, archive_block)
    assert made(sandbox, tag) == attempts
    assert sandbox.stats()["paid_usd"] == paid


async def test_wrong_access_is_told_before_anything_is_paid(
    request_: VideoRequest,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """A wrong key, a bucket that does not exist and a store that is away each say what to fix."""
    wrong_key = credentials.model_copy(update={"api_key": SecretStr("sk_wrong")})
    with pytest.raises(KeyRefused, match="KlingCredentials"):
        await generate_clip(request_, wrong_key, archive_block)
    nowhere = archive_block.bucket.model_copy(update={"bucket_name": "nowhere"})
    with pytest.raises(StorageRefused, match="nowhere does not exist"):
        await generate_clip(
            request_, credentials, archive_block.model_copy(update={"bucket": nowhere})
        )
    keys = archive_block.bucket.credentials
    away = keys.aws_client_parameters.model_copy(
        update={
            "endpoint_url": "http://127.0.0.1:9",
            # boto3 repeats a call four times, after pauses of several seconds in all.
            "config": {"retries": {"total_max_attempts": 1}},
        }
    )
    bucket = archive_block.bucket.model_copy(
        update={"credentials": keys.model_copy(update={"aws_client_parameters": away})}
    )
    with pytest.raises(StorageUnavailable, match="did not answer"):
        await generate_clip(
            request_, credentials, archive_block.model_copy(update={"bucket": bucket})
        )
    assert made(sandbox, tag) == 0


@dataclass(frozen=True)
class MadeFilm:
    """A film that was made once for the tests that only look at it, and how to make it again."""

    film: Film
    jobs: int
    text: str
    tag: str
    credentials: KlingCredentials
    archive_block: KlingArchive


@pytest.fixture(scope="module")
def made_film(prefect_ui: str, shared_sandbox: Sandbox, s3: LocalS3) -> MadeFilm:
    """Two scenes, five shots, both kinds of continuity, made once."""
    tag = f"test-{secrets.token_hex(6)}"
    text = FILM.format(tag=tag)
    credentials = eager_credentials(shared_sandbox)
    block = local_archive(s3, prefix=tag)
    film = asyncio.run(produce_film(read_storyboard(text), credentials, block))
    return MadeFilm(film, made(shared_sandbox, tag), text, tag, credentials, block)


async def test_a_film_is_the_sum_of_its_shots(
    made_film: MadeFilm,
) -> None:
    """Five paid jobs, every frame in order, sound where a shot has it, chapters, hashes."""
    film = made_film.film
    archive = made_film.archive_block.get_archive()
    assert made_film.jobs == 5
    path = archive.bucket.path_of(film.uri)
    stored = video(archive, path)
    assert hashlib.sha256(stored.getvalue()).hexdigest() == film.sha256
    assert film.seconds == pytest.approx(sum(shot.seconds for shot in film.clips), abs=5 / 24)
    for shot in film.clips:
        kept = video(archive, f"clips/{shot.clip.clip_key}.mp4").getvalue()
        assert hashlib.sha256(kept).hexdigest() == shot.clip.sha256
    stored.seek(0)
    with av.open(stored) as container:
        assert len(container.streams.audio) == 1
        assert sum(1 for _ in container.decode(video=0)) == round(24 * film.seconds)
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == [
            s.name for s in film.clips
        ]


def links_of(page: str) -> list[str]:
    """The links to watch on a page."""
    return re.findall(r"\[Watch[^]]*\]\((http[^)]+)\)", page)


def path_of(link: str) -> str:
    """Where in the archive a signed link leads, whose prefix is one folder."""
    return urlsplit(link).path.split("/", 3)[3]


def read(link: str) -> bytes:
    """What anybody gets who has a link."""
    return httpx.get(link).raise_for_status().content


async def page_of(key: str) -> tuple[str, str]:
    """The description and the text of the newest page of this key."""
    artifact = await Artifact.aget(key)
    assert artifact is not None
    return str(artifact.description), str(artifact.data)


async def test_a_film_is_seen_in_prefect(made_film: MadeFilm, api: PrefectClient) -> None:
    """The run is named after the film and carries its report: shots, jobs, prices and addresses."""
    film = made_film.film
    description, report = await page_of(film.slug)
    assert description == f"{film.title}: {film.seconds:.1f} s, ${film.usd}"
    assert "data:image/jpeg;base64," in report, "the contact sheet is in the page"
    assert f"this run paid ${film.usd}" in report
    archive = made_film.archive_block.get_archive()
    addresses = [film.uri, *(shot.clip.uri for shot in film.clips)]
    links = links_of(report)
    assert [path_of(link) for link in links] == [archive.bucket.path_of(uri) for uri in addresses]
    assert all(read(link) for link in links)
    assert report.count("![clip](data:image/jpeg;base64,") == len(film.clips)
    for shot in film.clips:
        assert shot.clip.uri in report
        assert shot.clip.job_id in report
    runs = await api.read_flow_runs()
    assert f"film {film.title}" in [run.name for run in runs]
    scenes = [run for run in runs if run.name.startswith("scene ") and run.parent_task_run_id]
    assert {"scene 1 Chain", "scene 2 Cuts"} <= {run.name for run in scenes}
    assert {tuple(run.parameters) for run in scenes} == {("scene",)}, "data, and nothing else"


async def test_clips_and_films_are_assets(made_film: MadeFilm, api: PrefectClient) -> None:
    """The server has every clip that was made, and the film with the clips it is made of."""
    film = made_film.film
    archive = made_film.archive_block.get_archive()
    address = archive.bucket.uri(f"films/{film.slug}")
    wanted = {
        "event": {"name": ["prefect.asset.materialization.succeeded"]},
        "resource": {"id": [address]},
    }
    async with asyncio.timeout(60):
        while True:
            answer = await api._client.post("/events/filter", json={"filter": wanted | _ALL_TIME})
            if events := answer.json()["events"]:
                break
            await asyncio.sleep(0.5)
    assert events[0]["payload"]["film"] == film.uri
    related = {each["prefect.resource.id"] for each in events[0]["related"]}
    assert {clip.clip.uri for clip in film.clips} <= related


async def test_an_unchanged_film_is_found_and_costs_nothing(
    made_film: MadeFilm, sandbox: Sandbox
) -> None:
    """A second run returns the same film; a changed shot is made with what depends on it."""
    film, text = made_film.film, made_film.text
    access = made_film.credentials, made_film.archive_block
    assert await produce_film(read_storyboard(text), *access) == film
    assert made(sandbox, made_film.tag) == 5
    again = await produce_film(read_storyboard(text.replace("Second", "Zweite")), *access)
    same = [a.clip == b.clip for a, b in zip(film.clips, again.clips, strict=True)]
    assert same == [True, False, False, True, True]
    assert made(sandbox, made_film.tag) == 7


async def test_a_failing_shot_does_not_stop_the_others(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tag: str,
) -> None:
    """The others are finished, error and page name the shot and why, and the next run continues.

    The page speaks of what was, not of what may come: what was paid, what there is to watch, and
    what to do.
    """
    text = FILM.format(tag=tag)
    broken = read_storyboard(text.replace("Second", "[fail:CONTENT_MODERATION] Second"))
    before = usd(sandbox)
    with pytest.raises(FilmIncomplete) as caught:
        await produce_film(broken, credentials, archive_block)
    description, page = await page_of(broken.slug)
    assert description == f"{broken.title}: failed, 3 of 5 clips are there"
    paid = usd(sandbox) - before
    assert f"has failed: 3 of 5 clips are archived. The run paid ${paid}" in page
    assert "may pay" not in page
    why, _, rest = page.partition("## What to do")
    assert "| 1\\.2 B | " in why
    assert "CONTENT" in why
    assert "| 1\\.3 C | 1\\.2 B was not made |" in why
    assert "run the film again" in rest
    entries = [each.entry for each in archive.ledger.all_records()]
    (failed,) = [each for each in entries if each.state is EntryState.FAILED]
    assert why.count(str(failed.job_id)) == 1
    assert "- not in that sum: 1\\.2 B, failed for good, $0.1899 at most" in rest
    assert f"`prefect-kling retry {failed.clip_key}`" in rest
    links = links_of(rest)
    assert len(links) == rest.count("![clip](data:image/jpeg;base64,") == 3
    assert all(read(link) for link in links)
    assert "1.2 B" in str(caught.value)
    assert "CONTENT_MODERATION" in str(caught.value)
    assert made(sandbox, tag) == 4, "the chain stops at the failed shot, the other scene does not"
    await produce_film(read_storyboard(text), credentials, archive_block)
    assert made(sandbox, tag) == 6


async def test_a_film_with_a_held_clip_says_what_may_be_paid(
    tag: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """It is not in what the run paid; how to decide stands on the page."""
    shots = [{"prompt": f"One {tag}", "duration": 3}, {"prompt": f"Two {tag}", "duration": 3}]
    board = Storyboard.model_validate({"title": f"Held {tag}", "scenes": [{"shots": shots}]})
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    with pytest.raises(FilmIncomplete):
        await produce_film(board, credentials, archive_block)
    description, page = await page_of(board.slug)
    (held,) = [marker.clip_key for marker in archive.ledger.held_markers()]
    entries = [each.entry for each in archive.ledger.all_records()]
    (paid,) = [each.charged_usd for each in entries if each.clip_key != held]
    assert description.endswith(": failed, 1 of 2 clips are there")
    assert f"The run paid ${paid}." in page
    assert "is held and may be paid, $" in page
    assert f"`prefect-kling ledger show {held}`" in page
    assert "the rest $0 at most" in page


async def test_a_scene_alone_can_be_made(
    tag: str, credentials: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """A scene returns its clips in order and publishes its progress."""
    shots = [{"prompt": f"One {tag}"}, {"prompt": f"Two {tag}"}]
    scenes = [
        {"shots": [{"prompt": f"Not asked for {tag}"}]},
        {"title": "Alone", "duration": 3, "shots": shots},
    ]
    board = Storyboard.model_validate({"title": f"Two {tag}", "scenes": scenes})
    progress: list[ShotProgress] = []
    with subscribe(progress.append):
        clips = await produce_scene(board, credentials, archive_block, scene=2)
    with pytest.raises(StoryboardInvalid, match="no scene 3"):
        await produce_scene(board, credentials, archive_block, scene=3)
    assert made(sandbox, tag) == 2
    assert [clip.order.request.prompt for clip in clips] == [f"One {tag}", f"Two {tag}"]
    _, page = await page_of(f"{board.slug}-scene-2")
    assert len(links_of(page)) == page.count("![clip](data:image/jpeg;base64,") == 2
    stages = [each.stage for each in progress if each.shot == "2.1"]
    assert stages == [
        Stage.WAITING,
        Stage.QUEUED,
        Stage.SUBMITTING,
        Stage.RENDERING,
        Stage.ARCHIVING,
        Stage.DONE,
    ]


async def test_parameters_may_be_plain_data(
    tag: str, credentials: KlingCredentials, archive_block: KlingArchive, api: PrefectClient
) -> None:
    """A dictionary, as a form or another program sends it, is a request too."""
    request = {"model": "kling-v3-omni", "image_list": [], "prompt": f"Plain {tag}", "duration": 3}
    clip = await generate_clip(request, credentials, archive_block)  # type: ignore[arg-type]
    assert clip.media.frames == 72
    runs = await api.read_flow_runs()
    assert f"clip Plain {tag}" in [run.name for run in runs]
