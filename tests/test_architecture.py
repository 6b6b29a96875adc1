"""The shape of the project: rooms, and the front door."""

import ast
import functools
import graphlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import prefect_kling
from tests import rooms

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


FRONT_DOOR = """
import sys
import prefect_kling

loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"prefect", "boto3", "botocore", "pydantic", "httpx"}, loaded
assert prefect_kling.__version__
from prefect_kling import VideoRequest, quote
assert "prefect" not in sys.modules, "what a request costs is known without Prefect"
for name in prefect_kling.__all__:
    getattr(prefect_kling, name)
print(prefect_kling.__file__)
"""


def front_door(**surroundings: str) -> Path:
    """Import every public name in a new process, started at the top; where it was imported from."""
    done = subprocess.run(
        [sys.executable, "-c", FRONT_DOOR],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_front_door_is_lazy_and_complete_as_it_is_installed() -> None:
    """Importing the package imports neither Prefect nor boto3; every name of `__all__` is there."""
    assert front_door() == Path(prefect_kling.__file__)


def test_no_folder_at_the_top_hides_the_installed_package() -> None:
    """Python puts the folder it is started in first: a `prefect_kling` here would be imported."""
    assert not (ROOT / "prefect_kling").exists()


def test_the_names_of_the_front_door_are_those_it_can_import() -> None:
    """`__all__`, `dir()` and the table of where the names live agree; an unknown name is told."""
    names = [*prefect_kling._HOMES, "__version__"]
    assert sorted(names) == sorted(prefect_kling.__all__) == dir(prefect_kling)
    with pytest.raises(AttributeError, match="no attribute 'KlingArchiv'"):
        _ = prefect_kling.KlingArchiv  # type: ignore[attr-defined]


def test_the_image_is_built_from_what_the_package_is_built_from() -> None:
    """Docker is sent what `pyproject.toml` names, and nothing else of the repository."""
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


def test_the_picture_of_the_rooms_is_current() -> None:
    """If this fails: `python -m tests.rooms`."""
    text = rooms.DOCUMENT.read_text()
    assert rooms.drawn(text) == text


def test_no_two_files_import_each_other() -> None:
    """There is no circle of imports, however long."""
    graph: dict[str, set[str]] = {}
    for module, imported in rooms.imports():
        graph.setdefault(module, set()).add(imported)
    graphlib.TopologicalSorter(graph).prepare()


@functools.cache
def calls_of(path: Path) -> set[str]:
    """The names of everything that a file calls or imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("name", "only_in"),
    [
        ("console.print", "deployments/cli/terminal.py"),
        ("rich.markup.escape", ""),
        ("rich.table.Table", "deployments/cli/terminal.py deployments/cli/live_table.py"),
        ("acreate_markdown_artifact", "telemetry/markdown.py"),
        ("client.update_artifact", "telemetry/markdown.py"),
        ("get_run_logger", "telemetry/logs.py"),
    ],
)
def test_texts_of_others_are_shown_in_one_place_for_each_kind_of_output(
    name: str, only_in: str
) -> None:
    """Terminal, Markdown and logs: there each text is escaped, so no caller can forget it."""
    users = {str(path.relative_to(ROOT)) for path in SOURCES if name in calls_of(path)}
    assert users <= set(only_in.split())
