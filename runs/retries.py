"""Which failures of a free, repeatable task are worth another try by Prefect."""

from collections.abc import Callable
from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from prefect_kling.kling.errors import Unavailable, UnreadableReply
from prefect_kling.studio.errors import DownloadBroken, LedgerMoved, LinkExpired, StorageUnavailable

PASSING = (
    Unavailable,
    UnreadableReply,
    StorageUnavailable,
    DownloadBroken,
    LedgerMoved,
    LinkExpired,
)


async def is_passing(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether the trouble may be over by itself; a failed job, a wrong key or a broken video never is."""
    return isinstance(await state.aresult(raise_on_failure=False), PASSING)


class FreeTask(TypedDict):
    """How Prefect treats a task that costs nothing and may be repeated."""

    retries: int
    retry_delay_seconds: Callable[[int], list[float]]
    retry_jitter_factor: float
    retry_condition_fn: Callable[..., Any]
    cache_policy: CachePolicy


FREE: FreeTask = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_passing,
    "cache_policy": NO_CACHE,
}
