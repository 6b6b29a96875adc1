"""Keys, secrets and links that the API quotes back in every answer are found nowhere afterwards."""

import asyncio
import base64
import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from tests.deployments.door import SECRET, open_door

LOGGERS = "httpx,httpcore,botocore,boto3,urllib3,prefect_kling,kling"
SIGNED = re.compile(rb"https?://[^\s\"'<>)]*X-Amz-Signature(?:=|%3D)[0-9a-f]{16}")
FAULTS = [
    {"name": "key-echoed", "on": "get", "rate": 0.4, "seed": 1, "times": None},
    {"name": "links-echoed", "on": "get", "rate": 0.4, "seed": 2, "times": None},
    {"name": "links-echoed", "on": "create", "rate": 0.5, "seed": 3, "times": 1},
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A Prefect server with a database of its own."""
    with prefect_server(tmp_path / "prefect") as address:
        yield address


def rows_of(database: Path) -> dict[str, bytes]:
    """All that stands in the tables of a database, whole: its file cuts long values into pages."""
    found = {}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            rows = connection.execute(f'SELECT * FROM "{name}"')
            values = [str(value) for row in rows for value in row]
            found[f"table {name}"] = "\n".join(values).encode()
    return found


def spelled(secret: str) -> dict[str, bytes]:
    """A secret as it is, and as encodings that anybody can undo write it."""
    raw = secret.encode()
    entities = "".join(f"&#{each};" for each in raw)
    return {
        "as it is": raw,
        "in Base64": base64.b64encode(raw).rstrip(b"="),
        "in hex": raw.hex().encode(),
        "percent": "".join(f"%{each:02x}" for each in raw).encode(),
        "escaped": "".join(f"\\u{each:04x}" for each in raw).encode(),
        "escaped twice": "".join(f"\\\\u{each:04x}" for each in raw).encode(),
        "as entities": entities.encode(),
    }


def everything_kept(archive: Archive, printed: bytes) -> dict[str, bytes]:
    """Database and log of the Prefect server, all objects of the archive, and the output."""
    found = {"printed": printed}
    for path in Path(PREFECT_HOME.value()).rglob("*"):
        # Blocks are encrypted there, with a key that lies beside them.
        if path.is_file():
            found[path.name] = path.read_bytes()
        if path.name == "prefect.db":
            found |= rows_of(path)
    for name in archive.bucket.names(""):
        stored = archive.bucket.read(name)
        assert stored is not None
        found[f"s3 {name}"] = stored.body
    return found


@pytest.mark.slow
async def test_no_secret_that_was_sent_is_kept_anywhere(
    server: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    s3: LocalS3,
) -> None:
    """With everything logged at DEBUG, a held clip, a failed one, retries, and pages of it all."""
    for fault in FAULTS:
        sandbox.fault(**fault)
    surroundings = os.environ | {
        "PREFECT_API_URL": f"{server}/api",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": LOGGERS,
    }
    with open_door(credentials, archive) as door:
        block = door.block
        await block.save("canary", overwrite=True)
        await archive_block.save("canary", overwrite=True)
        command = [sys.executable, "-m", "tests.flows.canary_run", archive.bucket.prefix]
        run = await asyncio.to_thread(
            subprocess.run, command, env=surroundings, capture_output=True, check=True, timeout=200
        )
    printed = run.stdout + run.stderr
    assert b"DEBUG" in printed
    keys = list(archive.ledger.all_keys())
    assert len(keys) == 3
    assert block.callbacks is not None
    secrets = {sandbox.key, s3.secret_key, SECRET}
    for key in keys:
        version = archive.ledger.read(key)
        assert version is not None
        secrets.add(block.callbacks.address(version.entry).rpartition("/")[2])
    kept = everything_kept(archive, printed)
    assert len(kept["table events"]) > 1000
    assert b"kling.clip" in kept["table events"]
    # There was something to hide.
    assert any(b"<hidden>" in content for content in kept.values())
    for name, content in kept.items():
        for secret in secrets:
            for how, written in spelled(secret).items():
                assert written not in content, f"{secret[:4]}… is in {name}, {how}"
        # The page of a film has a link to watch it.
        leaked = [link for link in SIGNED.findall(content) if b"/films/" not in link]
        assert leaked == [], f"a signed link is in {name}"
