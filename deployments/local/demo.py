"""The whole thing on one machine: no key, no cloud, a real film."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_aws import MinIOCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.flows import produce_film, produce_versions
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.planner import plan_story
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.versions import Story
from prefect_kling.telemetry.progress import subscribe

BUCKET = "films"


@dataclass(frozen=True)
class LocalStudio:
    """Everything a film needs, running on loopback: blocks to hand to flows, and where to look."""

    credentials: KlingCredentials
    archive: KlingArchive
    ui: str


@dataclass(frozen=True)
class DemoFilms:
    """A finished demo: its films, and the folder to which their files were copied."""

    films: list[Film]
    folder: Path
    paid_usd: str
    jobs: int


def example_storyboard() -> Storyboard:
    """Return the example film that ships with the package."""
    with as_file(files("prefect_kling.examples")) as folder:
        return load_storyboard(folder / "first-light.yaml")


@contextmanager
def local_studio(folder: Path, sandbox: Sandbox) -> Iterator[LocalStudio]:
    """Run an S3 server and a Prefect server beside a sandbox until the block ends.

    All data goes into the folder.
    """
    with ExitStack() as running:
        s3 = running.enter_context(seaweed(folder / "s3", BUCKET))
        ui = running.enter_context(prefect_server(folder / "prefect"))
        credentials = KlingCredentials(
            api_key=SecretStr(sandbox.key),
            base_url=sandbox.base_url,
            first_poll_seconds=0.5,
            longest_poll_seconds=1.0,
        )
        yield LocalStudio(credentials, local_archive(s3), ui)


def local_archive(s3: LocalS3, prefix: str = "kling") -> KlingArchive:
    """Return an archive block for a local S3 server."""
    keys = MinIOCredentials(
        minio_root_user=s3.access_key,
        minio_root_password=SecretStr(s3.secret_key),
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(endpoint_url=s3.endpoint),
    )
    return KlingArchive(bucket=S3Bucket(bucket_name=BUCKET, credentials=keys), prefix=prefix)


def make_demo_films(story: Story, target: Path, table: LiveTable) -> DemoFilms:
    """Make the films of a story with local stand-ins, and copy their files into a folder.

    These are film, contact sheet and manifest; of several versions each has a folder of its own.
    Costs nothing. Stops everything it started, also when it fails. Running it again overwrites
    these files.
    """
    with ExitStack() as running:
        temporary = TemporaryDirectory(prefix="prefect-kling-demo-", ignore_cleanup_errors=True)
        disk = Path(running.enter_context(temporary))
        settings = SandboxSettings(render_seconds=(4.0, 8.0), folder=disk / "api")
        sandbox = running.enter_context(Sandbox(settings))
        table.say("starting an S3 server and a Prefect server on this machine …")
        studio = running.enter_context(local_studio(disk, sandbox))
        table.begin(plan_story(story).together, studio.ui)
        with subscribe(table.show):
            films = run(_make(story, studio))
        stats = sandbox.stats()
        for film in films:
            folder = target / film.slug if story.has_versions else target
            _copy_out(film, studio.archive, folder)
    return DemoFilms(films, target, str(stats["paid_usd"]), int(stats["created"]))


async def _make(story: Story, studio: LocalStudio) -> list[Film]:
    if story.has_versions:
        return await produce_versions(story, studio.credentials, studio.archive)
    return [await produce_film(story.single(), studio.credentials, studio.archive)]


def _copy_out(film: Film, archive: KlingArchive, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    bucket = archive.get_archive().bucket
    for uri in (film.uri, film.contact_sheet_uri, film.manifest_uri):
        with (target / uri.rpartition("/")[2]).open("wb") as file:
            bucket.fetch(bucket.path_of(uri), file)
