"""Somebody picks takes in the Prefect UI, in a real browser; a run that is killed loses nothing."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment
from prefect.states import Scheduled

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.export import find_film
from prefect_kling.studio.money.archive import Archive
from tests.browser import browser_page, open_artifact, resume_run

if TYPE_CHECKING:
    from playwright.async_api import Page

FIVE = """
title: Picked {tag}
defaults: {{duration: 3, takes: 3}}
scenes:
  - title: Morning
    continuity: last_frame
    shots:
      - {{title: The knock, prompt: "A knock at the door, {tag}"}}
      - {{title: The parcel, prompt: "A small parcel on the mat, {tag}"}}
  - title: The street
    shots:
      - {{title: The courier, prompt: "A courier cycles away, {tag}"}}
      - {{title: The cat, prompt: "A cat on a wall, {tag}"}}
      - {{title: Rain, prompt: "Rain on a window, {tag}"}}
"""
TWO = """
title: Killed {tag}
defaults: {{duration: 3, takes: 2}}
scenes:
  - shots:
      - {{prompt: "A {tag}"}}
      - {{prompt: "B {tag}"}}
"""
DEPLOYMENT = "produce-film/film"
PATIENCE_SECONDS = 300

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("served")]


@pytest.fixture
async def blocks(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive
) -> dict[str, Any]:
    """References to stored blocks, the way a run form sends them."""
    name = archive.bucket.prefix.strip("/")
    saved = {
        "credentials": await credentials.asave(name, overwrite=True),
        "archive": await archive_block.asave(name, overwrite=True),
    }
    return {kind: {"$ref": {"block_document_id": str(block)}} for kind, block in saved.items()}


async def start(
    film: str, blocks: dict[str, Any], archive: Archive, within_hours: float = 1.0
) -> FlowRun:
    """Start the deployment as its form does, which asks for picks."""
    parameters = {
        "storyboard": film.format(tag=archive.bucket.prefix.strip("/")),
        "spending": {"approve_within_hours": within_hours},
    }
    return await arun_deployment(DEPLOYMENT, parameters=blocks | parameters, timeout=0)


async def until(state: StateType, run: FlowRun, api: PrefectClient) -> None:
    """Wait until a run is in a state."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (seen := await api.read_flow_run(run.id)).state_type is not state:
            assert seen.state_type is not StateType.FAILED, seen.state
            await asyncio.sleep(0.5)


async def until_asked(question: str, run: FlowRun, api: PrefectClient) -> list[str]:
    """Wait until a run is suspended with this question, and return the names of its fields."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            seen = await api.read_flow_run(run.id)
            assert seen.state is not None
            assert seen.state_type is not StateType.FAILED, seen.state
            keys = seen.state.state_details.run_input_keyset or {}
            if keys.get("schema") == f"suspended-{question}-schema":
                schema = json.loads(await api.read_flow_run_input(run.id, keys["schema"]))
                fields = list(schema["properties"])
                assert schema["required"] == fields, "no pick is called optional"
                return fields
            await asyncio.sleep(0.5)


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


def film_of(archive: Archive) -> Film:
    """The film that was joined."""
    (manifest,) = [name for name in archive.bucket.names("films/") if "manifest" in name]
    return find_film(manifest, archive)


async def look_at_takes(page: "Page", ui: str, film: str, shots: int, picture: Path) -> None:
    """Look at the page with the takes; every picture on it is shown."""
    artifact = await Artifact.aget(f"{film}-takes")
    assert artifact is not None
    assert artifact.id is not None
    await open_artifact(page, ui, artifact.id, "v2")
    pictures = page.get_by_role("img", name="Takes")
    await pictures.nth(shots - 1).wait_for()
    for number in range(shots):
        seen = "picture => picture.complete && picture.naturalWidth > 0"
        assert await pictures.nth(number).evaluate(seen)
    await page.screenshot(path=picture, full_page=True, animations="disabled")


async def test_five_shots_are_picked_in_a_browser(
    blocks: dict[str, Any],
    prefect_ui: str,
    api: PrefectClient,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """One run of 15 jobs: it asks for four shots, then for the one made from the first's pick."""
    run = await start(FIVE, blocks, archive)
    assert len(await until_asked("picks-1", run, api)) == 4
    assert made(sandbox, archive) == 12
    slug = f"picked-{archive.bucket.prefix.strip('/')}"
    async with browser_page() as page:
        await look_at_takes(page, prefect_ui, slug, 4, tmp_path / "takes.png")
        first = {"1.1 The knock": "take 2", "2.2 The cat": "take 3"}
        await resume_run(page, prefect_ui, run.id, first, "v2")
        assert len(await until_asked("picks-1-2", run, api)) == 1
        assert made(sandbox, archive) == 15
        await resume_run(page, prefect_ui, run.id, {"1.2 The parcel": "take 3"}, "v2")
    await until(StateType.COMPLETED, run, api)
    assert made(sandbox, archive) == 15
    film = film_of(archive)
    assert [each.clip.order.take for each in film.clips] == [2, 3, 1, 3, 1]
    assert film.clips[1].made_from == (film.clips[0].clip.clip_key,)
    page_of_film = await Artifact.aget(slug)
    assert page_of_film is not None
    assert "worth $0.9495; this run paid $2.8485" in str(page_of_film.data)


async def test_a_late_answer_and_a_killed_run_lose_nothing(
    blocks: dict[str, Any], api: PrefectClient, archive: Archive, sandbox: Sandbox
) -> None:
    """The takes of a run that nobody answered are there for the next one, which asks again.

    Suspended it has no process; killed when it goes on, it finds the answer. Nothing is paid twice.
    """
    late = await start(TWO, blocks, archive, within_hours=1 / 3600)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await api.read_flow_run(late.id)).state_type is not StateType.FAILED:
            await asyncio.sleep(0.5)
    assert made(sandbox, archive) == 4

    run = await start(TWO, blocks, archive)
    fields = await until_asked("picks-1", run, api)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while processes_of(run.id):
            await asyncio.sleep(0.1)
    title = f"Killed {archive.bucket.prefix.strip('/')}"
    page = await Artifact.aget(title.lower().replace(" ", "-"))
    assert page is not None
    assert page.description == f"{title}: 4 of 4 clips", "neither failed nor interrupted"
    await api.resume_flow_run(run.id, run_input=dict.fromkeys(fields, "take 2"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (going := processes_of(run.id)):
            await asyncio.sleep(0.05)
    for process in going:
        os.kill(process, signal.SIGKILL)
    await until(StateType.CRASHED, run, api)
    assert not any("/picks/" in name for name in archive.bucket.names("films/"))

    await api.set_flow_run_state(run.id, Scheduled(), force=True)
    await until(StateType.COMPLETED, run, api)
    assert made(sandbox, archive) == 4
    assert [each.clip.order.take for each in film_of(archive).clips] == [2, 2]


def processes_of(run: UUID) -> list[int]:
    """Processes that execute a flow run, by their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            surroundings = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"FLOW_RUN_ID={run}".encode() in surroundings:
            found.append(int(folder.name))
    return found
