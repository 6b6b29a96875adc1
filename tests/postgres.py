"""A PostgreSQL server of a test's own, from the programs of the system."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from prefect_kling.deployments.local.processes import free_ports

USER = "prefect"
DEBIAN = Path("/usr/lib/postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server on loopback with an empty database; yields its address, password included.

    Skips the test where PostgreSQL is not installed.
    """
    programs, password, (port,) = _programs(), secrets.token_hex(16), free_ports(1)
    # Not below pytest's folder, which is closed to all other users.
    with TemporaryDirectory(prefix="prefect-kling-postgres-") as folder:
        data, secret = Path(folder) / "data", Path(folder) / "password"
        secret.write_text(password)
        owner = _hand_over(Path(folder), secret)
        log, pg_ctl = Path(folder) / "log", programs / "pg_ctl"
        login = (f"--username={USER}", f"--pwfile={secret}", "--auth=scram-sha-256")
        _run(
            [programs / "initdb", data, *login, "--encoding=UTF8", "--no-locale", "--no-sync"],
            owner,
        )
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        )
        try:
            _run([pg_ctl, "start", "-D", data, "-w", "-l", log, "-o", options], owner)
            yield f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            _run([pg_ctl, "stop", "-D", data, "-w", "-m", "immediate"], owner)


def _programs() -> Path:
    """The folder of the newest version; Debian keeps its programs off the path."""
    found = max(
        DEBIAN.glob("*/bin/initdb"),
        key=lambda each: float(each.parts[-3]),
        default=shutil.which("initdb"),
    )
    if found is None:
        pytest.skip(
            "no PostgreSQL: initdb is not installed (on Debian: apt-get install postgresql)"
        )
    return Path(found).resolve().parent


def _hand_over(*paths: Path) -> str | None:
    """Give what root made to somebody else and return the name: PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    owner = next(
        name for name in ("postgres", "nobody") if name in {each.pw_name for each in pwd.getpwall()}
    )
    for path in paths:
        shutil.chown(path, owner)
    return owner


def _run(command: list[str | Path], owner: str | None) -> None:
    groups = (
        {}
        if owner is None
        else {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
    )
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    # The working directory of whoever runs the tests may be closed to the owner.
    done = subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, check=False, **groups
    )
    assert done.returncode == 0, done.stdout + done.stderr
