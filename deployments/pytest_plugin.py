"""Fixtures for tests of your own flows: the API, an S3 store and Prefect, all on this machine.

pytest finds them by itself where the package is installed. Nothing is imported or started before a
test asks for a fixture; the servers are started once for a session.
"""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_kling.blocks import KlingArchive, KlingCredentials
    from prefect_kling.deployments.local.seaweed import LocalS3
    from prefect_kling.sandbox import Sandbox


@pytest.fixture(scope="session")
def kling_sandbox_server() -> "Iterator[Sandbox]":
    """The sandbox of the session: small pictures, painted at once. Use `kling_sandbox`."""
    from prefect_kling.sandbox import Sandbox, SandboxSettings

    settings = SandboxSettings(render_seconds=(0.0, 0.0), short_side=180, balance_usd=1_000_000)
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def kling_sandbox(kling_sandbox_server: "Sandbox") -> "Iterator[Sandbox]":
    """The API on loopback, well behaved at the start of each test.

    `fault(name=…)` makes it misbehave, `jobs()` and `stats()` tell what was sent and paid.
    """
    kling_sandbox_server.clear_faults()
    yield kling_sandbox_server
    kling_sandbox_server.clear_faults()


@pytest.fixture
def kling_credentials(kling_sandbox: "Sandbox") -> "KlingCredentials":
    """A credentials block for the sandbox; it polls fast."""
    from pydantic import SecretStr

    from prefect_kling.blocks import KlingCredentials

    return KlingCredentials(
        api_key=SecretStr(kling_sandbox.key),
        base_url=kling_sandbox.base_url,
        first_poll_seconds=0.05,
        longest_poll_seconds=0.2,
    )


@pytest.fixture(scope="session")
def kling_store(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LocalS3]":
    """An S3 server with a bucket; needs the extra `demo`. Use `kling_archive`."""
    from prefect_kling.deployments.local.demo import BUCKET
    from prefect_kling.deployments.local.seaweed import seaweed

    with seaweed(tmp_path_factory.mktemp("kling-s3"), BUCKET) as server:
        yield server


@pytest.fixture
def kling_archive(kling_store: "LocalS3") -> "KlingArchive":
    """An archive block, empty for each test; needs the extra `demo`."""
    from prefect_kling.deployments.local.demo import local_archive

    return local_archive(kling_store, prefix=f"test-{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def kling_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server with its own database, used by this process; the address of its UI."""
    from prefect_kling.deployments.local.prefect_server import prefect_server

    with prefect_server(tmp_path_factory.mktemp("kling-prefect")) as address:
        yield address


@pytest.fixture
def kling_blocks(
    kling_prefect: str, kling_credentials: "KlingCredentials", kling_archive: "KlingArchive"
) -> Iterator[None]:
    """Both blocks stored as `default`, for flows that load them by name."""
    for block in (kling_credentials, kling_archive):
        block.save("default", overwrite=True)
    yield
    for kind in (type(kling_credentials), type(kling_archive)):
        kind.delete("default")
