"""The host's workflows: they run what a checkout can run, and hold no secret."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, Any]:
    """The jobs of a workflow."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow."""
    return [step for job in jobs(path).values() for step in job["steps"]]


@each_workflow
def test_every_step_runs_a_command_of_the_checkout(path: Path) -> None:
    """A target of the Makefile, or a file of `.ci`: nothing is written twice."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(path):
        if "run" not in step:
            continue
        program, *words = step["run"].split()
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets
        else:
            assert program.startswith(".ci/")
            assert (ROOT / program).stat().st_mode & 0o111, program


@each_workflow
def test_what_others_wrote_is_named_by_its_commit_and_nothing_is_secret(path: Path) -> None:
    """A tag can be moved. No job may write more than it says, and none runs without an end."""
    text = path.read_text()
    assert "secrets." not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
    assert all("timeout-minutes" in job for job in jobs(path).values())


def test_every_python_that_is_claimed_is_tested() -> None:
    """The classifiers and the matrix name the same; the least one is `requires-python`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    claimed = [
        each.removeprefix(prefix) for each in project["classifiers"] if each.startswith(prefix)
    ]
    checks = jobs(ROOT / ".github" / "workflows" / "checks.yml")
    assert checks["pythons"]["strategy"]["matrix"]["python"] == claimed
    assert project["requires-python"] == f">={claimed[0]}"


def test_a_release_is_published_without_a_token() -> None:
    """Built and attested in one job; published from the environment `pypi` by another."""
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")
    assert release["build"]["permissions"]["attestations"] == "write"
    publish = release["publish"]
    assert (publish["needs"], publish["environment"]) == ("build", "pypi")
    assert publish["permissions"] == {"id-token": "write"}
    assert "with" not in publish["steps"][-1]
