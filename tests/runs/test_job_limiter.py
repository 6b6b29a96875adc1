"""Places for running jobs: never too many, the most urgent first, and none is ever lost."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from prefect_kling.runs.job_limiter import Slots, Turn, current_slots, sharing


@dataclass
class Job:
    """A job that holds a slot until it is told to end."""

    turn: Turn
    name: str
    inside: list[str]
    """The jobs that are inside now, in the order in which they came; shared by all jobs of a test."""
    end: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the API turns the job away: it rests once."""
    rested: asyncio.Event = field(default_factory=asyncio.Event)
    patience: float = 3600.0

    async def run(self) -> str:
        """Go in, rest if the API is full, and stay until told to go."""
        async with self.turn as turn:
            self.inside.append(self.name)
            if self.full.is_set():
                await turn.rest(self.patience)
                self.rested.set()
            await self.end.wait()
            self.inside.remove(self.name)
        return self.name


class Crowd:
    """Jobs that share slots, and what became of them."""

    def __init__(self, limit: int | None) -> None:
        self.slots, self.inside = Slots(limit), list[str]()
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, asyncio.Task[str]] = {}

    async def begin(
        self, name: str, urgency: float = 0.0, *, full: bool = False, patience: float = 3600.0
    ) -> None:
        """Start a job and let it come as far as it can."""
        await self.enter(name, self.slots.one(urgency), full=full, patience=patience)

    async def enter(
        self, name: str, turn: Turn, *, full: bool = False, patience: float = 3600.0
    ) -> None:
        """Start a job whose turn is known already."""
        job = self.jobs[name] = Job(turn, name, self.inside, patience=patience)
        if full:
            job.full.set()
        self.tasks[name] = asyncio.create_task(job.run())
        await settled()

    async def end(self, name: str) -> None:
        """Let a job that is inside end, and everybody do what follows from it."""
        self.jobs[name].end.set()
        assert await self.tasks[name] == name
        await settled()

    async def cancel(self, name: str) -> None:
        """Cancel a job wherever it is."""
        self.tasks[name].cancel()
        await asyncio.wait([self.tasks[name]])
        if name in self.inside:
            self.inside.remove(name)
        await settled()

    def woken(self) -> list[str]:
        """The jobs whose rest is over."""
        return [name for name, job in self.jobs.items() if job.rested.is_set()]


