"""What is published, built once."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Published:
    """The two files of a release."""

    wheel: Path
    sdist: Path


def build(folder: Path, *words: str) -> Published:
    """Build both, as the release does. Raises `AssertionError` with what was said against it."""
    command = [sys.executable, str(ROOT / ".ci" / "package"), str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Published(wheel, sdist)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The two files of a release, as the checkout stands."""
    return build(tmp_path_factory.mktemp("published"))
