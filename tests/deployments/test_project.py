"""Production from the installed package: files for one's own project; one command to deploy."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

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


@pytest.mark.slow
def test_deploy_makes_pool_and_deployments_and_keeps_schedules_on(
    call: Call, prefect_ui: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule that is on stays on when it is deployed again without a word about it."""
    monkeypatch.chdir(tmp_path)
    words = ("deploy", "collect-finished", "--pool", "own")
    server = f"{prefect_ui}/api"
    first = call(*words, "--schedule", "collect-finished", PREFECT_API_URL=server)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "schedule hourly: 7 * * * *, UTC, on" in first.stdout
    (schedule,) = asyncio.run(schedules("collect-finished/collect-finished"))
    assert schedule.active
    assert asyncio.run(pool_type("own")) == "process"

    second = call(*words, "--json", PREFECT_API_URL=server)
    assert second.returncode == 0, second.stdout + second.stderr
    told = json.loads(second.stdout)
    assert is_documented(told, "Deployed")
    assert told == {
        "pools": ["own"],
        "new_pools": [],
        "deployments": ["collect-finished"],
        "scheduled": ["collect-finished"],
    }
    (schedule,) = asyncio.run(schedules("collect-finished/collect-finished"))
    assert schedule.active
    asyncio.run(forget_deployments())


@pytest.mark.slow
def test_what_people_did_to_schedules_stays(call: Call, prefect_ui: str, tmp_path: Path) -> None:
    """One that was added stays, and of the package's file edited times; of one's own file not."""
    server = f"{prefect_ui}/api"
    words = ("deploy", "film", "--json")
    deployment = "produce-film/film"

    def times() -> set[tuple[str, bool]]:
        found = asyncio.run(schedules(deployment))
        return {(getattr(each.schedule, "cron", "hourly"), each.active) for each in found}

    assert call(*words, PREFECT_API_URL=server).returncode == 0
    assert times() == {("0 6 * * 1", False)}
    asyncio.run(edit_and_add(deployment))
    assert call(*words, PREFECT_API_URL=server).returncode == 0
    assert times() == {("0 9 * * 5", True), ("hourly", True)}
    added = [each for each in asyncio.run(schedules(deployment)) if each.slug is None]
    assert [each.parameters for each in added] == [{"picks": "first"}]
    asyncio.run(add(deployment, IN_BERLIN, {"storyboard": "boards/a.yaml"}))
    off = {"storyboard": "boards/b.yaml"}
    asyncio.run(add(deployment, IN_BERLIN, off, active=False))
    assert call(*words, "--schedule", "film", PREFECT_API_URL=server).returncode == 0
    found = asyncio.run(schedules(deployment))
    assert len(found) == 4
    assert [each.parameters for each in found if not each.active] == [off]
    asyncio.run(remove_slugless(deployment, "cron"))

    assert call("init", "--folder", str(tmp_path)).returncode == 0
    mine = ("--file", str(tmp_path / "prefect.yaml"))
    for _ in range(2):
        assert call(*words, *mine, PREFECT_API_URL=server).returncode == 0
        assert times() == {("0 6 * * 1", True), ("hourly", True)}
    asyncio.run(forget_deployments())


async def edit_and_add(deployment: str) -> None:
    """Change the schedule of a deployment and add another, as the Prefect UI does."""
    async with get_client() as api:
        found = await api.read_deployment_by_name(deployment)
        (weekly,) = found.schedules
        await api.update_deployment_schedule(
            found.id, weekly.id, active=True, schedule=CronSchedule(cron="0 9 * * 5")
        )
    hourly = {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}
    await add(deployment, hourly, {"picks": "first"})


async def add(
    deployment: str,
    schedule: dict[str, object],
    parameters: dict[str, object],
    *,
    active: bool = True,
) -> None:
    """Add a schedule, as the Prefect UI does."""
    body = {"schedule": schedule, "active": active, "parameters": parameters}
    async with get_client() as api:
        found = await api.read_deployment_by_name(deployment)
        await api._client.post(f"/deployments/{found.id}/schedules", json=[body])


async def remove_slugless(deployment: str, kind: str) -> None:
    """Delete the schedules of a kind that somebody has added."""
    async with get_client() as api:
        found = await api.read_deployment_by_name(deployment)
        for each in found.schedules:
            if each.slug is None and hasattr(each.schedule, kind):
                await api.delete_deployment_schedule(found.id, each.id)


@pytest.mark.slow
def test_a_schedule_without_a_slug_in_a_file_of_ones_own_stays_on(
    call: Call, prefect_ui: str, tmp_path: Path
) -> None:
    """Prefect's own deploy has given it none either; where it was on, it is."""
    path = tmp_path / "prefect.yaml"
    path.write_text(WITH_VARIABLES)
    server = f"{prefect_ui}/api"
    assert call("deploy", "--file", str(path), PREFECT_API_URL=server).returncode == 0
    asyncio.run(make_slugless("produce-film/film"))
    assert call("deploy", "--file", str(path), PREFECT_API_URL=server).returncode == 0
    (schedule,) = asyncio.run(schedules("produce-film/film"))
    assert (schedule.slug, schedule.active) == ("schedule-1", True)
    asyncio.run(forget_deployments())


