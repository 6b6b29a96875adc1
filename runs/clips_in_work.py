"""The clips that a run is making, each once, in whatever scenes and films they are shown."""

import asyncio
from dataclasses import dataclass

from prefect_kling.runs.job_limiter import Lease
from prefect_kling.studio.money.archive import Clip


@dataclass(frozen=True)
class ClipInWork:
    """A clip that is being made, or has been, and its place among the jobs of the run."""

    task: "asyncio.Task[Clip]"
    lease: Lease


class ClipsInWork:
    """The clips of one run by key, so that scenes with equal shots wait for one task.

    The ledger would have them paid once, too; but each would ask the store and the API for itself.
    For one event loop.
    """

    def __init__(self) -> None:
        self._clips: dict[str, ClipInWork] = {}

    def get(self, clip_key: str) -> ClipInWork | None:
        """Return the clip, if it is being made or made. One that failed may be tried again."""
        found = self._clips.get(clip_key)
        if found is None or not found.task.done():
            return found
        if found.task.cancelled() or found.task.exception() is not None:
            return None
        return found

    def add(self, clip_key: str, task: "asyncio.Task[Clip]", lease: Lease) -> None:
        """Note that a clip is being made."""
        self._clips[clip_key] = ClipInWork(task, lease)
