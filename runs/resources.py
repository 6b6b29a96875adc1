"""What all clips of one run are made with."""

import asyncio
from collections.abc import Collection

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.account_jobs import AccountJobs
from prefect_kling.runs.clips_in_work import ClipsInWork
from prefect_kling.runs.job_limiter import JobLimiter
from prefect_kling.telemetry.progress import ProgressPublisher, Subscriber

# Scenes whose sub-flows begin at the same time. A Prefect server on SQLite refuses with 503 what
# writes beside others, and its client waits for seconds before it asks again.
SCENES_BEGINNING = 2


class RunResources:
    """The blocks of a run, its limit of jobs, its clips in work, and where it publishes progress.

    Flows take the blocks as parameters and build this from them once; everything below a flow takes
    it instead. `on_progress` is called with the progress of every shot of the run. A clip that the
    checks suspect is made again as up to `retake_suspect` further takes, if its key is among
    `retakable`.
    """

    def __init__(
        self,
        credentials: KlingCredentials,
        archive: KlingArchive,
        on_progress: Subscriber | None = None,
        retake_suspect: int = 0,
        retakable: Collection[str] = (),
    ) -> None:
        self.credentials = credentials
        self.archive = archive
        self.limiter = JobLimiter(credentials.parallel_jobs)
        self.account_jobs = AccountJobs(credentials.parallel_jobs, credentials, archive)
        self.clips_in_work = ClipsInWork()
        self.scenes_beginning = asyncio.Semaphore(SCENES_BEGINNING)
        self.progress = ProgressPublisher(on_progress)
        self.retake_suspect = retake_suspect
        self.retakable = retakable
