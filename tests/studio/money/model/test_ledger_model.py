"""Whatever processes do and wherever they die: nothing is paid twice, lost, or stuck."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from prefect_kling.kling.job import JobState
from tests.studio.money.model.world import PROMPTS, World

AT_ONCE = 4
PROMPT = some.sampled_from(PROMPTS)
STORE_ANSWERS = ("ok", "ok", "fail", "lose", "die")
ANSWERS = {
    "connect": ("ok", "ok", "fail", "die"),
    "create": ("ok", "ok", "lose", "lose before", "name", "other", "fail", "refuse", "die"),
    "answer": ("ok", "ok", "die"),
    "get": ("ok", "say failed", "say failed", "say unknown", "fail", "die"),
    "record": ("ok", "die"),
    "sleep": ("ok", "ok", "die"),
    "start": ("ok",),
}


class LedgerMachine(RuleBasedStateMachine):
    """Several processes and persons on one archive, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def _alive(self) -> list[int]:
        return [number for number, actor in enumerate(self.world.actors) if not actor.is_finished]

    def _has_room(self) -> bool:
        return len(self._alive()) < AT_ONCE

    @precondition(lambda self: self._has_room())
    @rule(prompt=PROMPT, resubmit=some.sampled_from([False, False, False, True]))
    def make(self, prompt: str, resubmit: bool) -> None:
        """Start to make a clip."""
        self.world.log.append(f"make {prompt} {resubmit}")
        self.world.make(prompt, resubmit=resubmit)

    @precondition(lambda self: self._has_room())
    @rule()
    def sweep(self) -> None:
        """Start a sweep."""
        self.world.log.append("sweep")
        self.world.sweep()

    @precondition(lambda self: self._has_room() and self.world.api.jobs)
    @rule(number=some.integers(0, 9), earlier=some.booleans())
    def call_back(self, number: int, earlier: bool) -> None:
        """The API calls about a job."""
        job = self.world.api.jobs[number % len(self.world.api.jobs)]
        self.world.log.append(f"callback {job.job_id} {earlier}")
        self.world.callback(job.prompt, job.job_id, earlier=earlier)

    @precondition(lambda self: self._has_room())
    @rule(prompt=PROMPT, decision=some.sampled_from(["adopt", "release", "retry", "give up"]))
    def decide(self, prompt: str, decision: str) -> None:
        """A person starts to decide about a clip."""
        self.world.log.append(f"{decision} {prompt}")
        self.world.decide(prompt, decision)

    @precondition(lambda self: self._alive())
    @rule(which=some.integers(0, 9), steps=some.integers(0, 12), answer=some.integers(0, 8))
    def step(self, which: int, steps: int, answer: int) -> None:
        """One process goes on a little, and meets an answer or its end."""
        alive = self._alive()
        actor = self.world.actors[alive[which % len(alive)]]
        for _ in range(steps):
            self.world.step(actor)
        answers = ANSWERS.get(actor.waits_for, STORE_ANSWERS)
        self.world.step(actor, answers[answer % len(answers)])

    @precondition(lambda self: self._alive())
    @rule(
        which=some.integers(0, 9),
        call=some.sampled_from(["create", "answer", "get", "get"]),
        answer=some.integers(0, 8),
    )
    def step_to_api(self, which: int, call: str, answer: int) -> None:
        """One process goes on to its next call of the API, and meets an answer or its end."""
        alive = self._alive()
        actor = self.world.actors[alive[which % len(alive)]]
        for _ in range(60):
            if actor.is_finished or actor.waits_for == call:
                break
            self.world.step(actor)
        if not actor.is_finished and actor.waits_for == call:
            self.world.step(actor, ANSWERS[call][answer % len(ANSWERS[call])])

    @precondition(lambda self: self._alive())
    @rule(which=some.integers(0, 9))
    def finish(self, which: int) -> None:
        """One process goes on to its end."""
        alive = self._alive()
        self.world.finish(self.world.actors[alive[which % len(alive)]])

    @precondition(lambda self: self.world.api.jobs)
    @rule(
        number=some.integers(0, 9),
        state=some.sampled_from([JobState.COMPLETED, JobState.FAILED]),
        is_retryable=some.booleans(),
    )
    def end_job(self, number: int, state: JobState, is_retryable: bool) -> None:
        """A job ends at the API."""
        job = self.world.api.jobs[number % len(self.world.api.jobs)]
        if job.state is JobState.PROCESSING:
            self.world.log.append(f"{job.job_id} {state} {is_retryable}")
            self.world.end_job(job, state, is_retryable=is_retryable)

    @rule(seconds=some.sampled_from([15, 130, 1000, 4000, 90000]))
    def jump(self, seconds: int) -> None:
        """Time passes."""
        self.world.log.append(f"clock +{seconds}")
        self.world.clock.now += seconds

    def teardown(self) -> None:
        """Everything is closed, and the books are looked at."""
        try:
            self.world.close_everything()
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.world.log])) from error
        finally:
            self.world.end()


def explore(examples: int, steps: int) -> None:
    """Run so many examples of so many steps each."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LedgerMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_is_paid_twice_lost_or_stuck() -> None:
    """The rules of `World` hold for every order of steps, answers and deaths that is tried."""
    explore(examples=100, steps=40)
