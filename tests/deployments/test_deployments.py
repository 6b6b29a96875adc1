"""The deployments: described once, deployed by Prefect's command, run by workers and schedules."""

import asyncio
import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect import Flow
from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments import arun_deployment
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.automations import ADVANCE_NAME, _create, line_of
from prefect_kling.deployments.catalogue import import_flow, load_deployments, read_deployments
from prefect_kling.deployments.local.processes import free_ports, running
from prefect_kling.examples.composition import through_a_deployment
from prefect_kling.flows import submit_batch, submit_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.pending import pending_films
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from tests.deployed import forget_deployments
from tests.deployments.door import with_receiver
from tests.lane import rest_is_slow

ROOT = Path(__file__).parent.parent.parent
PREFECT = str(Path(sys.executable).parent / "prefect")
# Whose forms the contributor's lane fills in.
IN_THE_LANE = ("film", "batch", "collect-finished")


@pytest.fixture
async def api(prefect_ui: str) -> AsyncIterator[PrefectClient]:
    """A client of the Prefect server."""
    async with get_client() as api:
        yield api


@pytest.fixture(scope="module")
def surroundings(prefect_ui: str) -> dict[str, str]:
    """What a process needs to use the test's server, looking for work every second."""
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_API_URL": f"{prefect_ui}/api"}
    return dict(os.environ) | quick


