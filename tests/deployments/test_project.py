"""Production from the installed package: files for one's own project; one command to deploy."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import DeploymentSchedule

from prefect_kling.deployments.catalogue import read_deployments
from tests.deployed import forget_deployments
from tests.deployments.conftest import Call, is_documented


def test_init_writes_files_and_leaves_those_that_are_the_users(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All deployments for the pool that was named; a file that was changed is never overwritten."""
    monkeypatch.chdir(tmp_path)
    done = call("init", "--pool", "studio")
    assert done.returncode == 0, done.stderr
    described = yaml.safe_load((tmp_path / "prefect.yaml").read_text())
    names = [each["name"] for each in described["deployments"]]
    assert names == [each["name"] for each in read_deployments()]
    assert {each["work_pool"]["name"] for each in described["deployments"]} == {"studio"}
    assert "prefect-kling==" in (tmp_path / "Dockerfile").read_text()
    assert "ENV MALLOC_ARENA_MAX=2" in (tmp_path / "Dockerfile").read_text()

    (tmp_path / "Dockerfile").write_text("FROM ours\n")
    again = call("init", "--pool", "studio")
    assert (tmp_path / "Dockerfile").read_text() == "FROM ours\n"
    assert "prefect-kling==" in (tmp_path / "Dockerfile.new").read_text()
    assert "is yours" in again.stdout
    assert "unchanged" in again.stdout

    told = json.loads(call("init", "--pool", "studio", "--json").stdout)
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


async def pool_type(name: str) -> str:
    """The type of a work pool."""
    async with get_client() as api:
        return (await api.read_work_pool(name)).type


def test_deploy_makes_pool_and_deployments_and_keeps_schedules_on(
    call: Call, prefect_ui: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that is on stays on when it is deployed again without a word about it."""
    monkeypatch.chdir(tmp_path)
    words = ("deploy", "collect-finished", "--pool", "own")
    server = f"{prefect_ui}/api"
    first = call(*words, "--schedule", "collect-finished", PREFECT_API_URL=server)
    assert first.returncode == 0, first.stdout + first.stderr
    (schedule,) = asyncio.run(schedules("collect-finished/collect-finished"))
    assert schedule.active
    assert asyncio.run(pool_type("own")) == "process"

    second = call(*words, "--json", PREFECT_API_URL=server)
    assert second.returncode == 0, second.stdout + second.stderr
    told = json.loads(second.stdout)
    assert is_documented(told, "Deployed")
    assert told == {
        "pool": "own",
        "pool_is_new": False,
        "deployments": ["collect-finished"],
        "scheduled": ["collect-finished"],
    }
    (schedule,) = asyncio.run(schedules("collect-finished/collect-finished"))
    assert schedule.active
    asyncio.run(forget_deployments())


@pytest.mark.parametrize(
    ("words", "told"),
    [(["no-such"], "there is no deployment no-such"), (["--schedule", "film-x"], "no schedule of")],
)
def test_a_name_that_is_none_is_told_before_anything_is_deployed(
    words: list[str], told: str, call: Call, prefect_ui: str
) -> None:
    """With those there are."""
    done = call("deploy", *words, PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 1
    assert told in done.stdout + done.stderr
    assert "collect-finished" in done.stdout + done.stderr
