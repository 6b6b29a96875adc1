"""A place to practise in: the sandbox, and beside it an S3 server with a bucket."""

import os
import shlex
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from prefect_kling.deployments.cli.ports import port_in_words
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3, S3Place, seaweed
from prefect_kling.sandbox import SandboxSettings, serve

_KEPT = "practice.json"


class Practice(BaseModel):
    """What a folder keeps from one start to the next, so that blocks made once go on working."""

    port: int
    """Where the sandbox listens."""
    s3: S3Place | None = None
    """Where the S3 server listens, and its keys."""


def kept_practice(folder: Path | None) -> Practice | None:
    """Return what a folder keeps; None without a folder, or where it keeps nothing yet."""
    if folder is None or not (folder / _KEPT).exists():
        return None
    return Practice.model_validate_json((folder / _KEPT).read_bytes())


def keep_practice(practice: Practice, folder: Path) -> None:
    """Keep it in a folder. The file holds the keys of the S3 server: only its owner may read it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _KEPT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(practice.model_dump_json(indent=1))


def serve_with_store(settings: SandboxSettings, folder: Path | None) -> None:
    """Run both until interrupted, and print the variables that `prefect-kling setup` reads.

    Costs nothing. With a folder, the store's address, keys and data are the same each time.
    Raises `RuntimeError` if the program of the store is not installed, and `PortUnusable`.
    """
    practice = kept_practice(folder)
    place = None
    if practice is not None and practice.s3 is not None:
        place = practice.s3
        _require_free(place, folder)
    if place is None:
        place = S3Place.fresh()
    if folder is not None:
        keep_practice(Practice(port=settings.port, s3=place), folder)

    with (
        TemporaryDirectory(prefix="prefect-kling-", ignore_cleanup_errors=True) as disk,
        seaweed((folder or Path(disk)) / "s3", BUCKET, place) as s3,
    ):
        base_url = f"http://127.0.0.1:{settings.port}/api/v1"
        for name, value in answers(base_url, settings.key, s3).items():
            print(f"export {name}={shlex.quote(value)}")
        # Whoever sends them to a file reads it while this process runs.
        print(flush=True)
        serve(settings)


def _require_free(place: S3Place, folder: Path | None) -> None:
    """Raise `PortUnusable` for a kept port that somebody else has meanwhile."""
    next_step = (
        f"The S3 server has it from {folder}/{_KEPT}: end what uses it, or delete that file for "
        "new ports, and run `prefect-kling setup` again."
    )
    for port in place.ports.values():
        with port_in_words("127.0.0.1", port, next_step), socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))


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
