"""Keys, secrets and links that the API quotes back in every answer are found nowhere afterwards."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME

from prefect_kling.blocks import KlingArchive, KlingCredentials
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


def everything_kept(archive: Archive, printed: bytes) -> dict[str, bytes]:
    """Database and log of the Prefect server, all objects of the archive, and the output."""
    found = {"printed": printed}
    for path in Path(PREFECT_HOME.value()).rglob("*"):
        # Blocks are encrypted there, with a key that lies beside them.
        if path.is_file():
            found[path.name] = path.read_bytes()
    for name in archive.bucket.names(""):
        stored = archive.bucket.read(name)
        assert stored is not None
        found[f"s3 {name}"] = stored.body
    return found


@pytest.mark.slow
async def test_no_secret_that_was_sent_is_kept_anywhere(
    prefect_ui: str,
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
        "PREFECT_API_URL": f"{prefect_ui}/api",
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
    assert any(b"kling.clip" in content for content in kept.values())
    # There was something to hide.
    assert any(b"<hidden>" in content for content in kept.values())
    for name, content in kept.items():
        for secret in secrets:
            assert secret.encode() not in content, f"{secret[:4]}… is in {name}"
        # The page of a film has a link to watch it.
        leaked = [link for link in SIGNED.findall(content) if b"/films/" not in link]
        assert leaked == [], f"a signed link is in {name}"
