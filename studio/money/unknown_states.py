"""Jobs in a state that nobody knows, with a link to a result: finished, if two reads agree."""

import time
from dataclasses import dataclass, field

from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.links import without_query
from prefect_kling.kling.polling import JobReader
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder

# The state and the links as an answer gave them.
Said = tuple[str, tuple[str, ...]]


def may_be_finished(job: VideoJob) -> bool:
    """Whether a job is in an unknown state and has a link."""
    return not job.state.is_terminal and not job.is_understood and bool(job.urls)


@dataclass
class ConfirmingReader:
    """Reads a job, and takes an unknown state with a link as the end once two spaced reads agree.

    A link that stood in the request proves nothing: an answer may repeat what was sent. Reads that
    differ in more than signatures, or follow each other faster than the archive's
    `confirm_seconds`, leave the job running.
    """

    reader: JobReader
    archive: Archive
    order: ClipOrder
    _said: Said | None = field(default=None, init=False)
    _said_since: float = field(default=0.0, init=False)

    async def get(self, job_id: str) -> VideoJob:
        """Tell how the job stands. Raises what the reader raises."""
        job = await self.reader.get(job_id)
        links = self.archive.links_of(self.order, job)
        if not may_be_finished(job) or not links:
            self._said = None
            return job
        said = (job.said_state.lower(), tuple(without_query(link) for link in links))
        now = time.monotonic()
        if said != self._said:
            self._said = said
            self._said_since = now
            return job
        if now - self._said_since < self.archive.fetching.confirm_seconds:
            return job
        return job.model_copy(update={"state": JobState.COMPLETED})
