"""The paid API in memory: it makes jobs, loses answers before or after, and answers wrongly."""

from dataclasses import dataclass, field
from decimal import Decimal

from prefect_kling.kling.client import BeforeSend, Charge, ClientSettings
from prefect_kling.kling.errors import JobNotFound, OutcomeUnknown, RequestRefused, Unavailable
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.request import VideoRequest
from prefect_kling.kling.result_access import PUBLIC_ONLY
from tests.studio.money.model.store import Actor, Clock

KEPT_SECONDS = 7 * 24 * 3600.0
WRONG_ANSWERS = 2
"""How many wrong answers in all one job may have; a third read must put them right."""


@dataclass
class Job:
    """A job of the API, as it really stands."""

    job_id: str
    prompt: str
    made_at: float
    usd: Decimal | None
    """What the API's record says; None if there is none, and the listed price counts."""
    state: JobState = JobState.PROCESSING
    is_retryable: bool = True
    ended_at: float = 0.0
    wrong_answers: int = 0


@dataclass
class Departure:
    """A request that a sender meant to send."""

    prompt: str
    actor: Actor
    is_certain: bool = False
    """Whether the sender was told for certain what became of it."""
    named: list[str] = field(default_factory=list)
    """The ids that the sender was told."""


class Api:
    """What has really happened at the API."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.jobs: list[Job] = []
        self.departures: list[Departure] = []
        self.ambiguous: set[str] = set()
        """The prompts of clips that were told the id of another clip's job."""

    def make(self, prompt: str) -> Job:
        """Take a request, which will be paid for unless its job fails."""
        number = len(self.jobs) + 1
        usd = Decimal("0.25") if number % 2 else None
        job = Job(f"job-{number}", prompt, self.clock.now, usd)
        self.jobs.append(job)
        return job

    def of(self, prompt: str) -> list[Job]:
        """Return all jobs that were made for a request."""
        return [job for job in self.jobs if job.prompt == prompt]

    def is_deleted(self, job: Job) -> bool:
        """Whether the API has forgotten a job."""
        return job.ended_at > 0 and self.clock.now - job.ended_at > KEPT_SECONDS


class Client:
    """Stands in for a `KlingClient`."""

    settings = ClientSettings()
    result_access = PUBLIC_ONLY

    def __init__(self, api: Api) -> None:
        self.api = api

    def account(self, salt: str) -> str:
        """Return the same account for everybody."""
        return f"account of {salt}"

    async def create(self, request: VideoRequest, before_send: BeforeSend) -> VideoJob:
        """Send a request; the answer given to the actor says what becomes of it."""
        actor = Actor.current()
        if actor.stop("connect") == "fail":
            raise Unavailable("no connection")
        departure = Departure(request.prompt or "", actor)
        self.api.departures.append(departure)
        try:
            await before_send()
        except Exception:
            departure.is_certain = True
            raise
        match actor.stop("create"):
            case "fail":
                departure.is_certain = True
                raise Unavailable("busy")
            case "refuse":
                departure.is_certain = True
                raise RequestRefused("refused")
            case "lose before":
                raise OutcomeUnknown("lost")
            case "lose":
                self.api.make(departure.prompt)
                actor.stop("answer")
                raise OutcomeUnknown("lost")
            case "name":
                job = self.api.make(departure.prompt)
                actor.stop("answer")
                departure.named.append(job.job_id)
                raise OutcomeUnknown("an error that names a job", job_id=job.job_id)
            case "other" if self.api.jobs:
                other = self.api.jobs[-1]
                if other.prompt != departure.prompt:
                    self.api.ambiguous |= {other.prompt, departure.prompt}
                else:
                    self.api.ambiguous.add(departure.prompt)
                departure.named.append(other.job_id)
                departure.is_certain = True
                return self._seen(other)
        job = self.api.make(departure.prompt)
        actor.stop("answer")
        departure.is_certain = True
        departure.named.append(job.job_id)
        return self._seen(job)

    async def get(self, job_id: str) -> VideoJob:
        """Tell how a job stands, or something else."""
        answer = Actor.current().stop("get")
        if answer == "fail":
            raise Unavailable("away", job_id=job_id)
        found = [job for job in self.api.jobs if job.job_id == job_id]
        if not found or self.api.is_deleted(found[0]):
            raise JobNotFound("unknown", job_id=job_id)
        job = found[0]
        if answer in ("say failed", "say unknown") and job.wrong_answers < WRONG_ANSWERS:
            job.wrong_answers += 1
            if answer == "say unknown":
                raise JobNotFound("unknown", job_id=job_id)
            return self._seen(job).model_copy(
                update={"state": JobState.FAILED, "retryable": True, "urls": ()}
            )
        return self._seen(job)

    async def record(self, job_id: str) -> Charge | None:
        """Tell what a job has cost; nothing if it has failed."""
        Actor.current().stop("record")
        for job in self.api.jobs:
            if job.job_id == job_id and not self.api.is_deleted(job):
                if job.state is JobState.FAILED:
                    return Charge(job_id=job_id, settled=True, credits=Decimal(0))
                if job.state is JobState.COMPLETED and job.usd is not None:
                    return Charge(job_id=job_id, settled=True, credits=job.usd)
        return None

    def _seen(self, job: Job) -> VideoJob:
        urls = ("https://model.invalid/video.mp4",) if job.state is JobState.COMPLETED else ()
        return VideoJob(
            job_id=job.job_id,
            state=job.state,
            said_state=job.state.value,
            model="kling/kling-v3-omni",
            urls=urls,
            retryable=job.is_retryable and job.state is JobState.FAILED,
            fail_code="UPSTREAM_BUSY" if job.state is JobState.FAILED else None,
            created_at=self.api.clock.datetime().fromtimestamp(
                job.made_at, self.api.clock.datetime().tzinfo
            ),
        )
