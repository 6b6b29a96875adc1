"""The shape of the project: rooms, and what the wheel holds."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "kling",
    "sandbox",
    "studio",
    "blocks",
    "telemetry",
    "runs",
    "tasks",
    "flows",
    "deployments",
)
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_every_room_says_that_it_is_typed() -> None:
    """Each room carries its own py.typed, and so does the front door."""
    assert [room for room in ROOMS if not (ROOT / room / "py.typed").exists()] == []


def test_the_wheel_holds_every_source_file_and_nothing_at_the_top(tmp_path: Path) -> None:
    """A new folder that was not listed, or a room that leaks to the top level, shows here."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    wanted = {f"prefect_kling/{path.relative_to(ROOT)}" for path in SOURCES}
    wanted |= {
        f"prefect_kling/{path.relative_to(ROOT)}" for path in (ROOT / "examples").glob("*.yaml")
    }
    wanted |= {f"prefect_kling/{room}/py.typed" for room in ROOMS}
    assert wanted - held == set()
    assert {name.split("/")[0].split("-")[0] for name in held} == {"prefect_kling"}


def test_the_image_is_built_from_what_the_package_is_built_from() -> None:
    """Docker is sent every folder and file that `pyproject.toml` names, and nothing else of the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = set(project["tool"]["setuptools"]["package-dir"].values())
    wanted |= {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == wanted


@pytest.mark.parametrize("room", ROOMS)
def test_bare_imports_of_a_room_are_banned(room: str) -> None:
    """`import tasks` would make a second copy of every class; ruff refuses it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert room in settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    code = f"import {room}\n\n__all__ = ['{room}']\n"
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "example.py",
        "-",
    ]
    done = subprocess.run(
        command, input=code, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "TID251" in done.stdout


def test_no_file_names_a_package_index() -> None:
    """Neither lock files nor documents hold the host name of a package index."""
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    index_hosts = (
        "pypi" + ".org",
        "files.python" + "hosted.org",
        "registry.npm" + "js.org",
        "deb.debian" + ".org",
    )
    named = [
        name
        for name in tracked
        if (ROOT / name).suffix not in (".png", ".jpg", ".mp4")
        and any(h in (ROOT / name).read_text() for h in index_hosts)
    ]
    assert named == []