async def make_slugless(deployment: str) -> None:
    """Put a schedule that is on and has no slug in the place of a deployment's own."""
    async with get_client() as api:
        found = await api.read_deployment_by_name(deployment)
        (own,) = found.schedules
        await api.delete_deployment_schedule(found.id, own.id)
    await add(deployment, own.schedule.model_dump(mode="json"), own.parameters)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no list of `deployments`"),
        ("deployments: {film: x}", "no list of `deployments`"),
        ("deployments: [{entrypoint: x}]", "a deployment without a name"),
        ("deployments: [", "is no YAML"),
    ],
)
def test_a_file_that_describes_nothing_is_refused_in_words(
    text: str, told: str, call: Call, prefect_ui: str, tmp_path: Path
) -> None:
    """Nothing is deployed."""
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    done = call("deploy", "--file", str(path), PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 1
    assert told in done.stderr


WITH_VARIABLES = """\
pull: []
deployments:
  - name: film
    entrypoint: prefect_kling.flows.film.produce_film
    work_pool: {name: of-variables}
    parameters:
      storyboard: "title: {{HOME}} {{ product }} {{ $KLING_TITLE }}"
      spending: {tags: ["client={{client}}"]}
    schedules:
      - {cron: "0 6 * * 1", active: false, parameters: {storyboard: "{{product}}"}}
"""


@pytest.mark.slow
def test_variables_of_storyboards_are_deployed_as_they_stand(
    call: Call, prefect_ui: str, tmp_path: Path
) -> None:
    """In parameters and in those of schedules; what Prefect is to fill in, it fills in."""
    path = tmp_path / "prefect.yaml"
    path.write_text(WITH_VARIABLES)
    server = {"PREFECT_API_URL": f"{prefect_ui}/api", "KLING_TITLE": "Mugs"}
    done = call("deploy", "--file", str(path), **server)
    assert done.returncode == 0, done.stdout + done.stderr
    film = asyncio.run(deployment_of("produce-film/film"))
    assert film.parameters == {
        "storyboard": "title: {{HOME}} {{ product }} Mugs",
        "spending": {"tags": ["client={{client}}"]},
    }
    (schedule,) = film.schedules
    assert schedule.parameters == {"storyboard": "{{product}}"}

    assert call("deploy", "film-versions", **server).returncode == 0
    versions = asyncio.run(deployment_of("produce-versions/film-versions"))
    assert "{{product}} on a wooden table" in versions.parameters["storyboard"]
    asyncio.run(forget_deployments())


async def deployment_of(name: str) -> DeploymentResponse:
    """A deployment as the server has it."""
    async with get_client() as api:
        return await api.read_deployment_by_name(name)


IN_BERLIN: dict[str, object] = {"cron": "0 6 * * 1", "timezone": "Europe/Berlin"}
OWN_FILE = """\
pull: []
deployments:
  - name: weekly-report
    entrypoint: prefect_kling.flows.report.report_spending
    work_pool: {name: pool-of-the-file}
  - name: nowhere
    entrypoint: prefect_kling.flows.report.report_spending
"""


@pytest.mark.slow
def test_a_file_of_ones_own_says_the_pool_unless_the_command_does(
    call: Call, prefect_ui: str, tmp_path: Path
) -> None:
    """Both pools are made; a deployment that names none is refused before anything is made."""
    path = tmp_path / "prefect.yaml"
    path.write_text(OWN_FILE)
    words = ("deploy", "--file", str(path), "--json")
    server = f"{prefect_ui}/api"
    refused = call(*words, PREFECT_API_URL=server)
    assert refused.returncode == 1
    assert "nowhere names no work pool" in refused.stderr
    assert asyncio.run(pools_like("pool-of-the-file")) == []

    by_file = json.loads(call(*words, "weekly-report", PREFECT_API_URL=server).stdout)
    assert by_file["pools"] == by_file["new_pools"] == ["pool-of-the-file"]
    by_word = json.loads(call(*words, "--pool", "pool-of-the-word", PREFECT_API_URL=server).stdout)
    assert by_word["deployments"] == ["weekly-report", "nowhere"]
    assert by_word["pools"] == by_word["new_pools"] == ["pool-of-the-word"]
    assert asyncio.run(pools_like("pool-of-")) == ["pool-of-the-file", "pool-of-the-word"]
    asyncio.run(forget_deployments())


async def pools_like(beginning: str) -> list[str]:
    """The names of the work pools that begin so."""
    async with get_client() as api:
        pools = await api.read_work_pools()
    return sorted(pool.name for pool in pools if pool.name.startswith(beginning))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no-such"], "there is no deployment no-such"),
        (["--schedule", "film-x"], "no schedule of"),
        (["film", "--schedule", "collect-finished"], "collect-finished is not among"),
    ],
)
def test_a_name_that_is_none_is_told_before_anything_is_deployed(
    words: list[str], told: str, call: Call, prefect_ui: str
) -> None:
    """With those there are."""
    done = call("deploy", *words, "--pool", "untouched", PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 1
    assert told in done.stdout + done.stderr
    assert asyncio.run(pools_like("untouched")) == []
