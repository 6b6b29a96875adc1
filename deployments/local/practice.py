"""A place to serve_with_store in: the sandbox, and beside it an S3 server with an empty bucket."""

import shlex
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.sandbox import SandboxSettings, serve


def serve_with_store(settings: SandboxSettings, folder: Path | None) -> None:
    """Run both until interrupted, and print the variables that `prefect-kling setup` reads.

    Costs nothing. The store's address and keys are new each time. Raises `RuntimeError` if the
    program of the store is not installed.
    """
    # The server of the sandbox raises SIGTERM again when it has stopped. Unhandled, it would end
    # this process before the S3 server is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    with (
        TemporaryDirectory(prefix="prefect-kling-", ignore_cleanup_errors=True) as disk,
        seaweed((folder or Path(disk)) / "s3", BUCKET) as s3,
    ):
        base_url = f"http://127.0.0.1:{settings.port}/api/v1"
        for name, value in answers(base_url, settings.key, s3).items():
            print(f"export {name}={shlex.quote(value)}")
        # Whoever sends them to a file reads it while this process runs.
        print(flush=True)
        serve(settings)


def answers(base_url: str, key: str, s3: LocalS3) -> dict[str, str]:
    """Return what `prefect-kling setup` asks for, by the names of its environment variables."""
    return {
        "APIMODELS_API_KEY": key,
        "APIMODELS_BASE_URL": base_url,
        "KLING_BUCKET": BUCKET,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_REGION": "us-east-1",
    }
