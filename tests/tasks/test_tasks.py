"""Tasks: what Prefect may repeat, and what it never may."""

from typing import Any

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from prefect_kling import tasks
from prefect_kling.kling import errors as kling_errors
from prefect_kling.runs.retries import is_transient
from prefect_kling.studio import errors as studio_errors


def test_prefect_never_repeats_a_paid_request() -> None:
    """Submitting has no retries and no cache: only the ledger decides whether anything is sent."""
    assert tasks.submit_video.retries == 0
    assert tasks.submit_video.cache_policy == NO_CACHE
    assert tasks.submit_video.persist_result is False


@pytest.mark.parametrize(
    "task", [tasks.wait_for_video, tasks.archive_video, tasks.hand_over_clip, tasks.assemble_film]
)
def test_free_tasks_are_retried_with_growing_delays(task: Task[..., Any]) -> None:
    """What costs nothing is repeated, and never cached."""
    assert task.retries == 3
    assert task.retry_delay_seconds == [10, 20, 40]
    assert task.cache_policy == NO_CACHE


def _state(error: Exception) -> State[None]:
    return Failed(data=error)


@pytest.mark.parametrize(
    "error",
    [
        kling_errors.Unavailable("busy"),
        studio_errors.StorageUnavailable("away"),
        studio_errors.DownloadBroken("cut"),
        studio_errors.LinkExpired("old"),
        studio_errors.LedgerMoved("moved"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_transient_errors_are_retried(error: Exception) -> None:
    """What may be over by itself is retried."""
    assert await is_transient(tasks.wait_for_video, None, _state(error))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        kling_errors.JobFailed("moderated"),
        kling_errors.StillRunning("slow"),
        kling_errors.KeyRefused("wrong"),
        studio_errors.NotAVideo("html"),
        studio_errors.ClipHeld("unknown"),
        studio_errors.StorageRefused("no bucket"),
        RuntimeError("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_final_errors_are_not_retried(error: Exception) -> None:
    """What no waiting can cure is told at once."""
    task = tasks.wait_for_video
    assert not await is_transient(task, None, _state(error))  # type: ignore[arg-type]
