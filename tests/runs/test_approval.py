"""A person approves or refuses a film in the Prefect UI, in a real browser.

In the first UI a batch is approved, in `tests/by_hand`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from prefect.artifacts import Artifact
from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.automations import (
    _block_id,
    bring_up_to_date,
    message_automations,
)
from prefect_kling.flows import produce_film
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import NotApproved
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.money.archive import Archive
from tests.browser import browser_page, open_resume_form, resume_run
from tests.inbox import Inbox, open_inbox, until_loaded

if TYPE_CHECKING:
    from playwright.async_api import Response, Route

FILM = """
title: Ask {tag}
defaults: {{duration: 3}}
scenes:
  - shots:
      - {{title: A, prompt: "Asked for {tag}"}}
      - {{title: B, prompt: "Asked for {tag} too"}}
"""
DEPLOYMENT = "produce-film/film"


@pytest.fixture
async def called(prefect_ui: str) -> AsyncIterator[Inbox]:
    """Where the message arrives that somebody must approve."""
    with open_inbox() as inbox:
        await inbox.block.asave("approvals", overwrite=True)
        block = await _block_id(f"{inbox.block.get_block_type_slug()}/approvals")
        (alarm,) = [each for each in message_automations(block) if "approve" in each.name]
        await bring_up_to_date([alarm])
        await until_loaded()
        yield inbox
        await (await Automation.aread(name=alarm.name)).adelete()


@pytest.fixture
async def asked(
    called: Inbox,
    served: None,
    api: PrefectClient,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
) -> FlowRun:
    """A film whose run waits for approval."""
    name = archive.bucket.prefix.strip("/")
    blocks = {
        "credentials": await credentials.asave(name, overwrite=True),
        "archive": await archive_block.asave(name, overwrite=True),
    }
    parameters: dict[str, Any] = {
        "storyboard": FILM.format(tag=name),
        "spending": {"approve_above_usd": 0.1},
        **{kind: {"$ref": {"block_document_id": str(block)}} for kind, block in blocks.items()},
    }
    run = await arun_deployment(DEPLOYMENT, parameters=parameters, timeout=0)
    return await until(StateType.PAUSED, run, api)


async def until(state: StateType, run: FlowRun, api: PrefectClient) -> FlowRun:
    """Wait until a run is in a state."""
    async with asyncio.timeout(120):
        while (seen := await api.read_flow_run(run.id)).state_type is not state:
            assert seen.state_type not in (StateType.FAILED, StateType.CRASHED), seen.state
            await asyncio.sleep(0.5)
    return seen


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


async def quote_of(run: FlowRun, api: PrefectClient) -> str:
    """The page that shows what is to be approved."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    (artifact,) = await api.read_artifacts(artifact_filter=of_run)
    return str(artifact.data)


async def answer_busy(route: "Route") -> None:
    """Answer a request as Prefect's server does when SQLite is locked."""
    await route.fulfill(status=503, json={"exception_message": "Service Unavailable"})


def note_resume(answer: "Response", answers: list[int]) -> None:
    """Note the status of an answer to a request that resumes a run."""
    if answer.url.endswith("/resume"):
        answers.append(answer.status)


