"""What happens to each shot right now, for a terminal table, a page in the Prefect UI, or a test.

A run publishes the progress of its shots. Anything in the same process may subscribe to it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.error_details import DetailedError, in_words
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Clip


class Stage(StrEnum):
    """How far a shot is."""

    WAITING = "waiting"
    QUEUED = "queued"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    ARCHIVING = "archiving"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the shot in this run."""
        return self in (Stage.DONE, Stage.FAILED, Stage.HELD, Stage.INTERRUPTED)


class ShotProgress(BaseModel):
    """How far one shot is, and what is known of it by then."""

    model_config = ConfigDict(frozen=True)

    shot: str
    stage: Stage
    usd: Decimal | None = None
    clip: Clip | None = None
    reused: bool = False
    """Whether its clip was archived before, or is made by the run for another shot, too."""
    paid: bool = False
    """Whether this run has sent, and so paid, its request; no other run, and no run before."""
    detail: str = ""
    """Why it waits, has failed or is held; of a clip that is used again, how that comes."""

    @classmethod
    def of_error(cls, shot: str, error: Exception, before: str = "") -> "ShotProgress":
        """Return the progress of a shot that an error has ended. What to do is said elsewhere."""
        stage = Stage.FAILED
        if isinstance(error, ClipHeld):
            stage = Stage.HELD
        told = in_words(error)
        if isinstance(error, DetailedError):
            told = error.summary
        return cls(shot=shot, stage=stage, detail=f"{before}{told}")


Subscriber = Callable[[ShotProgress], None]

_subscribers: list[Subscriber] = []
# Asyncio hands it on to everything that a run begins, its sub-flows included.
_tallies: ContextVar[tuple["RunTally", ...]] = ContextVar("tallies", default=())


@contextmanager
def subscribe(subscriber: Subscriber) -> Iterator[None]:
    """Call `subscriber` with the progress of every shot that this process makes, during the block.

    It must be quick and must not raise.
    """
    _subscribers.append(subscriber)
    try:
        yield
    finally:
        _subscribers.remove(subscriber)


class ProgressPublisher:
    """Publishes the progress of one run's shots.

    It goes to the run's own subscriber, if there is one, and to those of the process.
    """

    def __init__(self, subscriber: Subscriber | None = None) -> None:
        self._own_subscriber = subscriber

    def publish(self, progress: ShotProgress) -> None:
        """Tell every subscriber about the progress of a shot."""
        if self._own_subscriber is not None:
            self._own_subscriber(progress)
        for subscriber in tuple(_subscribers):
            subscriber(progress)
        for tally in _tallies.get():
            tally.count(progress)


class RunTally:
    """What a run has made and paid so far, however many clips it makes."""

    MOST_FAILED = 20
    """Names of failed shots that are kept; all are counted."""

    def __init__(self) -> None:
        self.made = 0
        self.paid_usd = Decimal(0)
        self.reused = 0
        self.failed = 0
        self.failed_shots: list[str] = []

    def count(self, progress: ShotProgress) -> None:
        """Count a shot that has come to its end."""
        if progress.stage is Stage.DONE and progress.shot in self.failed_shots:
            # It is there after all: by another attempt, or as another take.
            self.failed_shots.remove(progress.shot)
            self.failed -= 1
        if progress.stage is Stage.DONE and progress.reused:
            self.reused += 1
        elif progress.stage is Stage.DONE:
            self.made += 1
            if progress.paid:
                self.paid_usd += progress.usd or 0
        elif progress.stage in (Stage.FAILED, Stage.HELD):
            self.failed += 1
            if len(self.failed_shots) < self.MOST_FAILED:
                self.failed_shots.append(progress.shot)


@contextmanager
def tallied() -> Iterator[RunTally]:
    """Count what is made during the block by everything that it begins."""
    tally = RunTally()
    before = _tallies.set((*_tallies.get(), tally))
    try:
        yield tally
    finally:
        _tallies.reset(before)


class ProgressLog:
    """The latest progress of every shot, and how long each has taken since it was submitted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[str, ShotProgress] = {}
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._paid: dict[str, Decimal] = {}

    def record(self, progress: ShotProgress) -> None:
        """Remember the progress of a shot. Shots keep the order in which they were first seen."""
        shot = progress.shot
        self._latest[shot] = progress
        if progress.stage is Stage.SUBMITTING and shot not in self._began:
            self._began[shot] = self._clock()
        if progress.stage.is_final and shot in self._began:
            self._ended[shot] = self._clock()
        if progress.paid and progress.clip is not None:
            self._paid[progress.clip.clip_key] = progress.clip.usd

    def __iter__(self) -> Iterator[ShotProgress]:
        """Iterate over the latest progress of every shot."""
        return iter(list(self._latest.values()))

    def __len__(self) -> int:
        """How many shots are known."""
        return len(self._latest)

    def count(self, stage: Stage) -> int:
        """Return how many shots are at this stage."""
        return sum(progress.stage is stage for progress in self._latest.values())

    @property
    def paid_usd(self) -> Decimal:
        """What the clips cost that this run has sent, all takes of a shot among them."""
        return sum(self._paid.values(), Decimal(0))

    def seconds(self, shot: str) -> float | None:
        """Return how long a shot took, or has taken until now; None if it was not submitted."""
        if shot not in self._began:
            return None
        ended = self._ended.get(shot, self._clock())
        return ended - self._began[shot]
