"""One process makes one clip, start to end, without Prefect; it can be told where to die."""

import asyncio
import contextlib
import signal
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from pydantic import SecretStr

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job, wait_for_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from prefect_kling.studio.storage.bucket import Bucket
from tests.kill.points import Points

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ARCHIVED = "archived"


@dataclass(frozen=True)
class Place:
    """Where clips are made: an API, and an archive with a cap; `s3_attempts` are boto3's."""

    api_url: str
    api_key: str
    s3: LocalS3
    bucket: str
    prefix: str
    cap_usd: Decimal | None = None
    s3_attempts: int = 5

    def client(self, create_seconds: float = 60.0) -> KlingClient:
        """Return a client of the API."""
        settings = ClientSettings(base_url=self.api_url, create_seconds=create_seconds)
        return KlingClient(SecretStr(self.api_key), settings)

    def archive(self) -> Archive:
        """Return the archive."""
        return Archive(
            Bucket(s3_client(self.s3, self.s3_attempts), self.bucket, self.prefix), self.cap_usd
        )


@dataclass(frozen=True)
class Assignment:
    """One clip to make, on which terms, and where to die; `blow` is the signal that does it."""

    place: Place
    prompt: str
    terms: SubmitOptions = SubmitOptions(window=6.0, busy=20.0, look_again=0.1)
    create_seconds: float = 3.0
    patience: PollPolicy = field(
        default_factory=lambda: PollPolicy(first=0.1, longest=0.3, deadline=120)
    )
    die_at: str | None = None
    blow: int = signal.SIGKILL

    @property
    def order(self) -> ClipOrder:
        """The clip to make: the shortest and cheapest there is."""
        return ClipOrder(
            request=VideoRequest(model="kling-v3-omni", prompt=self.prompt, duration=3)
        )


@dataclass(frozen=True)
class Outcome:
    """How a clip ended: `archived`, or the name of the error that stopped it."""

    kind: str
    words: str = ""
    job_id: str | None = None


def s3_client(s3: LocalS3, attempts: int) -> "S3Client":
    """Return a client that tries each call so often."""
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
        config=Config(
            max_pool_connections=48, retries={"mode": "standard", "total_max_attempts": attempts}
        ),
    )


async def make_clip(task: Assignment, client: KlingClient, archive: Archive) -> Outcome:
    """Make one clip and say how it ended; only errors of the project count as an end."""
    job_id = None
    try:
        entry = await submit_once(task.order, client, archive, task.terms)
        job_id = entry.job_id
        job = await wait_for_paid_job(entry, client, archive, task.patience)
        clip = (await keep_paid_job(entry, job, client, archive)).clip
    except (KlingError, StudioError) as error:
        return Outcome(type(error).__name__, str(error), error.job_id or job_id)
    return Outcome(ARCHIVED, clip.uri, clip.job_id)


def work(task: Assignment, said: Connection, start: "threading.Barrier | None" = None) -> None:
    """The life of a worker process: what it passes, and its outcome, go into the pipe."""
    points = Points(said, task.die_at, task.blow)
    points.install()
    archive = task.place.archive()
    if start is not None:
        start.wait(60)

    async def live() -> Outcome:
        async with task.place.client(task.create_seconds) as client:
            return await make_clip(task, client, archive)

    said.send(asyncio.run(live()))


def work_through(
    tasks: list[Assignment],
    said: Connection,
    at_once: int = 12,
    die_at: tuple[str, int] | None = None,
) -> None:
    """The life of a process that makes many clips side by side; each outcome goes into the pipe.

    `die_at`: the point, and how often it is passed before the process dies there.
    """
    archives = {task.place: task.place.archive() for task in tasks}
    if die_at is not None:
        point, count = die_at
        Points(said, point, count=count).install()

    async def one(task: Assignment, turn: asyncio.Semaphore) -> None:
        async with turn, task.place.client(task.create_seconds) as client:
            outcome = await make_clip(task, client, archives[task.place])
        said.send((task.prompt, outcome))

    async def live() -> None:
        turn = asyncio.Semaphore(at_once)
        await asyncio.gather(*(one(task, turn) for task in tasks))

    with contextlib.closing(said):
        asyncio.run(live())
