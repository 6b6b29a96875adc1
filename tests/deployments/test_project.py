"""Production from the installed package: files for one's own project; one command to deploy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import DeploymentSchedule

from prefect_kling.deployments.catalogue import read_deployments
from tests.deployed import forget_deployments
from tests.deployments.conftest import is_documented

COMMAND = str(Path(sys.executable).parent / "prefect-kling")


def run(*words: str, api: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as it is typed, outside of the checkout."""
    surroundings = dict(os.environ)
    if api:
        surroundings["PREFECT_API_URL"] = f"{api}/api"
    return subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, env=surroundings, cwd=folder, check=False
    )


def test_init_writes_files_and_leaves_those_that_are_the_users(tmp_path: Path) -> None:
    """All deployments for the pool that was named; a file that was changed is never overwritten."""
    done = run("init", "--pool", "studio", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    described = yaml.safe_load((tmp_path / "prefect.yaml").read_text())
    names = [each["name"] for each in described["deployments"]]
    assert names == [each["name"] for each in read_deployments()]
    assert {each["work_pool"]["name"] for each in described["deployments"]} == {"studio"}
    assert "prefect-kling==" in (tmp_path / "Dockerfile").read_text()
    assert "ENV MALLOC_ARENA_MAX=2" in (tmp_path / "Dockerfile").read_text()

    (tmp_path / "Dockerfile").write_text("FROM ours\n")
    again = run("init", "--pool", "studio", folder=tmp_path)
    assert (tmp_path / "Dockerfile").read_text() == "FROM ours\n"
    assert "prefect-kling==" in (tmp_path / "Dockerfile.new").read_text()
    assert "is yours" in again.stdout
    assert "unchanged" in again.stdout

    told = json.loads(run("init", "--pool", "studio", "--json", folder=tmp_path).stdout)
    assert is_documented(told, "ProjectBegun")
    assert is_documented(told["files"][0], "FileOfProject")
    outcomes = {each["path"]: each["outcome"] for each in told["files"]}
    assert outcomes == {
        "prefect.yaml": "unchanged", "Dockerfile.new": "beside", ".env.example": "unchanged",
    }  # fmt: skip


async def schedules(name: str) -> list[DeploymentSchedule]:
    """The schedules of a deployment."""
    async with get_client() as api:
        return (await api.read_deployment_by_name(name)).schedules


async def test_deploy_makes_pool_and_deployments_and_keeps_schedules_on(
    prefect_ui: str, tmp_path: Path
) -> None:
    """A schedule that is on stays on when it is deployed again without a word about it."""
    first = run(
        "deploy", "collect-finished", "--pool", "own", "--schedule", "collect-finished",
        api=prefect_ui, folder=tmp_path,
    )  # fmt: skip
    assert first.returncode == 0, first.stdout + first.stderr
    (schedule,) = await schedules("collect-finished/collect-finished")
    assert schedule.active
    async with get_client() as api:
        assert (await api.read_work_pool("own")).type == "process"

    second = run(
        "deploy", "collect-finished", "--pool", "own", "--json", api=prefect_ui, folder=tmp_path
    )
    assert second.returncode == 0, second.stdout + second.stderr
    told = json.loads(second.stdout)
    assert is_documented(told, "Deployed")
    assert told == {
        "pool": "own",
        "pool_is_new": False,
        "deployments": ["collect-finished"],
        "scheduled": ["collect-finished"],
    }
    (schedule,) = await schedules("collect-finished/collect-finished")
    assert schedule.active
    await forget_deployments()


@pytest.mark.parametrize(
    ("words", "told"),
    [(["no-such"], "there is no deployment no-such"), (["--schedule", "film-x"], "no schedule of")],
)
def test_a_name_that_is_none_is_told_before_anything_is_deployed(
    words: list[str], told: str, prefect_ui: str
) -> None:
    """With those there are."""
    done = run("deploy", *words, api=prefect_ui)
    assert done.returncode == 1
    assert told in done.stdout + done.stderr
    assert "collect-finished" in done.stdout + done.stderr
