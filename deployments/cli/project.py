"""`prefect-kling init` and `deploy`: production from the installed package, without a clone."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from prefect_kling.deployments.cli.braces import keep_variables
from prefect_kling.deployments.cli.documents import Deployed, FileOfProject, ProjectBegun
from prefect_kling.deployments.cli.schedules import (
    Described,
    are_on,
    describe,
    keep_schedules,
    name_schedules,
    read_schedules,
    switch_on,
    with_schedules,
)
from prefect_kling.deployments.cli.serve import ServerNotConfigured
from prefect_kling.deployments.cli.terminal import AsJson, Styled, facts, print_json, say

_DOCKERFILE = """\
# An image for Docker, Kubernetes and ECS work pools: the package and nothing else.
FROM python:3.12-slim
RUN pip install --no-cache-dir 'prefect-kling=={version}' \\
    && useradd --create-home --uid 1000 --user-group kling
ENV MALLOC_ARENA_MAX=2
USER 1000:1000
WORKDIR /home/kling
CMD ["prefect-kling", "serve"]
"""
_ENVIRONMENT = """\
# Copy to .env and fill in; keep it out of version control. `set -a; . ./.env; set +a` gives a shell
# all of it, and `prefect-kling setup --yes` makes the blocks from that.
PREFECT_API_URL=http://127.0.0.1:4200/api
APIMODELS_API_KEY=
# For the sandbox: this address, and the key it prints.
# APIMODELS_BASE_URL=http://127.0.0.1:8484/api/v1
KLING_BUCKET=
KLING_PREFIX=kling
AWS_ACCESS_KEY_ID=
AWS_SECRET_ACCESS_KEY=
AWS_REGION=
# For stores that are not Amazon's:
# AWS_ENDPOINT_URL_S3=
# Where the API can reach `prefect-kling receiver`, if you run one:
# KLING_RECEIVER_URL=
# KLING_RECEIVER_SECRET=
"""
_NEW = ".new"


class NotDeployed(RuntimeError):
    """Prefect's own command refused a deployment. Its words are the message."""


def init(*, folder: Path = Path(), pool: str = "kling", as_json: AsJson = False) -> None:
    """Write prefect.yaml, a Dockerfile and .env.example into your project.

    Free, safe to repeat. A file that is there and differs is left as it is, and the
    new one is written beside it with `.new` at its end: take over what you like.

    Args:
        folder: The project's folder.
        pool: Name of the work pool that the deployments belong to.
        as_json: Print JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "prefect.yaml": _for_pool(pool),
        "Dockerfile": _DOCKERFILE.format(version=version("prefect-kling")),
        ".env.example": _ENVIRONMENT,
    }
    written = [_write(folder / name, content) for name, content in contents.items()]
    if as_json:
        print_json(ProjectBegun(pool=pool, files=tuple(written)))
        return
    for file in written:
        say(_line_of(file))
    beside = [file.path for file in written if file.outcome == "beside"]
    say("Next:")
    if beside:
        say(f"  take over what you like of {', '.join(beside)}, and delete what is left")
    if any(file.outcome == "written" for file in written):
        say("  copy .env.example to .env, and fill it in")
        say("  set -a; . ./.env; set +a")
        say("  prefect-kling setup --yes")
    path = shlex.quote(str(folder / "prefect.yaml"))
    say(f"  prefect-kling deploy --file {path}")


def deploy(
    *names: str,
    pool: str | None = None,
    pool_type: str = "process",
    schedule: Sequence[str] = (),
    file: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Deploy to a work pool, which is made if there is none, and switch schedules on.

    Free, safe to repeat. Schedules that are switched on, here or in the UI, stay on; those
    that somebody has added stay, and so do changed times, unless the file is yours.

    Args:
        names: Which deployments; all unless given.
        pool: Name of the work pool; unless given, kling, or what the file says of each deployment.
        pool_type: Its type if it must be made: process, docker, kubernetes, ecs …
        schedule: Deployments whose schedules are switched on, such as collect-finished.
        file: A prefect.yaml of your own, as `init` writes it; that of the package unless given.
        as_json: Print JSON.
    """
    if not PREFECT_API_URL.value():
        raise ServerNotConfigured(
            "no Prefect server is named; start one with `prefect server start`, "
            "and set PREFECT_API_URL"
        )
    described = _read(file)
    if pool is not None:
        _move_to(pool, described)
    chosen = _chosen(described, names)
    name_schedules(described)
    keep_schedules(described, asyncio.run(read_schedules(chosen)), as_edited=file is None)
    _switch_on(described, schedule, chosen)
    keep_variables(described)

    described["deployments"] = [each for each in described["deployments"] if each["name"] in chosen]
    schedules = with_schedules(described)
    pools = _pools(described)
    # Prefect fills in what stands in braces: only it knows the name of such a pool.
    new_pools = [name for name in pools if "{{" not in name and not _has_pool(name)]
    for name in new_pools:
        _run_prefect("work-pool", "create", name, "--type", pool_type)
    with TemporaryDirectory(prefix="prefect-kling-") as disk:
        written = Path(disk) / "prefect.yaml"
        written.write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
        _run_prefect("--no-prompt", "deploy", "--prefect-file", str(written), "--all")
    for name in chosen:
        say("deployed ", Styled(name, "bold"), to=facts(as_json=as_json))
        for each in schedules.get(name, ()):
            say(f"  schedule {describe(each)}", to=facts(as_json=as_json))
    if as_json:
        document = Deployed(
            pools=tuple(pools),
            new_pools=tuple(new_pools),
            deployments=tuple(chosen),
            scheduled=tuple(name for name in chosen if are_on(schedules.get(name, ()))),
        )
        print_json(document)
        return
    for name in pools:
        say(f"Next: `prefect worker start --pool {name}`.")