@pytest.mark.slow
async def test_an_approved_film_is_made(
    asked: FlowRun,
    called: Inbox,
    prefect_ui: str,
    api: PrefectClient,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """The form says what it will cost; approved, the film is made for that price.

    Whoever is to answer is called, with the link; the run's state says what to do, and its page
    shows prompts and prices. The server is busy when the form is sent first, as it is when SQLite
    is locked; it is sent again until it was taken, and never after that.
    """
    assert made(sandbox, archive) == 0
    tag = archive.bucket.prefix.strip("/")
    (message,) = await called.about(f"film Ask {tag} may cost $0.3798")
    assert message["text"].endswith(f"{prefect_ui}/runs/flow-run/{asked.id}")
    assert asked.state is not None
    assert str(asked.state.message).startswith("$0.3798 may be paid, above $0.10 somebody must")
    assert "see the quote under Artifacts, and press Resume" in str(asked.state.message)
    page_of_quote = await quote_of(asked, api)
    for part in (f"Asked for {tag} too", "$0.1899", "to be paid", "Press *Resume*", "Until **"):
        assert part in page_of_quote
    async with browser_page() as page:
        await page.route("**/resume", answer_busy, times=1)
        answers: list[int] = []
        page.on("response", lambda answer: note_resume(answer, answers))
        form = await open_resume_form(page, prefect_ui, asked.id, "v2")
        # The form is shown before its description has come.
        await form.get_by_text("$0.3798 are to be paid").first.wait_for()
        await resume_run(
            page, prefect_ui, asked.id, {"Your decision": "approve", "Comment": "go on"}, "v2"
        )
    busy, taken = answers[:-1], answers[-1]
    assert busy
    assert all(status >= 500 for status in busy)
    assert taken < 500
    await until(StateType.COMPLETED, asked, api)
    assert made(sandbox, archive) == 2
    assert sum(name.endswith("film.mp4") for name in archive.bucket.names("films/")) == 1


@pytest.mark.slow
async def test_a_refused_film_costs_nothing(
    asked: FlowRun, prefect_ui: str, api: PrefectClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Refused, the run fails saying so, and nothing was sent."""
    async with browser_page() as page:
        await resume_run(
            page, prefect_ui, asked.id, {"Your decision": "refuse", "Comment": "too dear"}, "v2"
        )
    async with asyncio.timeout(120):
        while (run := await api.read_flow_run(asked.id)).state_type is not StateType.FAILED:
            await asyncio.sleep(0.5)
    assert run.state is not None
    assert "too dear" in str(run.state.message)
    assert made(sandbox, archive) == 0


@pytest.mark.usefixtures("prefect_ui")
async def test_a_run_without_a_deployment_cannot_wait(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Nobody could be asked, so nothing is spent, and the error says what to do."""
    board = read_storyboard(FILM.format(tag=archive.bucket.prefix.strip("/")))
    with pytest.raises(NotApproved, match="deploy the flow"):
        await produce_film(
            board, credentials, archive_block, Spending.model_validate({"approve_above_usd": 0.1})
        )
    assert made(sandbox, archive) == 0


STORY = """
title: Ask all {tag}
defaults: {{duration: 3}}
scenes:
  - shots: [{{prompt: "Shared {tag}"}}, {{prompt: "{{{{word}}}} {tag}"}}]
versions:
  - {{name: one, variables: {{word: One}}}}
  - {{name: two, variables: {{word: Two}}}}
  - {{name: three, variables: {{word: Three}}}}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("served")
async def test_all_versions_of_a_story_are_approved_at_once(
    api: PrefectClient,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """One question, about the sum of the different clips; then all films are made."""
    tag = archive.bucket.prefix.strip("/")
    blocks = {
        "credentials": await credentials.asave(tag, overwrite=True),
        "archive": await archive_block.asave(tag, overwrite=True),
    }
    parameters: dict[str, Any] = {
        "storyboard": STORY.format(tag=tag),
        "spending": {"approve_above_usd": 0.7},
        **{kind: {"$ref": {"block_document_id": str(block)}} for kind, block in blocks.items()},
    }
    run = await arun_deployment("produce-versions/film-versions", parameters=parameters, timeout=0)
    paused = await until(StateType.PAUSED, run, api)
    assert made(sandbox, archive) == 0
    assert paused.state is not None
    page = await Artifact.aget(f"ask-all-{tag}-quote")
    assert page is not None
    assert "$0.7596 are to be paid" in str(page.data)
    assert "all 3 versions are worth $0.7596" in str(page.data)
    answer = {"decision": "approve", "up_to_usd": 0.7596}
    await api.resume_flow_run(run.id, run_input=answer)
    await until(StateType.COMPLETED, run, api)
    states = await api.read_flow_run_states(run.id)
    assert [each.type for each in states].count(StateType.PAUSED) == 1, "it was asked once"
    assert made(sandbox, archive) == 4
    assert sum(name.endswith("film.mp4") for name in archive.bucket.names("films/")) == 3
