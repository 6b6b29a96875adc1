"""What all clips of one run are made with."""

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.account_jobs import AccountJobs
from prefect_kling.runs.job_limiter import JobLimiter
from prefect_kling.telemetry.progress import ProgressPublisher, Subscriber


class RunResources:
    """The blocks of a run, its limit of jobs, and where it publishes the progress of its shots.

    Flows take the blocks as parameters and build this from them once; everything below a flow takes
    it instead. `on_progress` is called with the progress of every shot of the run. A clip that the
    checks suspect, and that may be, is made again as up to `retake_suspect` further takes.
    """

    def __init__(
        self,
        credentials: KlingCredentials,
        archive: KlingArchive,
        on_progress: Subscriber | None = None,
        retake_suspect: int = 0,
    ) -> None:
        self.credentials = credentials
        self.archive = archive
        self.limiter = JobLimiter(credentials.parallel_jobs)
        self.account_jobs = AccountJobs(credentials.parallel_jobs, credentials, archive)
        self.progress = ProgressPublisher(on_progress)
        self.retake_suspect = retake_suspect
