"""A process killed with SIGKILL at every point of a clip's life, and the one that comes after."""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import clip_of
from prefect_kling.studio.money.ledger import NOTHING, ClaimRequest, Entry, EntryState
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from tests.kill.conftest import PRICE
from tests.kill.crew import Api, Ending, Worker, end_all
from tests.kill.points import POINTS, SAVED, UNKNOWN, UNSENT
from tests.kill.worker import ARCHIVED, Assignment, Place


@dataclass(frozen=True)
class Story:
    """One clip: how its first worker died, how the second ended, what the API made for it."""

    task: Assignment
    first: Ending
    second: Ending
    jobs: int


@dataclass(frozen=True)
class Aftermath:
    """One archive after a worker was killed at each point, a second one for each, and a sweep."""

    place: Place
    archive: Archive
    stories: dict[str, Story]

    def entry(self, point: str) -> Entry:
        """The record of the clip whose first worker died there."""
        page = self.archive.ledger.read(self.stories[point].task.order.clip_key)
        assert page is not None
        return page.entry


@pytest.fixture(scope="module")
def aftermath(api: Api, new_place: Callable[[int], Place]) -> Aftermath:
    """Kill a worker at each point, send a second one for each clip, and sweep once."""
    place = new_place(len(POINTS))
    tasks = [
        Assignment(place, f"dies {point} {secrets.token_hex(4)}", die_at=point) for point in POINTS
    ]
    first = end_all(tasks)
    # The first ones are gone for certain, so the second ones need not give them long.
    second = end_all(
        [replace(task, die_at=None, terms=replace(task.terms, window=2.0)) for task in tasks]
    )
    archive = place.archive()
    asyncio.run(_sweep(place, archive))
    stories = {
        str(task.die_at): Story(task, one, two, len(api.jobs_of(task.prompt)))
        for task, one, two in zip(tasks, first, second, strict=True)
    }
    return Aftermath(place, archive, stories)


async def _sweep(place: Place, archive: Archive) -> None:
    async with place.client() as client:
        findings = await reconcile(archive, client, ReconcileSettings(window_seconds=0.0))
    assert "trouble" not in findings.counts


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_is_a_kill(point: str, aftermath: Aftermath) -> None:
    """The first worker really dies of SIGKILL, and where it was told to."""
    first = aftermath.stories[point].first
    assert (first.exit_code, first.last_point, first.outcome) == (-signal.SIGKILL, point, None)


@pytest.mark.parametrize("point", POINTS)
def test_no_kill_pays_twice(point: str, aftermath: Aftermath) -> None:
    """Wherever a process dies, the API makes one job for the clip at most."""
    assert aftermath.stories[point].jobs <= 1


@pytest.mark.parametrize("point", [*UNSENT, *SAVED])
def test_a_clip_finishes_by_itself_if_anything_is_known_about_it(
    point: str, aftermath: Aftermath
) -> None:
    """If nothing was sent yet, or the job's id is saved, the next run finishes the clip."""
    story = aftermath.stories[point]
    assert story.second.outcome is not None
    assert story.second.outcome.kind == ARCHIVED, story.second.outcome
    assert aftermath.entry(point).state is EntryState.ARCHIVED
    clip = aftermath.archive.find(story.task.order.clip_key)
    assert clip is not None
    assert aftermath.archive.bucket.head(f"clips/{clip.clip_key}.mp4").size == clip.bytes
    assert story.jobs == 1


@pytest.mark.parametrize("point", UNKNOWN)
def test_a_clip_is_held_if_it_may_be_paid(point: str, aftermath: Aftermath) -> None:
    """Between the mark and the saved id nobody can know: the next run holds and sends nothing."""
    story = aftermath.stories[point]
    assert story.second.outcome is not None
    assert story.second.outcome.kind == "ClipHeld"
    assert aftermath.entry(point).state is EntryState.HELD
    assert "mid-post" not in [each.point for each in story.second.passed]
    if point in ("answer-unread", "id-unsaved"):
        assert story.jobs == 1


def test_no_kill_leaks_money(aftermath: Aftermath) -> None:
    """The cap holds, archived clips make up what is spent, and held ones what is set aside."""
    accounts = aftermath.archive.budget.accounts()
    assert accounts is not None
    assert aftermath.place.cap_usd is not None
    assert accounts.committed() <= aftermath.place.cap_usd
    finished = [aftermath.entry(point) for point in (*UNSENT, *SAVED)]
    assert accounts.spent_usd == sum(entry.charged_usd or 0 for entry in finished) > 0
    held = {aftermath.entry(point).clip_key for point in UNKNOWN}
    assert {clip_of(name) for name in accounts.reserved} == held


def test_no_kill_leaves_a_stray_marker(aftermath: Aftermath) -> None:
    """After a sweep the list of open clips names the held ones and nothing else."""
    marked = {marker.clip_key for marker in aftermath.archive.ledger.open_markers()}
    assert marked == {aftermath.entry(point).clip_key for point in UNKNOWN}


def test_a_sender_that_was_only_asleep_still_saves_its_job_id(
    api: Api, new_place: Callable[[int], Place]
) -> None:
    """A process stopped between answer and receipt writes its job's id when it wakes."""
    task = Assignment(
        new_place(1), f"asleep {secrets.token_hex(4)}", die_at="id-unsaved", blow=signal.SIGSTOP
    )
    sleeper = Worker(task)
    sleeper.await_point("id-unsaved")
    (other,) = end_all([replace(task, die_at=None)])
    assert other.outcome is not None
    # A stop signal is not instant: on a busy machine the sleeper may save its id first, and then
    # the clip is archived.
    assert other.outcome.kind in ("ClipHeld", "archived")
    assert sleeper.process.pid is not None
    os.kill(sleeper.process.pid, signal.SIGCONT)
    sleeper.end()
    (job,) = api.jobs_of(task.prompt)
    page = task.place.archive().ledger.read(task.order.clip_key)
    assert page is not None
    assert page.entry.job_id == job["id"]


def test_two_deaths_and_a_release_leak_no_reservation(new_place: Callable[[int], Place]) -> None:
    """Money set aside for an earlier claim is freed when the clip is released in the end.

    The first process dies between releasing its record and freeing its money, the second one
    between its claim and its reservation; then a person releases the held clip.
    """
    place = new_place(1)
    task, archive = Assignment(place, f"twice dead {secrets.token_hex(4)}"), place.archive()
    first = archive.ledger.claim(task.order, ClaimRequest(PRICE))
    archive.budget.reserve(first.entry)
    archive.ledger.release(first, "the API was busy")
    second = archive.ledger.claim(task.order, ClaimRequest(PRICE))
    held = archive.ledger.hold(second, "vanished")
    archive.ledger.release(held, "released by a person")
    archive.budget.settle(held.entry, NOTHING)
    asyncio.run(_sweep(place, archive))
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.reserved == {}
