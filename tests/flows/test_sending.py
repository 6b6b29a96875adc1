"""Sent and left: nothing waits while Kling renders, and everything is collected all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import (
    advance_films,
    collect_finished,
    generate_batch,
    produce_film,
    submit_batch,
    submit_film,
)
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.results import BatchResult
from prefect_kling.studio.film.pending import pending_films
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money import submission
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.tasks import submit

pytestmark = pytest.mark.usefixtures("prefect_ui")

MANY = 6


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix in str(job["body"]) for job in sandbox.jobs())


def board(archive: Archive, *, broken: bool = False) -> Storyboard:
    """A chain of three and two cuts."""
    tag = archive.bucket.prefix
    second = f"[fail:CONTENT_MODERATION] {tag}" if broken else f"Two {tag}"
    scenes = [
        {
            "continuity": "last_frame",
            "shots": [{"prompt": f"One {tag}"}, {"prompt": second}, {"prompt": f"Three {tag}"}],
        },
        {"shots": [{"prompt": f"Four {tag}"}, {"prompt": f"Five {tag}"}]},
    ]
    return Storyboard.model_validate(
        {"title": f"Left {tag}", "defaults": {"duration": 3}, "scenes": scenes}
    )


async def test_a_film_completes_itself(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Each step sends what has become possible and does not wait; the last joins the film."""
    step = await submit_film(board(archive), credentials, archive_block)
    assert (len(step.sent), len(step.waiting), made(sandbox, archive)) == (3, 2, 3)
    for sent in (4, 5):
        await wait_until_rendered(sandbox)
        await collect_finished(credentials, archive_block)
        await advance_films(credentials, archive_block)
        assert made(sandbox, archive) == sent
    await wait_until_rendered(sandbox)
    await collect_finished(credentials, archive_block)
    (done,) = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert done.film.seconds > 14
    page = await Artifact.aget(done.film.slug)
    assert page is not None
    assert str(page.data).count("[Watch") == 1 + len(done.film.clips)
    assert list(pending_films(archive)) == []
    assert await advance_films(credentials, archive_block) == []
    assert made(sandbox, archive) == 5


