"""Waiting for a job: the only poll loop there is."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, assert_never

from prefect_kling.kling.errors import (
    JobFailed,
    JobGone,
    StillRunning,
    Unavailable,
    UnreadableReply,
)
from prefect_kling.kling.job import JobState, VideoJob

GONE_ANSWERS = 3
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Patience:
    """How often to ask and how long to wait, in seconds.

    The page asks for a poll every 5 to 10 seconds. `head_start` puts the first one off. The deadline stops the
    waiting, never the job.
    """

    first: float = 5.0
    longest: float = 10.0
    growth: float = 1.2
    jitter: float = 0.2
    deadline: float = 3600.0
    head_start: float = 0.0

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each poll: the head start, then from `first` growing to `longest`, with jitter."""
        pause, following = self.head_start, self.first
        while True:
            yield pause * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  not for secrets
            pause, following = following, min(following * self.growth, self.longest)


class Asks(Protocol):
    """Knows how a job stands: a `KlingClient`, or somebody who may spare it the question."""

    async def get(self, job_id: str) -> VideoJob:
        """Tell how a job stands; raises what `KlingClient.get` raises."""


async def wait_for_job(
    client: Asks,
    job_id: str,
    patience: Patience,
    seen: Callable[[VideoJob], None] = lambda job: None,
    bell: asyncio.Event | None = None,
) -> VideoJob:
    """Poll until the job is completed and return it. Free; call it as often as you like.

    `seen` is told about every answer; `bell`, when it rings, cuts a pause short. An API that is away or talks nonsense
    is asked again until the deadline. Raises `JobFailed` when the job ended without a video, `StillRunning` at the
    deadline, `JobGone` when the API says three times in a row that it does not know the job, and `KeyRefused` at once.
    """
    end, gone, job, trouble = time.monotonic() + patience.deadline, 0, None, ""
    pauses = patience.pauses()
    await _pause(min(next(pauses), patience.deadline), bell)
    for pause in pauses:
        try:
            job = await client.get(job_id)
            gone, trouble = 0, ""
            seen(job)
        except JobGone:
            # A job just made may be unknown to a replica for a moment.
            gone += 1
            if gone >= GONE_ANSWERS:
                raise
        except (Unavailable, UnreadableReply) as error:
            asked = min(getattr(error, "retry_after", None) or 0.0, LONGEST_PAUSE)
            pause, trouble = max(pause, asked), str(error)
        if job is not None and job.state.is_terminal:
            return _ended(job)
        left = end - time.monotonic()
        if left <= 0:
            break
        # A bell may ring until the last moment, however long the pauses are.
        await _pause(min(pause, left), bell)
    state = job.said_state if job else "not seen yet"
    what = f"job {job_id} is not done after waiting {patience.deadline:g} s (state: {state})"
    raise StillRunning(what, job_id=job_id, detail=trouble)


async def _pause(seconds: float, bell: asyncio.Event | None) -> None:
    if bell is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(bell.wait(), seconds)
        # Rung once: if there was nothing to see, the pauses go on as they were.
        bell.clear()


def _ended(job: VideoJob) -> VideoJob:
    match job.state:
        case JobState.COMPLETED:
            return job
        case JobState.FAILED:
            raise failure_of(job)
        case JobState.PENDING | JobState.PROCESSING:
            raise AssertionError(f"{job.state} is not an end")
        case _:
            assert_never(job.state)


def failure_of(job: VideoJob) -> JobFailed:
    """Return the error that tells why a failed job failed."""
    what = f"job {job.job_id} failed{f' with {job.fail_code}' if job.fail_code else ''}"
    return JobFailed(
        what,
        fail_code=job.fail_code,
        retryable=job.retryable,
        job_id=job.job_id,
        detail=job.fail_words,
    )
