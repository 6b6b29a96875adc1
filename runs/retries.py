"""Which failures of a free, repeatable task Prefect retries."""

from collections.abc import Callable
from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from prefect_kling.kling.errors import Unavailable, UnreadableReply
from prefect_kling.studio.errors import DownloadBroken, LedgerMoved, LinkExpired, StorageUnavailable

TRANSIENT_ERRORS = (
    Unavailable,
    UnreadableReply,
    StorageUnavailable,
    DownloadBroken,
    LedgerMoved,
    LinkExpired,
)


async def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a task run failed with an error that may be over by itself.

    A failed job, a wrong key and a broken video are not.
    """
    result = await state.aresult(raise_on_failure=False)
    return isinstance(result, TRANSIENT_ERRORS)


class TaskOptions(TypedDict):
    """Options of Prefect's `task` decorator."""

    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[..., Any]
    cache_policy: CachePolicy


IDEMPOTENT_TASK: TaskOptions = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
    "cache_policy": NO_CACHE,
}
"""Options of a task that costs nothing and may be repeated."""
