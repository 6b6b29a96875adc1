"""Every flow that makes a film is authorized the same way: quote, notes, budgets, approval."""

import logging
from collections.abc import Awaitable, Callable

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film, produce_scene, submit_film
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, FilmIncomplete, NotApproved, OverBudget
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState
from tests.lane import rest_is_slow

pytestmark = pytest.mark.usefixtures("prefect_ui")

FilmFlow = Callable[..., Awaitable[object]]
FLOWS = [produce_film, produce_scene, submit_film]


def board(archive: Archive) -> Storyboard:
    """Two shots; the plan notes that they differ in size."""
    tag = archive.bucket.prefix
    shots = [{"prompt": f"Small {tag}"}, {"prompt": f"Large {tag}", "mode": "pro"}]
    return Storyboard.model_validate(
        {"title": f"Sizes {tag}", "defaults": {"duration": 3}, "scenes": [{"shots": shots}]}
    )


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix in str(job["body"]) for job in sandbox.jobs())


@pytest.mark.parametrize("film_flow", FLOWS, ids=lambda each: each.name)
async def test_the_notes_are_logged_before_a_budget_refuses(
    film_flow: FilmFlow,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is refused knows what the film would have been; nothing is sent."""
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    poor = Spending.model_validate({"budget_usd": 0.2})
    with pytest.raises(OverBudget):
        await film_flow(board(archive), credentials, archive_block, spending=poor)
    assert "2 clips (0 archived, 0 under way), at most $" in caplog.text
    assert "shots differ in" in caplog.text
    assert made(sandbox, archive) == 0


@pytest.mark.parametrize("film_flow", FLOWS, ids=lambda each: each.name)
async def test_approval_is_asked_for_above_the_limit(
    film_flow: FilmFlow,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Outside of a deployment nobody can be asked, so nothing is spent."""
    ask = Spending.model_validate({"approve_above_usd": 0.2})
    with pytest.raises(NotApproved, match="deploy the flow"):
        await film_flow(board(archive), credentials, archive_block, spending=ask)
    assert made(sandbox, archive) == 0


async def hold(
    storyboard: Storyboard, credentials: KlingCredentials, archive: KlingArchive, sandbox: Sandbox
) -> None:
    """Have both clips held: their answers are lost."""
    sandbox.fault(on="create", do={"drop": True}, times=2)
    step = await submit_film(storyboard, credentials, archive)
    assert len(step.stopped) == 2
    states = {
        archive.get_archive().ledger.read(key).entry.state  # type: ignore[union-attr]
        for key in archive.get_archive().ledger.all_keys("")
    }
    assert states == {EntryState.HELD}


@pytest.mark.parametrize("film_flow", rest_is_slow(FLOWS, FLOWS[0]), ids=lambda each: each.name)
async def test_who_resubmits_is_quoted_the_held_clips_too(
    film_flow: FilmFlow,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Sent again, a held clip may be paid again: approval is asked for its price as well."""
    storyboard = board(archive)
    await hold(storyboard, credentials, archive_block, sandbox)
    resubmit = Spending.model_validate({"approve_above_usd": 0.2, "on_unknown": "resubmit"})
    with pytest.raises(NotApproved):
        await film_flow(storyboard, credentials, archive_block, spending=resubmit)


async def test_submit_film_sends_held_clips_again_only_where_that_was_chosen(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """By default a held clip stays held; with `on_unknown="resubmit"` this run sends it again."""
    storyboard = board(archive)
    await hold(storyboard, credentials, archive_block, sandbox)
    before = made(sandbox, archive)
    step = await submit_film(storyboard, credentials, archive_block)
    assert (len(step.stopped), made(sandbox, archive)) == (2, before)
    with pytest.raises(FilmIncomplete) as caught:
        await produce_film(storyboard, credentials, archive_block)
    assert {type(error) for error in caught.value.reasons.values()} == {ClipHeld}

    resubmit = Spending.model_validate({"on_unknown": "resubmit"})
    step = await submit_film(storyboard, credentials, archive_block, resubmit)
    assert (len(step.sent), len(step.stopped)) == (2, 0)
    assert made(sandbox, archive) == before + 2