async def settled() -> None:
    """Let everything that can go on do so: nothing here waits for anything but events, so a few rounds are enough."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_never_more_than_the_limit_are_inside() -> None:
    """The next goes in exactly when one has gone out."""
    crowd = Crowd(2)
    for name in "abcde":
        await crowd.begin(name)
    assert crowd.inside == ["a", "b"]
    await crowd.end("b")
    assert crowd.inside == ["a", "c"]
    await crowd.end("a")
    assert crowd.inside == ["c", "d"]


async def test_the_most_urgent_goes_first() -> None:
    """The highest number goes in next, and those that are alike in the order in which they came."""
    crowd = Crowd(1)
    await crowd.begin("first", 0)
    for name, urgency in (("low", 1), ("high", 9), ("also high", 9), ("mid", 5)):
        await crowd.begin(name, urgency)
    seen = []
    for _ in range(5):
        (name,) = crowd.inside
        seen.append(name)
        await crowd.end(name)
    assert seen == ["first", "high", "also high", "mid", "low"]


async def test_who_comes_later_and_is_more_urgent_still_waits_for_a_slot() -> None:
    """A running job is never put out, and a slot that was handed over is not taken away."""
    crowd = Crowd(1)
    await crowd.begin("a", 1)
    await crowd.begin("b", 1)
    crowd.jobs["a"].end.set()
    await crowd.begin("urgent", 99)
    assert crowd.inside == ["b"]
    await crowd.end("b")
    assert crowd.inside == ["urgent"]


async def test_an_error_inside_gives_the_slot_back() -> None:
    """A job that fails makes room like one that ends."""
    slots = Slots(1)
    with pytest.raises(RuntimeError, match="broken"):
        async with slots.one(0):
            raise RuntimeError("broken")
    async with asyncio.timeout(5), slots.one(0):
        pass


async def test_who_gives_up_waiting_is_passed_over() -> None:
    """A cancelled waiter takes no slot with it."""
    crowd = Crowd(1)
    for name, urgency in (("a", 0), ("gone", 9), ("b", 1)):
        await crowd.begin(name, urgency)
    await crowd.cancel("gone")
    await crowd.end("a")
    assert crowd.inside == ["b"]


async def test_a_slot_handed_to_somebody_cancelled_in_the_same_moment_goes_on() -> None:
    """Between being given a slot and running, a waiter may be cancelled: the next one gets it, or it is free."""
    crowd = Crowd(1)
    for name in ("a", "gone", "b"):
        await crowd.begin(name)
    crowd.jobs["a"].end.set()
    # One round: `a` leaves and hands over, and `gone` has not yet run when it is cancelled.
    while crowd.inside:
        await asyncio.sleep(0)
    crowd.tasks["gone"].cancel()
    await settled()
    assert crowd.inside == ["b"]
    await crowd.end("b")
    await crowd.begin("c")
    assert crowd.inside == ["c"]


@pytest.mark.parametrize("seed", range(60))
async def test_no_storm_of_cancellations_loses_a_slot(seed: int) -> None:
    """Jobs begin, end, fail and are cancelled at random moments: never too many inside, and all others get through."""
    storm = Storm(random.Random(seed))
    tasks: list[asyncio.Task[None]] = []
    for number in range(150):
        tasks.append(asyncio.create_task(storm.work(number)))
        for _ in range(storm.chance.randint(0, 2)):
            await asyncio.sleep(0)
        if storm.chance.random() < 0.5:
            storm.chance.choice(tasks).cancel()
    async with asyncio.timeout(30):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {
        type(None),
        asyncio.CancelledError,
        RuntimeError,
    }
    assert storm.done == {number for number, result in enumerate(results) if result is None}
    assert storm.most == storm.limit
    await assert_all_free(storm.slots, storm.limit)


class Storm:
    """Jobs that do everything a job may do, at random; some of them follow others."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.limit = chance, chance.randint(1, 4)
        self.slots, self.inside, self.done, self.most = Slots(self.limit), set[int](), set[int](), 0
        self.turns: list[Turn] = []

    async def work(self, number: int) -> None:
        """Have a turn, as a scene has it: it is given up at the end, whether it was taken or not."""
        turn = self.slots.one(self.chance.random())
        if self.turns and self.chance.random() < 0.5:
            self.chance.choice(self.turns).followers.append(turn)
        self.turns.append(turn)
        try:
            await self.pause(6)
            if self.chance.random() < 0.8:
                await self.stay(number, turn)
        finally:
            turn.give_up()
        self.done.add(number)

    async def stay(self, number: int, turn: Turn) -> None:
        """Be inside, and rest or fail there."""
        async with turn:
            self.inside.add(number)
            self.most = max(self.most, len(self.inside))
            try:
                await self.pause(4)
                if self.chance.random() < 0.3:
                    await turn.rest(0)
                if self.chance.random() < 0.1:
                    raise RuntimeError
            finally:
                self.inside.discard(number)

    async def pause(self, rounds: int) -> None:
        """Let others go on, for some rounds."""
        for _ in range(self.chance.randint(0, rounds)):
            await asyncio.sleep(0)


async def assert_all_free(slots: Slots, limit: int) -> None:
    """Exactly so many slots are free: no more and no less."""
    crowd = Crowd(limit)
    crowd.slots = slots
    for number in range(limit + 1):
        await crowd.begin(str(number))
    assert len(crowd.inside) == limit
    for number in range(limit + 1):
        await crowd.end(str(number))


