"""Which failures of a free, repeatable task are worth another try by Prefect."""

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from prefect_kling.kling.errors import Unavailable
from prefect_kling.studio.errors import DownloadBroken, LedgerMoved, LinkExpired, StorageUnavailable

PASSING = (Unavailable, StorageUnavailable, DownloadBroken, LedgerMoved, LinkExpired)

RETRIES = 3
RETRY_DELAYS = exponential_backoff(backoff_factor=10)
RETRY_JITTER = 0.5


async def is_passing(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether the trouble may be over by itself; a failed job, a wrong key or a broken video never is."""
    return isinstance(await state.aresult(raise_on_failure=False), PASSING)