def _read(file: Path | None) -> Described:
    """Return what a prefect.yaml describes, or that of the package.

    Raises `NotDeployed` for a file without deployments that have names.
    """
    text = _read_package_file()
    if file is not None:
        text = file.read_text(encoding="utf-8")
    try:
        described: Described | None = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise NotDeployed(f"{file} is no YAML: {error}") from None
    if not isinstance(described, dict) or not isinstance(described.get("deployments"), list):
        raise NotDeployed(f"{file} has no list of `deployments`")
    if not all(isinstance(each, dict) and each.get("name") for each in described["deployments"]):
        raise NotDeployed(f"{file} has a deployment without a name")
    return described


def _read_package_file() -> str:
    return (files("prefect_kling.deployments") / "prefect.yaml").read_text(encoding="utf-8")


def _for_pool(pool: str) -> str:
    """Return the package's prefect.yaml for a work pool of this name."""
    text = _read_package_file()
    return text.replace("name: kling\n    work_queue_name", f"name: {pool}\n    work_queue_name")


def _write(path: Path, content: str) -> FileOfProject:
    if not path.exists():
        path.write_text(content, encoding="utf-8")
        return FileOfProject(path=str(path), outcome="written")
    if path.read_text(encoding="utf-8") == content:
        return FileOfProject(path=str(path), outcome="unchanged")
    beside = path.with_name(path.name + _NEW)
    beside.write_text(content, encoding="utf-8")
    return FileOfProject(path=str(beside), outcome="beside")


def _line_of(file: FileOfProject) -> str:
    if file.outcome == "unchanged":
        return f"  {file.path}  (unchanged)"
    if file.outcome == "beside":
        yours = Path(file.path).name.removesuffix(_NEW)
        return f"  {file.path}  ({yours} is yours and was left as it is)"
    return f"  {file.path}"


def _move_to(pool: str, described: Described) -> None:
    for deployment in described["deployments"]:
        deployment["work_pool"] = {**(deployment.get("work_pool") or {}), "name": pool}


def _pools(described: Described) -> list[str]:
    """Return the work pools of the deployments, each once.

    Raises `NotDeployed` for a deployment without one: a worker of which pool should run it?
    """
    pools: dict[str, None] = {}
    for deployment in described["deployments"]:
        pool = (deployment.get("work_pool") or {}).get("name")
        if not pool:
            raise NotDeployed(
                f"{deployment['name']} names no work pool; "
                "add `work_pool: {name: …}` to the file, or say --pool"
            )
        pools[pool] = None
    return list(pools)


def _has_pool(name: str) -> bool:
    async def look() -> bool:
        async with get_client() as client:
            try:
                await client.read_work_pool(name)
            except ObjectNotFound:
                return False
            return True

    return asyncio.run(look())


def _switch_on(described: Described, names: Sequence[str], chosen: Sequence[str]) -> None:
    known = with_schedules(described)
    for name in names:
        if name not in known:
            listed = ", ".join(known)
            raise NotDeployed(f"there is no schedule of {name}; there are those of {listed}")
        if name not in chosen:
            raise NotDeployed(f"{name} is not among what is to be deployed; name it as well")
        switch_on(known[name])


def _chosen(described: Described, names: Sequence[str]) -> list[str]:
    known = [each["name"] for each in described["deployments"]]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotDeployed(f"there is no deployment {unknown[0]}; there are {', '.join(known)}")
    return list(dict.fromkeys(names)) or known


def _run_prefect(*words: str) -> None:
    command = [sys.executable, "-m", "prefect", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotDeployed((done.stdout + done.stderr).strip()[-2000:])
