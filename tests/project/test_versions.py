"""One version, said once: code, change log and documents agree on it."""

import re
import subprocess
import tomllib
from datetime import date

import prefect_kling
from tests.project.conftest import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELEASES = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)


def test_the_newest_release_is_the_version_of_the_package() -> None:
    """`pyproject.toml`, `__version__` as installed, and the change log, whose newest is on top."""
    assert prefect_kling.__version__ == VERSION == RELEASES[0][0]
    days = [date.fromisoformat(day) for _, day in RELEASES]
    assert days == sorted(days, reverse=True)
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings == ["Unreleased", *(f"{version} - {day}" for version, day in RELEASES)]


def test_a_version_of_ours_that_is_spoken_of_was_released() -> None:
    """What code and documents call "before 0.3" is before a release that the change log has."""
    names = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    spoken = {
        version
        for name in names
        for version in re.findall(
            r"[Vv]ersions? (?:before|since|of|from) (\d+(?:\.\d+)+)", (ROOT / name).read_text()
        )
    }
    released = [version for version, _ in RELEASES]
    assert spoken, "the rule is looked for where it is broken"
    assert [
        each for each in spoken if not any(f"{r}.".startswith(f"{each}.") for r in released)
    ] == []
