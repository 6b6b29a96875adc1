"""Waiting for a job: the only poll loop there is."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from prefect_kling.kling.errors import (
    JobFailed,
    JobNotFound,
    StillRunning,
    Unavailable,
    UnreadableReply,
)
from prefect_kling.kling.job import JobState, VideoJob


@dataclass(frozen=True)
class PollPolicy:
    """How often to ask for a job and how long to wait for it, in seconds.

    The page asks for a poll every 5 to 10 seconds. The deadline stops the waiting, never the job.
    """

    first: float = 5.0
    """Delay between the first two polls."""
    longest: float = 10.0
    """Longest delay between two polls."""
    growth: float = 1.2
    """Factor by which the delay grows from one poll to the next."""
    jitter: float = 0.2
    """Largest random change of a delay, as a part of it."""
    deadline: float = 3600.0
    """Longest time to wait in all."""
    initial_delay: float = 0.0
    """Delay before the first poll."""
    not_found_limit: int = 3
    """How many answers in a row must say that there is no such job before that is believed."""
    confirm: float | None = None
    """Delay before a failure is read once more; unless given, twice `first`."""
    longest_retry_after: float = 60.0
    """Longest delay that the server may ask for."""

    @property
    def confirm_seconds(self) -> float:
        """The delay before a failure is read once more."""
        if self.confirm is None:
            return 2 * self.first
        return self.confirm

    def delays(self) -> Iterator[float]:
        """Yield the delay before each poll: the initial one, then `first` growing to `longest`."""
        yield self._with_jitter(self.initial_delay)
        delay = self.first
        while True:
            yield self._with_jitter(delay)
            delay = min(delay * self.growth, self.longest)

    def after_trouble(self, delay: float, took: float, retry_after: float) -> float:
        """Return the delay after a poll that took so long to find the API away.

        Polls that fail at once keep their pace, and with it their distance from each other. Those
        that were held up end at one moment, and those that were told when to come back come at
        one: they are spread evenly over a delay.
        """
        if retry_after or took > delay / 2:
            return retry_after + delay * random.uniform(0, 1)  # noqa: S311  not for secrets
        return delay

    def _with_jitter(self, delay: float) -> float:
        factor = random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  not for secrets
        return delay * factor


class JobReader(Protocol):
    """Reads how a job stands: a `KlingClient`, or something that may save it the request."""

    async def get(self, job_id: str) -> VideoJob:
        """Return the job as it stands now. Raises what `KlingClient.get` raises."""


def ignore(job: VideoJob) -> None:
    """Do nothing with an update."""


async def poll_until_done(
    reader: JobReader,
    job_id: str,
    policy: PollPolicy,
    on_update: Callable[[VideoJob], None] = ignore,
    completed: asyncio.Event | None = None,
) -> VideoJob:
    """Poll until the job is completed and return it. Free, and safe to repeat.

    `on_update` is called with every job that was read. Setting the event `completed` ends the
    current delay early. An API that is unavailable or sends unreadable answers is asked again until
    the deadline.

    Raises `JobFailed` when two readings in a row say that the job ended without a video, with
    `policy.confirm_seconds` between them, `StillRunning` at the deadline,
    `JobNotFound` when the API says `policy.not_found_limit` times in a row that it does not know
    the job, and `KeyRefused` at once.
    """
    deadline = time.monotonic() + policy.deadline
    delays = policy.delays()
    not_found_count = 0
    last_seen: VideoJob | None = None
    last_error = ""
    has_failed = False
    await _sleep(min(next(delays), policy.deadline), completed)

    for delay in delays:
        pause = delay
        asked_at = time.monotonic()
        try:
            last_seen = await reader.get(job_id)
        except JobNotFound:
            # A job that was just made may be unknown to a replica for a moment.
            not_found_count += 1
            if not_found_count >= policy.not_found_limit:
                raise
        except Unavailable as error:
            last_error = str(error)
            retry_after = min(error.retry_after or 0.0, policy.longest_retry_after)
            pause = policy.after_trouble(delay, time.monotonic() - asked_at, retry_after)
        except UnreadableReply as error:
            last_error = str(error)
        else:
            not_found_count = 0
            last_error = ""
            on_update(last_seen)
            if last_seen.state is JobState.COMPLETED:
                return last_seen
            if last_seen.state is JobState.FAILED:
                if has_failed:
                    raise failure_of(last_seen)
                # One wrong answer must not close a paid job: it is read once more first.
                has_failed = True
                await asyncio.sleep(policy.confirm_seconds)
                continue
            has_failed = False

        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        # The event may be set until the last moment, however long the delays are.
        await _sleep(min(pause, remaining), completed)

    state = "not seen yet"
    if last_seen is not None:
        state = last_seen.said_state
    raise StillRunning(
        f"job {job_id} is not done after waiting {policy.deadline:g} s (state: {state})",
        job_id=job_id,
        detail=last_error,
    )


async def _sleep(seconds: float, completed: asyncio.Event | None) -> None:
    """Sleep, or return early when the event is set; the event is cleared then."""
    if completed is None:
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait_for(completed.wait(), seconds)
    except TimeoutError:
        return
    completed.clear()


def failure_of(job: VideoJob) -> JobFailed:
    """Return the error that says why a failed job failed."""
    message = "the job failed"
    if job.fail_code:
        message = f"{message} with {job.fail_code}"
    return JobFailed(
        message,
        fail_code=job.fail_code,
        retryable=job.retryable,
        job_id=job.job_id,
        detail=job.fail_words,
    )
