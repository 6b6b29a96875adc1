"""Leases for jobs: never too many, the highest priority first, and none is ever lost."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from prefect_kling.runs.job_limiter import JobLimiter, Lease


@dataclass
class Job:
    """A job that holds its lease until it is told to end."""

    lease: Lease
    name: str
    inside: list[str]
    """The jobs that hold a lease now, in the order of their grants; shared by all jobs."""
    end: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the API turns the job away: it waits once for capacity."""
    rested: asyncio.Event = field(default_factory=asyncio.Event)
    patience: float = 3600.0

    async def run(self) -> str:
        """Begin, wait if the API is full, and go on until told to end."""
        async with self.lease as lease:
            self.inside.append(self.name)
            if self.full.is_set():
                await lease.wait_for_capacity(self.patience)
                self.rested.set()
            await self.end.wait()
            self.inside.remove(self.name)
        return self.name


class Crowd:
    """Jobs that share a limiter, and what became of them."""

    def __init__(self, limit: int | None) -> None:
        self.limiter = JobLimiter(limit)
        self.inside: list[str] = []
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, asyncio.Task[str]] = {}

    async def begin(
        self, name: str, priority: float = 0.0, *, full: bool = False, patience: float = 3600.0
    ) -> None:
        """Start a job and let it come as far as it can."""
        await self.enter(name, self.limiter.lease(priority), full=full, patience=patience)

    async def enter(
        self, name: str, lease: Lease, *, full: bool = False, patience: float = 3600.0
    ) -> None:
        """Start a job whose lease exists already."""
        job = self.jobs[name] = Job(lease, name, self.inside, patience=patience)
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
        """The jobs whose wait for capacity is over."""
        return [name for name, job in self.jobs.items() if job.rested.is_set()]


async def settled() -> None:
    """Let everything that can go on do so; a few rounds are enough, all wait for events only."""
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


async def test_the_highest_priority_goes_first() -> None:
    """The highest number goes in next, and those that are alike in the order in which they came."""
    crowd = Crowd(1)
    await crowd.begin("first", 0)
    for name, priority in (("low", 1), ("high", 9), ("also high", 9), ("mid", 5)):
        await crowd.begin(name, priority)
    seen = []
    for _ in range(5):
        (name,) = crowd.inside
        seen.append(name)
        await crowd.end(name)
    assert seen == ["first", "high", "also high", "mid", "low"]


async def test_a_later_job_of_higher_priority_waits_for_a_lease() -> None:
    """A running job is never interrupted, and a lease that was granted is not taken away."""
    crowd = Crowd(1)
    await crowd.begin("a", 1)
    await crowd.begin("b", 1)
    crowd.jobs["a"].end.set()
    await crowd.begin("urgent", 99)
    assert crowd.inside == ["b"]
    await crowd.end("b")
    assert crowd.inside == ["urgent"]


async def test_an_error_gives_the_lease_back() -> None:
    """A job that fails makes room like one that ends."""
    limiter = JobLimiter(1)
    with pytest.raises(RuntimeError, match="broken"):
        async with limiter.lease(0):
            raise RuntimeError("broken")
    async with asyncio.timeout(5), limiter.lease(0):
        pass


async def test_a_cancelled_waiter_is_passed_over() -> None:
    """It takes no lease with it."""
    crowd = Crowd(1)
    for name, priority in (("a", 0), ("gone", 9), ("b", 1)):
        await crowd.begin(name, priority)
    await crowd.cancel("gone")
    await crowd.end("a")
    assert crowd.inside == ["b"]


async def test_a_lease_granted_to_a_waiter_cancelled_in_the_same_moment_goes_on() -> None:
    """A waiter may be cancelled between the grant and running: the next one gets the lease."""
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
async def test_no_storm_of_cancellations_loses_a_lease(seed: int) -> None:
    """Jobs begin, end, fail and are cancelled at random; never too many hold a lease."""
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
    await assert_all_free(storm.limiter, storm.limit)


class Storm:
    """Jobs that do everything a job may do, at random; some of them depend on others."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.limit = chance.randint(1, 4)
        self.limiter = JobLimiter(self.limit)
        self.inside: set[int] = set()
        self.done: set[int] = set()
        self.most = 0
        self.leases: list[Lease] = []

    async def work(self, number: int) -> None:
        """Use a lease as a scene does: it is released at the end, whether it was granted or not."""
        lease = self.limiter.lease(self.chance.random())
        if self.leases and self.chance.random() < 0.5:
            self.chance.choice(self.leases).dependents.append(lease)
        self.leases.append(lease)
        try:
            await self.pause(6)
            if self.chance.random() < 0.8:
                await self.stay(number, lease)
        finally:
            lease.release()
        self.done.add(number)

    async def stay(self, number: int, lease: Lease) -> None:
        """Hold the lease, and wait for capacity or fail meanwhile."""
        async with lease:
            self.inside.add(number)
            self.most = max(self.most, len(self.inside))
            try:
                await self.pause(4)
                if self.chance.random() < 0.3:
                    await lease.wait_for_capacity(0)
                if self.chance.random() < 0.1:
                    raise RuntimeError
            finally:
                self.inside.discard(number)

    async def pause(self, rounds: int) -> None:
        """Let others go on, for some rounds."""
        for _ in range(self.chance.randint(0, rounds)):
            await asyncio.sleep(0)


async def assert_all_free(limiter: JobLimiter, limit: int) -> None:
    """Exactly so many leases can be granted: no more and no less."""
    crowd = Crowd(limit)
    crowd.limiter = limiter
    for number in range(limit + 1):
        await crowd.begin(str(number))
    assert len(crowd.inside) == limit
    for number in range(limit + 1):
        await crowd.end(str(number))


async def test_a_dependent_is_in_the_queue_before_the_lease_it_waits_for_is_given_away() -> None:
    """A chain does not lose its place after every clip to a lower priority that waited."""
    crowd = Crowd(1)
    source, dependent = crowd.limiter.lease(9), crowd.limiter.lease(8)
    source.dependents.append(dependent)
    await crowd.enter("source", source)
    await crowd.begin("other", 1)
    await crowd.end("source")
    assert crowd.inside == [], "the lease is kept for the dependent, which is not ready yet"
    await crowd.enter("dependent", dependent)
    assert crowd.inside == ["dependent"]
    await crowd.end("dependent")
    assert crowd.inside == ["other"]


async def test_a_dependent_waits_for_higher_priorities() -> None:
    """It is only in the queue; its place there is decided like any other's."""
    crowd = Crowd(1)
    source, dependent = crowd.limiter.lease(9), crowd.limiter.lease(2)
    source.dependents.append(dependent)
    await crowd.enter("source", source)
    await crowd.begin("longer chain", 5)
    await crowd.begin("short", 1)
    await crowd.end("source")
    await crowd.enter("dependent", dependent)
    assert crowd.inside == ["longer chain"]
    await crowd.end("longer chain")
    assert crowd.inside == ["dependent"]