@pytest.fixture(scope="module")
def worker(
    surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Everything deployed by `prefect deploy --all` into a process pool with a worker."""

    async def make_pool() -> None:
        async with get_client() as api:
            await api.create_work_pool(WorkPoolCreate(name="kling", type="process"))

    asyncio.run(make_pool())
    command = [
        PREFECT,
        "--no-prompt",
        "deploy",
        "--prefect-file",
        str(ROOT / "deployments" / "prefect.yaml"),
        "--all",
    ]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = tmp_path_factory.mktemp("worker") / "log"
    start = [PREFECT, "worker", "start", "--pool", "kling"]
    with running(start, surroundings, log, lambda: "started!" in log.read_text()):
        yield
    asyncio.run(forget_deployments())


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


def storyboard(archive: Archive) -> str:
    """A film of one shot."""
    return (
        f"title: Deployed {archive.bucket.prefix}\nscenes:\n  - shots:\n"
        f"      - {{prompt: A lamp, duration: 3}}\n"
    )


async def ended(run: FlowRun, api: PrefectClient) -> FlowRun:
    """Wait for the end of a run."""
    async with asyncio.timeout(120):
        while (seen := await api.read_flow_run(run.id)).state_type not in (
            StateType.COMPLETED,
            StateType.FAILED,
        ):
            await asyncio.sleep(0.5)
    return seen


async def test_serving_and_deploying_describe_the_same() -> None:
    """Every flow has a deployment, every deployment a flow and a text, and all is off at first."""
    served = {each.name: each for each in await load_deployments()}
    for each in read_deployments():
        assert import_flow(each["entrypoint"]).fn.__doc__
        assert each["description"]
        assert served[each["name"]].entrypoint == each["entrypoint"]
        assert not any(trigger["enabled"] for trigger in each.get("triggers", ()))
        assert not any(schedule.active for schedule in served[each["name"]].schedules or ())
    from prefect_kling import flows

    things = [getattr(flows, name) for name in flows.__all__]
    assert {import_flow(each["entrypoint"]).name for each in read_deployments()} == {
        each.name for each in things if isinstance(each, Flow)
    }


@pytest.mark.usefixtures("default_blocks")
@pytest.mark.parametrize(
    "each",
    rest_is_slow(
        (each for each in read_deployments() if "internal" not in each["tags"]),
        *(each for each in read_deployments() if each["name"] in IN_THE_LANE),
    ),
    ids=lambda each: str(each["name"]),
)
async def test_a_form_left_as_it_is_makes_what_it_shows(each: dict[str, Any]) -> None:
    """Every deployment for people is filled in with a working example and the default blocks."""
    state = await import_flow(each["entrypoint"])(**each["parameters"], return_state=True)
    assert state.is_completed(), state.message


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
async def test_a_worker_runs_what_was_deployed(
    blocks: dict[str, Any], archive: Archive, api: PrefectClient
) -> None:
    """`prefect deploy --all` needs no path of this machine; a worker makes a film from a form."""
    deployed = await api.read_deployments()
    mine = {each.name: each for each in deployed if each.work_pool_name == "kling"}
    assert set(mine) == {each["name"] for each in read_deployments()}
    assert not any(each.pull_steps for each in mine.values())
    assert not any(each.path and str(ROOT) in each.path for each in mine.values())
    parameters = blocks | {"storyboard": storyboard(archive)}
    run = await arun_deployment("produce-film/film", parameters=parameters, timeout=0)
    done = await ended(run, api)
    assert done.state_type is StateType.COMPLETED, done.state
    assert done.name == f"film Deployed {archive.bucket.prefix}"
    assert sum(name.endswith("film.mp4") for name in archive.bucket.names("films/")) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
async def test_a_schedule_fires_by_itself(
    blocks: dict[str, Any], archive: Archive, api: PrefectClient, sandbox: Sandbox
) -> None:
    """Switched on, a schedule with its own parameters makes its film by itself."""
    deployment = await api.read_deployment_by_name("produce-film/film")
    parameters = blocks | {"storyboard": storyboard(archive)}
    await api.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters))
    every = IntervalSchedule(interval=timedelta(seconds=15))
    (schedule,) = await api.create_deployment_schedules(deployment.id, [(every, True)])
    try:
        async with asyncio.timeout(90):
            while not any(name.endswith("film.mp4") for name in archive.bucket.names("films/")):
                await asyncio.sleep(0.5)
    finally:
        await api.delete_deployment_schedule(deployment.id, schedule.id)
    assert sum(archive.bucket.prefix in str(job["body"]) for job in sandbox.jobs()) <= 1


@pytest.fixture
async def watched(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> AsyncIterator[KlingCredentials]:
    """The blocks upkeep uses, with a receiver; other tests count on their absence."""
    access = with_receiver(credentials, free_ports(1)[0])
    await access.asave("default", overwrite=True)
    await archive_block.asave("default", overwrite=True)
    yield access
    await KlingCredentials.adelete("default")
    await KlingArchive.adelete("default")


@pytest.fixture
def receiver(
    watched: KlingCredentials, surroundings: dict[str, str], tmp_path: Path
) -> Iterator[None]:
    """`prefect-kling receiver`, as a process of its own."""
    root = str(watched.receiver_url).removesuffix("/kling")
    command = [
        str(Path(sys.executable).parent / "prefect-kling"),
        "receiver",
        "--port",
        root.rpartition(":")[2],
    ]

    def is_up() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{root}/health", trust_env=False).text == "ok"
        return False

    with running(command, surroundings, tmp_path / "log", is_up):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("worker", "receiver")
async def test_a_film_that_was_sent_and_left_completes_itself(
    watched: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The receiver archives each of two chained shots, its event starts advance-films."""
    assert [line_of(each) for each in await _create(None)] == [f"created: {ADVANCE_NAME}"]
    tag = archive.bucket.prefix.strip("/")
    shots = [{"prompt": f"One {tag}"}, {"prompt": f"Two {tag}"}]
    scenes = [{"continuity": "last_frame", "shots": shots}]
    board = Storyboard.model_validate(
        {"title": f"Left {tag}", "defaults": {"duration": 3}, "scenes": scenes}
    )
    try:
        step = await submit_film(board, watched, archive_block)
        assert (step.sent, step.waiting) == (["1.1"], ["1.2"])
        async with asyncio.timeout(180):
            while list(pending_films(archive)):
                await asyncio.sleep(0.5)
    finally:
        await (await Automation.aread(name=ADVANCE_NAME)).adelete()
    assert sum(name.endswith("film.mp4") for name in archive.bucket.names("films/")) == 1
    assert sum(tag in str(job["body"]) for job in sandbox.jobs()) == 2


class Webhook(http.server.BaseHTTPRequestHandler):
    """What a webhook of Prefect Cloud does with the template in the documents."""

    api = ""

    def do_POST(self) -> None:
        """Tell the Prefect server of the call; what the API says is not even read."""
        (template,) = re.findall(
            r"```json\n(.*?)```", (ROOT / "docs" / "how-to" / "receiver.md").read_text(), re.DOTALL
        )
        told = {
            "occurred": datetime.now(UTC).isoformat(),
            "id": str(uuid4()),
            **json.loads(template),
        }
        httpx.post(f"{self.api}/events", json=[told], trust_env=False).raise_for_status()
        self.send_response(202)
        self.end_headers()


@pytest.fixture
def webhook(prefect_ui: str) -> Iterator[str]:
    """A webhook's address."""
    Webhook.api = f"{prefect_ui}/api"
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        threads.submit(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}/hooks/kling"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("worker", "default_blocks")
async def test_a_webhook_will_do_in_place_of_a_receiver(
    webhook: str, credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive
) -> None:
    """The API calls it, its event starts collect-finished by the deployed trigger."""
    trigger = await Automation.aread(name="the API has called a webhook")
    trigger.enabled = True
    await trigger.aupdate()
    calling = credentials.model_copy(update={"webhook_url": SecretStr(webhook)})
    (row,) = await submit_batch(
        f"prompt,duration\nA lamp {archive.bucket.prefix},3\n", calling, archive_block
    )
    async with asyncio.timeout(120):
        while archive.find(row.clip_key) is None:
            await asyncio.sleep(0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
async def test_a_wrong_form_is_refused_before_the_run_starts(blocks: dict[str, Any]) -> None:
    """A choice that does not exist is told by the server, naming the field; no run is made."""
    from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError

    clip = {"prompt": "A lamp", "quality": "8k"}
    with pytest.raises((PrefectHTTPStatusError, ParameterTypeError)) as caught:
        await arun_deployment(
            "quick-clip/quick-clip", parameters=blocks | {"clip": clip}, timeout=0
        )
    assert "quality" in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
async def test_a_block_that_is_missing_is_named_in_the_log(api: PrefectClient) -> None:
    """Where there are no blocks called default, the run says so and what to do."""
    run = await arun_deployment("quick-clip/quick-clip", timeout=0)
    done = await ended(run, api)
    assert done.state_type is StateType.FAILED
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    told: list[str] = []
    async with asyncio.timeout(30):
        while len(told) < 2:
            await asyncio.sleep(0.2)
            told = [
                each.message
                for each in await api.read_logs(wanted)
                if "prefect-kling setup" in each.message
            ]
    assert [message.split(";")[0] for message in told] == [
        "credentials: Unable to find block document named default for block type kling-credentials",
        "archive: Unable to find block document named default for block type kling-archive",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("worker", "default_blocks")
async def test_another_flow_starts_a_deployment() -> None:
    """The example that goes through a deployment gets its clip with the deployment's blocks."""
    assert await through_a_deployment("A kettle") == "Completed"
