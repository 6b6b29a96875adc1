"""Real parts for all tests: a sandbox over HTTP, an S3 and a Prefect server, one each a session."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import pytest

# Nothing on the developer's machine may leak in or be written to; Prefect reads this when it is
# first imported.
for name in [name for name in os.environ if name.startswith(("PREFECT_", "AWS_", "APIMODELS_"))]:
    del os.environ[name]
os.environ["DO_NOT_TRACK"] = "1"
# A server on SQLite is often busy for a moment; see `prefect_is_asked_again_soon`.
os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "10"
# Each client of Prefect's reads all of certifi's certificates, which takes 30 ms of processor time.
# The servers of these tests have no TLS.
CERTIFICATE_END = "-----END CERTIFICATE-----\n"
CERTIFICATE = tempfile.NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115 - as long as the tests
CERTIFICATE.write(Path(certifi.where()).read_text().partition(CERTIFICATE_END)[0] + CERTIFICATE_END)
CERTIFICATE.flush()
os.environ["PREFECT_API_SSL_CERT_FILE"] = CERTIFICATE.name

import prefect
import prefect.client.base
from prefect.blocks.core import Block
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage.bucket import Bucket

# The processes share the files. One that takes a minute must not be the last, while the others have
# nothing to do.
LONG = (
    "project/test_empty_folder.py",
    "test_tutorial.py",
    "by_hand/test_by_hand.py",
    "flows/test_changed_shots.py",
    "flows/test_example_films.py",
    "deployments/test_doctor.py",
    "deployments/test_cli.py",
    "deployments/test_receiver.py",
    "runs/test_approval.py",
    "flows/test_killed_film.py",
    "deployments/test_deployments.py",
    "deployments/test_postgres.py",
    "deployments/test_setup.py",
    "kill/test_kill.py",
    "kill/test_store_faults.py",
    "flows/test_flows.py",
    "test_snippets.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of `LONG` first; all others keep their order."""
    order = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    missing = [str(path) for path in order if not path.exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py: LONG names missing files: {missing}")
    items.sort(key=lambda item: order.get(item.path, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def prefect_is_asked_again_soon() -> Iterator[None]:
    """Prefect's client asks a busy server again after 0.2, 0.4 … seconds, and not after 2, 4 ….

    On SQLite nearly every sub-flow is refused once, with 503. There is no setting for the pause.
    """

    def a_tenth(seconds: float, _jitter: float) -> float:
        return seconds / 10

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(prefect.client.base, "clamped_poisson_interval", a_tenth)
        yield


@pytest.fixture(scope="session", autouse=True)
def schemas_are_computed_once() -> Iterator[None]:
    """The schemas of Prefect's own blocks are computed once in a process.

    Whenever a block is stored, Prefect computes them anew for each field of a block inside it.
    """
    compute = functools.cache(Block.model_json_schema.__func__)

    def schema(block: type[Block], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return deepcopy(compute(block, *args, **kwargs))

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Block, "model_json_schema", classmethod(schema))
        yield


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """A real S3 server."""
    with seaweed(tmp_path_factory.mktemp("s3"), BUCKET) as server:
        yield server


# For a server whose database has all types of blocks that are installed. When it starts, it would
# import and store them; only with both settings it does neither.
KNOWS_ALL_BLOCKS = """
active = "tests"

[profiles.tests]
PREFECT_SERVER_REGISTER_BLOCKS_ON_START = "false"
PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION = "false"
"""


@pytest.fixture(scope="session")
def prefect_ui(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """A real Prefect server, used by this process; the address of its UI.

    The database of a new server is kept from one session to the next, for each version of Prefect
    and of our blocks: making it takes as long as all the rest of the start.
    """
    folder = tmp_path_factory.mktemp("prefect")
    schemas = [block.model_json_schema() for block in (KlingArchive, KlingCredentials)]
    types = hashlib.sha256(json.dumps(schemas).encode()).hexdigest()[:8]
    name = f"{prefect.__version__}-{types}.db"
    fresh = pytestconfig.cache.mkdir("prefect-databases") / name
    if fresh.exists():
        shutil.copyfile(fresh, folder / "prefect.db")
        (folder / "profiles.toml").write_text(KNOWS_ALL_BLOCKS, encoding="utf-8")
    with prefect_server(folder) as address:
        if not fresh.exists():
            keep_database(folder / "prefect.db", fresh)
        yield address


def keep_database(database: Path, kept: Path) -> None:
    """Copy a SQLite database in use to a file, which is there only when it is whole."""
    unfinished = kept.with_suffix(f".{os.getpid()}")
    with (
        contextlib.closing(sqlite3.connect(database)) as source,
        contextlib.closing(sqlite3.connect(unfinished)) as target,
    ):
        source.backup(target)
    unfinished.rename(kept)


@pytest.fixture(scope="session")
def sandbox_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's sandbox keeps its jobs."""
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def shared_sandbox(sandbox_folder: Path) -> Iterator[Sandbox]:
    """The API on loopback, painting small pictures at once."""
    settings = SandboxSettings(
        render_seconds=(0.0, 0.0), short_side=90, folder=sandbox_folder, balance_usd=1_000_000
    )
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The API on loopback, well behaved at the start of each test."""
    shared_sandbox.clear_faults()
    yield shared_sandbox
    shared_sandbox.clear_faults()


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[KlingClient]:
    """A client of the sandbox."""
    async with KlingClient(
        SecretStr(sandbox.key), ClientSettings(base_url=sandbox.base_url)
    ) as client:
        yield client


@pytest.fixture
def archive_block(s3: LocalS3) -> KlingArchive:
    """An empty archive, as a block."""
    return local_archive(s3, prefix=f"test-{secrets.token_hex(6)}")


@pytest.fixture
async def default_blocks(
    prefect_ui: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> AsyncIterator[None]:
    """Both blocks stored under the name that deployments and examples use."""
    blocks: tuple[Block, ...] = (credentials, archive_block)
    for block in blocks:
        await block.asave("default", overwrite=True)
    yield
    for block in blocks:
        await type(block).adelete("default")


@pytest.fixture
def archive(archive_block: KlingArchive) -> Archive:
    """An empty archive that pauses for moments only."""
    archive = archive_block.get_archive()
    archive.fetching = replace(
        archive.fetching, pause_seconds=0.05, download_pause_seconds=0.05, confirm_seconds=0.1
    )
    return archive


@pytest.fixture
def bucket(archive: Archive) -> Bucket:
    """An empty bucket prefix."""
    return archive.bucket


def eager_credentials(sandbox: Sandbox) -> KlingCredentials:
    """Access to a sandbox, as a block that polls fast."""
    return KlingCredentials(
        api_key=SecretStr(sandbox.key),
        base_url=sandbox.base_url,
        first_poll_seconds=0.05,
        longest_poll_seconds=0.2,
    )


@pytest.fixture
def credentials(sandbox: Sandbox) -> KlingCredentials:
    """Access to the sandbox, as a block that polls fast."""
    return eager_credentials(sandbox)