@pytest.mark.slow
async def test_a_broken_shot_stops_only_what_hangs_on_it(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The step names the shot and the reason, nothing is paid again, and the film stays pending."""
    await submit_film(board(archive, broken=True), credentials, archive_block)
    for _ in range(3):
        await wait_until_rendered(sandbox)
        await collect_finished(credentials, archive_block)
        steps = await advance_films(credentials, archive_block)
    assert "CONTENT_MODERATION" in steps[0].stopped["1.2"]
    assert steps[0].waiting == ["1.3"]
    assert made(sandbox, archive) == 4
    assert len(list(pending_films(archive))) == 1


@pytest.mark.slow
async def test_a_film_in_trouble_does_not_keep_others_from_completing(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The first film cannot be joined, for a clip was deleted; the next one is completed."""
    tag = archive.bucket.prefix
    boards = [
        Storyboard.model_validate(
            {"title": f"{name} {tag}", "scenes": [{"shots": [{"prompt": f"{name} {tag}"}]}]}
        )
        for name in ("A", "B")
    ]
    for board in boards:
        await submit_film(board, credentials, archive_block)
    await wait_until_rendered(sandbox)
    await collect_finished(credentials, archive_block)
    (key,) = plan_film(boards[0]).by_key
    archive.bucket.delete(f"clips/{key}.mp4")
    done, stuck = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert done.title == boards[1].title
    assert (stuck.title, list(stuck.stopped)) == (boards[0].title, ["film"])
    assert [pending.storyboard.title for pending in pending_films(archive)] == [boards[0].title]


async def test_a_pending_film_that_cannot_be_read_does_not_keep_others_from_completing(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A later version may have written it, or a person; it is told with its address."""
    tag = archive.bucket.prefix
    board = Storyboard.model_validate(
        {"title": f"C {tag}", "scenes": [{"shots": [{"prompt": f"C {tag}"}]}]}
    )
    await submit_film(board, credentials, archive_block)
    archive.bucket.put("pending/a.json", b"{", "application/json")
    await wait_until_rendered(sandbox)
    await collect_finished(credentials, archive_block)
    done, stuck = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert "pending/a.json cannot be read" in stuck.stopped["film"]


@pytest.mark.slow
async def test_what_was_stored_under_a_titles_earlier_slug_is_found(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A pending film is completed and forgotten, and a finished one is found and costs nothing."""
    board = Storyboard.model_validate(
        {"title": "港 1", "scenes": [{"shots": [{"prompt": f"D {archive.bucket.prefix}"}]}]}
    )
    await submit_film(board, credentials, archive_block)
    (pending,) = pending_films(archive)
    move(archive, pending.path, pending.path.replace(f"/{board.slug}.", "/1."))
    await wait_until_rendered(sandbox)
    await collect_finished(credentials, archive_block)
    (done,) = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert list(archive.bucket.names("pending/")) == []
    manifest = archive.bucket.path_of(done.film.manifest_uri)
    move(archive, manifest, manifest.replace(f"/{board.slug}/", "/1/"))
    assert await produce_film(board, credentials, archive_block) == done.film
    assert made(sandbox, archive) == 1


def move(archive: Archive, path: str, to: str) -> None:
    """Put an object where an earlier version has put it."""
    stored = archive.bucket.read(path)
    assert stored is not None
    assert to != path
    archive.bucket.put(to, stored.body, "application/json")
    archive.bucket.delete(path)


@pytest.mark.parametrize("flow", [generate_batch, submit_batch])
async def test_whatever_one_row_raises_is_that_rows_trouble(
    flow: Callable[..., Awaitable[BatchResult]],
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No error of a library can be provoked for certain, so one is raised amid the work."""
    tag = archive.bucket.prefix
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=f"{name} {tag}", duration=3) for name in "AB"
    ]
    submit_once = submission.submit_once

    async def sometimes(order: ClipOrder, *args: Any, **named: Any) -> Any:
        if order.request.prompt == f"A {tag}":
            raise ZeroDivisionError("in the middle of it")
        return await submit_once(order, *args, **named)

    monkeypatch.setattr(submit, "submit_once", sometimes)
    rows = await flow(requests, credentials, archive_block)
    assert [bool(row.trouble) for row in rows] == [True, False]
    assert "ZeroDivisionError: in the middle of it" in rows[0].trouble
    assert made(sandbox, archive) == 1


@pytest.mark.slow
async def test_many_clips_are_sent_and_collected(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The sending run ends without waiting; one sweep archives all; sending again sends nothing."""
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=f"{archive.bucket.prefix} {number}", duration=3)
        for number in range(MANY)
    ]
    rows = await submit_batch(requests, credentials, archive_block)
    assert len({row.job_id for row in rows}) == MANY
    assert not any(row.trouble for row in rows)
    await wait_until_rendered(sandbox)
    findings = await collect_finished(credentials, archive_block)
    assert findings.counts == {"archived": MANY}
    again = await submit_batch(requests, credentials, archive_block)
    assert [row.job_id for row in again] == [row.job_id for row in rows]
    assert made(sandbox, archive) == MANY


async def wait_until_rendered(sandbox: Sandbox) -> None:
    """Wait until no job of the sandbox is running."""
    while any(job["state"] not in ("completed", "failed") for job in sandbox.jobs()):
        await asyncio.sleep(0.1)


async def test_a_batch_keeps_its_order_and_tells_trouble_by_row(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A moderated prompt is a row with its reason; equal requests are one clip."""
    tag = archive.bucket.prefix
    prompts = [f"A {tag}", f"[fail:CONTENT_MODERATION] {tag}", f"B {tag}", f"A {tag}"]
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3) for prompt in prompts
    ]
    rows = await generate_batch(requests, credentials, archive_block)
    assert [row.clip is not None for row in rows] == [True, False, True, True]
    assert "CONTENT_MODERATION" in rows[1].trouble
    assert rows[0].clip == rows[3].clip
    assert made(sandbox, archive) == 3
