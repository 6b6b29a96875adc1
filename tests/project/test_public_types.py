"""The types of all public names, as two type checkers see them in the installed package."""

import ast
import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import prefect_kling
from tests.project.conftest import Published

USE = Path(__file__).with_name("as_users_write.py")


@pytest.fixture(scope="module")
def python(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel installed, and with our dependencies as they are here."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    zipfile.ZipFile(published.wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def check(python: Path, folder: Path, text: str) -> dict[str, list[str]]:
    """What each checker finds wrong in a user's file, at its strictest."""
    file = folder / "use.py"
    file.write_text(text)
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    own = Path(sys.executable).parent
    commands = {
        "mypy": [own / "mypy", "--strict", "--config-file=", "--python-executable", python, file],
        "pyright": [own / "basedpyright", "--pythonpath", python, "--project", folder],
    }
    found = {}
    for name, command in commands.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        lines = (done.stdout + done.stderr).splitlines()
        found[name] = [line for line in lines if "error" in line and "0 errors" not in line]
        assert done.returncode == bool(found[name]), done.stdout + done.stderr
    return found


def test_every_public_name_is_used_in_the_checked_file() -> None:
    """A new public name gets a line there."""
    names = {node.id for node in ast.walk(ast.parse(USE.read_text())) if isinstance(node, ast.Name)}
    assert {*prefect_kling.__all__} - names == {"__version__"}
    assert "prefect_kling.__version__" in USE.read_text()


@pytest.mark.slow
def test_two_strict_checkers_accept_what_users_write(python: Path, tmp_path: Path) -> None:
    """They know every type, and find each of two mistakes, with what follows from it."""
    text = USE.read_text()
    assert check(python, tmp_path, text) == {"mypy": [], "pyright": []}
    wrong = text.replace("generate_clip(request,", 'generate_clip("Dawn",')
    wrong = wrong.replace("assert_type(clip, Clip)", "assert_type(clip, str)")
    for name, found in check(python, tmp_path, wrong).items():
        places = {line.split(":")[1] for line in found if ":" in line and "note" not in line}
        lines = wrong.splitlines()
        marked = {
            str(n) for n, line in enumerate(lines, 1) if '"Dawn", cr' in line or "clip, str" in line
        }
        assert marked <= places, (name, found)
    shutil.rmtree(tmp_path)
