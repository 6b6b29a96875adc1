"""Teams keep their Prefect server's records in PostgreSQL: the same films, many runs at once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from prefect import flow, tags
from prefect.artifacts import Artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import StateType

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.flows import generate_clip, produce_film
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from tests.postgres import postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL database, where the Prefect server keeps its records."""
    with postgres() as address:
        url = address.replace("postgresql://", "postgresql+asyncpg://")
        with prefect_server(tmp_path_factory.mktemp("prefect"), url):
            yield address


@pytest.fixture
async def api(database: str) -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server."""
    async with get_client() as api:
        yield api


@pytest.fixture
async def tables(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A look into the database itself, past the server."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
def tag(archive: Archive) -> str:
    """Words that make this test's prompts its own."""
    return archive.bucket.prefix.strip("/")


def made(sandbox: Sandbox, tag: str) -> int:
    """How many jobs the API really made for this test."""
    return sum(tag in str(job["body"].get("prompt")) for job in sandbox.jobs())


@pytest.fixture
def storyboard(tag: str) -> Storyboard:
    """A chain and a cut, four shots."""
    scenes = [
        {"continuity": name, "shots": [{"prompt": f"{name} {n} {tag}"} for n in range(2)]}
        for name in ("last_frame", "cut")
    ]
    return Storyboard.model_validate(
        {"title": f"Postgres {tag}", "defaults": {"duration": 3}, "scenes": scenes}
    )


async def see_completed(api: PrefectClient, tag: str, names: set[str]) -> None:
    """Wait until task runs of these names and this tag are completed; they are recorded late."""
    wanted = TaskRunFilter(tags={"all_": [tag]}, state={"type": {"any_": [StateType.COMPLETED]}})
    async with asyncio.timeout(60):
        while True:
            if names <= {run.name for run in await api.read_task_runs(task_run_filter=wanted)}:
                return
            await asyncio.sleep(0.2)


async def test_a_film_is_recorded_in_postgresql_and_paid_once(
    storyboard: Storyboard,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
    api: PrefectClient,
    tables: asyncpg.Connection,
) -> None:
    """Run, task runs and page are read back from the server; again costs nothing."""
    with tags(tag):
        film = await produce_film(storyboard, credentials, archive_block)
    (run,) = await api.read_flow_runs(
        flow_run_filter=FlowRunFilter(name={"any_": [f"film {film.title}"]})
    )
    assert run.state_type is StateType.COMPLETED
    row = await tables.fetchrow("SELECT name, state_type::text FROM flow_run WHERE id = $1", run.id)
    assert tuple(row) == (run.name, "COMPLETED")
    steps = {
        f"{step} {shot.name}" for step in ("submit", "wait for", "archive") for shot in film.clips
    }
    await see_completed(api, tag, steps | {"hand over 1.1 to 1.2", f"assemble {film.title}"})
    page = await Artifact.aget(film.slug)
    assert page is not None
    assert all(shot.clip.uri in str(page.data) for shot in film.clips)
    assert await produce_film(storyboard, credentials, archive_block) == film
    assert made(sandbox, tag) == 4


async def test_forty_runs_at_once_do_not_overburden_the_server(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
    tag: str,
    tables: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten runs share each of four clips; all end well, and no request is answered by a 5xx."""
    prompts = [f"{n % 4} {tag}" for n in range(40)]

    @flow
    async def everything() -> None:
        requests = [
            VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3) for prompt in prompts
        ]
        await asyncio.gather(
            *[generate_clip(request, credentials, archive_block) for request in requests]
        )

    with caplog.at_level(logging.INFO, "httpx"):
        await everything()
    answers = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert len(answers) > len(prompts)
    assert [answer for answer in answers if '"HTTP/1.1 5' in answer] == []
    states = await tables.fetch(
        "SELECT state_type::text, count(*) FROM flow_run WHERE name LIKE 'clip %' || $1 GROUP BY 1",
        tag,
    )
    assert dict(states) == {"COMPLETED": 40}
    assert made(sandbox, tag) == 4