async def test_whoever_follows_a_job_is_in_the_queue_before_its_slot_is_given_away() -> None:
    """A chain does not lose its slot at every link to somebody less urgent who happened to wait."""
    crowd = Crowd(1)
    leader, follower = crowd.slots.one(9), crowd.slots.one(8)
    leader.followers.append(follower)
    await crowd.enter("leader", leader)
    await crowd.begin("other", 1)
    await crowd.end("leader")
    assert crowd.inside == [], "the slot is kept for the follower, which is not ready yet"
    await crowd.enter("follower", follower)
    assert crowd.inside == ["follower"]
    await crowd.end("follower")
    assert crowd.inside == ["other"]


async def test_a_follower_waits_for_whoever_is_more_urgent() -> None:
    """It is only in the queue; its place there is decided like any other's."""
    crowd = Crowd(1)
    leader, follower = crowd.slots.one(9), crowd.slots.one(2)
    leader.followers.append(follower)
    await crowd.enter("leader", leader)
    await crowd.begin("longer chain", 5)
    await crowd.begin("short", 1)
    await crowd.end("leader")
    await crowd.enter("follower", follower)
    assert crowd.inside == ["longer chain"]
    await crowd.end("longer chain")
    assert crowd.inside == ["follower"]


@pytest.mark.parametrize("limit", [None, 2])
async def test_several_may_follow_one_job(limit: int | None) -> None:
    """Each of them asks for a slot of its own, once, also when it asks again by itself."""
    crowd = Crowd(limit)
    leader, one, two = (crowd.slots.one(urgency) for urgency in (9, 5, 7))
    leader.followers += [one, two, one]
    await crowd.enter("leader", leader)
    await crowd.begin("other", 1)
    await crowd.begin("waiting", 6)
    await crowd.end("leader")
    for name, turn in (("one", one), ("two", two)):
        turn.ask()
        await crowd.enter(name, turn)
    assert crowd.inside == (["other", "two"] if limit else ["other", "waiting", "one", "two"])
    if limit:
        await crowd.end("two")
        await crowd.end("waiting")
        await crowd.end("one")
        await crowd.end("other")
        await assert_all_free(crowd.slots, limit)


async def test_nobody_follows_a_job_that_failed() -> None:
    """What would be made from it is not made, so its slot goes to somebody else at once."""
    slots = Slots(1)
    leader, follower, other = slots.one(9), slots.one(8), slots.one(1)
    leader.followers.append(follower)

    async def fail() -> None:
        async with leader:
            other.ask()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert (other.granted.done(), follower.granted.done()) == (True, False)


async def test_a_turn_that_is_given_up_leaves_nothing_behind() -> None:
    """Before it was asked for, in the queue, with a slot in hand and afterwards: no slot is lost, none given twice."""
    slots = Slots(1)
    unasked, holding, queued, last = (slots.one(0) for _ in range(4))
    unasked.give_up()
    for turn in (unasked, holding, queued, last):
        turn.ask()
    assert [
        turn.granted.cancelled() or turn.granted.done() for turn in (holding, queued, last)
    ] == [True, False, False]
    queued.give_up()
    holding.give_up()
    holding.give_up()
    queued.give_up()
    assert last.granted.done()
    async with last:
        last.give_up()
    await assert_all_free(slots, 1)


async def test_without_a_limit_all_go_in() -> None:
    """The API itself says when it is too much."""
    crowd = Crowd(None)
    for number in range(100):
        await crowd.begin(str(number))
    assert len(crowd.inside) == 100


