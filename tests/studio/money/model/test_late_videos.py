"""A job that counted as failed has a video after all: it is booked once, whoever dies meanwhile.

Its money was freed before the next attempt, so nothing is set aside for it when its price is known.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest

from prefect_kling.kling.job import JobState
from prefect_kling.studio.money.budget import Accounts
from prefect_kling.studio.storage import layout
from tests.studio.money.model.store import Actor
from tests.studio.money.model.world import LISTED, World

FIRST_USD = Decimal("0.25")
"""What the API's record says of its odd jobs; the second one has no record."""


def sent_twice(world: World) -> Actor:
    """Return the process that waits for the second job, which was sent because the first failed."""
    first = world.make("one")
    while first.waits_for != "get":
        world.step(first)
    (failed,) = world.api.jobs
    world.end_job(failed, JobState.FAILED, is_retryable=True)
    world.finish(first)
    second = world.make("one")
    while len(world.api.jobs) < 2 or second.waits_for != "get":
        world.step(second)
    world.end_job(failed, JobState.COMPLETED, is_retryable=False)
    return second


def beside_its_successor(world: World) -> tuple[Actor, Decimal]:
    """Both jobs have videos: return the process that is about to learn of the second, and all."""
    process = sent_twice(world)
    world.end_job(world.api.jobs[1], JobState.COMPLETED, is_retryable=False)
    return process, FIRST_USD + LISTED


def in_place_of_its_successor(world: World) -> tuple[Actor, Decimal]:
    """The second job has failed: return a process that looks at the first once more, and all."""
    process = sent_twice(world)
    world.end_job(world.api.jobs[1], JobState.FAILED, is_retryable=True)
    world.finish(process)
    return world.make("one"), FIRST_USD


Late = Callable[[World], tuple[Actor, Decimal]]
EVERY_WAY = pytest.mark.parametrize("late", [beside_its_successor, in_place_of_its_successor])


def check_books(world: World, usd: Decimal) -> None:
    """Sweep until nothing is left, and look at the accounts."""
    for _ in range(3):
        world.clock.now += 3600
        world.finish(world.sweep())
    accounts = Accounts.model_validate_json(world.store.objects[layout.BUDGET][0])
    assert accounts.reserved == {}, "\n".join(world.log)
    assert accounts.spent_usd == usd, "\n".join(world.log)


def after_every_step(late: Late, follow: Callable[[World, Actor], None]) -> None:
    """Let the process take so many steps, then something follow, then look at the accounts."""
    has_ended = False
    steps = 0
    while not has_ended:
        world = World()
        try:
            process, usd = late(world)
            for _ in range(steps):
                world.step(process)
            has_ended = process.is_finished
            follow(world, process)
            check_books(world, usd)
        finally:
            world.end()
        steps += 1


@EVERY_WAY
def test_wherever_a_process_dies_a_late_video_is_booked_once(late: Late) -> None:
    """Dying before any call, it leaves either its note or its money to the next sweep."""
    after_every_step(late, lambda world, process: world.step(process, "die"))


@EVERY_WAY
def test_wherever_a_sweep_comes_between_a_late_video_is_booked_once(late: Late) -> None:
    """Both may set money aside and note the price; the record and the accounts let one through."""

    def sweep(world: World, process: Actor) -> None:
        world.finish(world.sweep())
        world.finish(process)

    after_every_step(late, sweep)


@pytest.mark.slow
@EVERY_WAY
def test_wherever_a_sweep_stops_and_goes_on_later_a_late_video_is_booked_once(late: Late) -> None:
    """It stops anywhere, in whatever the process has left, which then comes to its end first."""
    has_ended = False
    steps = 0
    while not has_ended:
        sweep_has_ended = False
        sweep_steps = 0
        while not sweep_has_ended:
            world = World()
            try:
                process, usd = late(world)
                for _ in range(steps):
                    world.step(process)
                has_ended = process.is_finished
                sweep = world.sweep()
                for _ in range(sweep_steps):
                    world.step(sweep)
                sweep_has_ended = sweep.is_finished
                world.finish(process)
                world.finish(sweep)
                check_books(world, usd)
            finally:
                world.end()
            sweep_steps += 1
        steps += 1