@pytest.mark.parametrize("limit", [None, 2])
async def test_several_may_depend_on_one_job(limit: int | None) -> None:
    """Each of them requests its own lease, once, also when it is requested again."""
    crowd = Crowd(limit)
    source, one, two = (crowd.limiter.lease(priority) for priority in (9, 5, 7))
    source.dependents += [one, two, one]
    await crowd.enter("source", source)
    await crowd.begin("other", 1)
    await crowd.begin("waiting", 6)
    await crowd.end("source")
    for name, lease in (("one", one), ("two", two)):
        lease.request()
        await crowd.enter(name, lease)
    assert crowd.inside == (["other", "two"] if limit else ["other", "waiting", "one", "two"])
    if limit:
        await crowd.end("two")
        await crowd.end("waiting")
        await crowd.end("one")
        await crowd.end("other")
        await assert_all_free(crowd.limiter, limit)


async def test_nothing_depends_on_a_job_that_failed() -> None:
    """What would be made from it is not made, so its lease goes to another at once."""
    limiter = JobLimiter(1)
    source, dependent, other = limiter.lease(9), limiter.lease(8), limiter.lease(1)
    source.dependents.append(dependent)

    async def fail() -> None:
        async with source:
            other.request()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert (other.granted.done(), dependent.granted.done()) == (True, False)


async def test_a_released_lease_leaves_nothing_behind() -> None:
    """Released before it was requested, queued, granted or again: none is lost or granted twice."""
    limiter = JobLimiter(1)
    unrequested, holding, queued, last = (limiter.lease(0) for _ in range(4))
    unrequested.release()
    for lease in (unrequested, holding, queued, last):
        lease.request()
    assert [
        lease.granted.cancelled() or lease.granted.done() for lease in (holding, queued, last)
    ] == [True, False, False]
    queued.release()
    holding.release()
    holding.release()
    queued.release()
    assert last.granted.done()
    async with last:
        last.release()
    await assert_all_free(limiter, 1)


async def test_without_a_limit_all_go_in() -> None:
    """The API itself says when it is too much."""
    crowd = Crowd(None)
    for number in range(100):
        await crowd.begin(str(number))
    assert len(crowd.inside) == 100


@pytest.mark.parametrize("limit", [None, 10])
async def test_each_job_that_ends_wakes_the_waiter_of_the_highest_priority(
    limit: int | None,
) -> None:
    """The API has room for one more, so one may try again."""
    crowd = Crowd(limit)
    await crowd.begin("a")
    await crowd.begin("b")
    for name, priority in (("low", 1), ("high", 9), ("mid", 5)):
        await crowd.begin(name, priority, full=True)
    assert crowd.woken() == []
    await crowd.end("a")
    assert crowd.woken() == ["high"]
    await crowd.end("b")
    assert crowd.woken() == ["high", "mid"]
    await crowd.end("high")
    assert crowd.woken() == ["low", "high", "mid"]


async def test_waiting_for_capacity_ends_by_itself() -> None:
    """If no job ends, the wait ends after its seconds, and does not use up the next end."""
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
        "a wait that is over does not use up the next end"
    )


async def test_a_job_that_waits_for_capacity_keeps_its_lease() -> None:
    """It goes on with the same lease; no other job begins meanwhile."""
    crowd = Crowd(2)
    await crowd.begin("a")
    await crowd.begin("resting", full=True)
    await crowd.begin("next")
    assert crowd.inside == ["a", "resting"]
    await crowd.end("a")
    assert crowd.woken() == ["resting"]
    assert crowd.inside == ["resting", "next"]


async def test_a_cancelled_wait_leaves_the_wake_to_another() -> None:
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


async def test_a_job_may_wait_many_times() -> None:
    """Each wait is a new one; those that are over disturb nobody."""
    limiter = JobLimiter()
    woken = 0
    go = asyncio.Event()

    async def resting() -> None:
        nonlocal woken
        async with limiter.lease(1) as lease:
            for _ in range(50):
                await lease.wait_for_capacity(0)
            go.set()
            await lease.wait_for_capacity(3600)
            woken += 1

    task = asyncio.create_task(resting())
    async with asyncio.timeout(5):
        async with limiter.lease(0):
            await go.wait()
            await settled()
            assert woken == 0
        await task
    assert woken == 1