@pytest.mark.parametrize("limit", [None, 10])
async def test_each_job_that_ends_wakes_one_that_rests_the_most_urgent_first(
    limit: int | None,
) -> None:
    """One place has become free at the API, so one may try again."""
    crowd = Crowd(limit)
    await crowd.begin("a")
    await crowd.begin("b")
    for name, urgency in (("low", 1), ("high", 9), ("mid", 5)):
        await crowd.begin(name, urgency, full=True)
    assert crowd.woken() == []
    await crowd.end("a")
    assert crowd.woken() == ["high"]
    await crowd.end("b")
    assert crowd.woken() == ["high", "mid"]
    await crowd.end("high")
    assert crowd.woken() == ["low", "high", "mid"]


async def test_a_rest_ends_by_itself() -> None:
    """When no job of this run ends, the pause is over after its seconds; whoever stopped resting wakes nobody else."""
    crowd = Crowd(None)
    await crowd.begin("a")
    await crowd.begin("impatient", 9, full=True, patience=0.0)
    await crowd.begin("patient", 1, full=True)
    async with asyncio.timeout(5):
        await crowd.jobs["impatient"].rested.wait()
    await settled()
    assert crowd.woken() == ["impatient"]
    await crowd.end("a")
    assert crowd.woken() == ["impatient", "patient"], (
        "a rest that is over does not use up the next end"
    )


async def test_a_job_that_rests_keeps_its_slot() -> None:
    """Whoever was turned away goes on with the same slot; nobody slips in meanwhile."""
    crowd = Crowd(2)
    await crowd.begin("a")
    await crowd.begin("resting", full=True)
    await crowd.begin("next")
    assert crowd.inside == ["a", "resting"]
    await crowd.end("a")
    assert crowd.woken() == ["resting"]
    assert crowd.inside == ["resting", "next"]


async def test_a_cancelled_rest_leaves_the_wake_to_another() -> None:
    """A job that is woken and cancelled in the same moment does not keep the next one sleeping."""
    crowd = Crowd(None)
    await crowd.begin("a")
    await crowd.begin("gone", 9, full=True)
    await crowd.begin("other", 1, full=True)
    crowd.jobs["a"].end.set()
    while "a" in crowd.inside:
        await asyncio.sleep(0)
    crowd.tasks["gone"].cancel()
    await settled()
    assert crowd.tasks["gone"].cancelled()
    assert crowd.woken() == ["other"]


async def test_a_job_may_rest_many_times() -> None:
    """Each rest is a new one; those that were over long ago wake nobody and disturb nobody."""
    slots, woken = Slots(), 0
    go = asyncio.Event()

    async def resting() -> None:
        nonlocal woken
        async with slots.one(1) as turn:
            for _ in range(50):
                await turn.rest(0)
            go.set()
            await turn.rest(3600)
            woken += 1

    task = asyncio.create_task(resting())
    async with asyncio.timeout(5):
        async with slots.one(0):
            await go.wait()
            await settled()
            assert woken == 0
        await task
    assert woken == 1


async def test_clips_of_a_run_share_its_slots() -> None:
    """Inside the block everybody, tasks begun there included, finds the same slots; afterwards they are gone."""
    slots = Slots(3)

    async def found() -> Slots:
        return current_slots()

    with sharing(slots):
        assert current_slots() is slots
        assert (
            await asyncio.gather(*(asyncio.create_task(found()) for _ in range(3))) == [slots] * 3
        )
    assert current_slots() is not slots


async def test_the_outer_run_decides() -> None:
    """A scene made inside a film keeps to the film's slots, also after another scene has ended."""
    film, scene = Slots(3), Slots(1)
    with sharing(film):
        for _ in range(2):
            with sharing(scene):
                assert current_slots() is film
            assert current_slots() is film
    with pytest.raises(RuntimeError), sharing(scene):
        raise RuntimeError
    assert current_slots() not in (film, scene)


async def test_a_clip_of_its_own_waits_for_nobody() -> None:
    """Outside of a run there is no limit, and two clips have nothing to do with each other."""
    assert current_slots() is not current_slots()
    crowd = Crowd(None)
    crowd.slots = current_slots()
    for number in range(20):
        await crowd.begin(str(number))
    assert len(crowd.inside) == 20
