"""What is published: what is in it, what is not, and that anybody can build the same bytes."""

import email
import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import prefect_kling
from tests.project.conftest import ROOT, Published, build
from tests.test_architecture import ROOMS, SOURCES, front_door


def in_wheel(published: Published) -> set[str]:
    """The names of all files in the wheel."""
    return set(zipfile.ZipFile(published.wheel).namelist())


def in_sdist(published: Published) -> set[str]:
    """The names of all files in the source distribution, below its folder."""
    with tarfile.open(published.sdist) as archive:
        files = [member.name for member in archive.getmembers() if member.isfile()]
    return {name.partition("/")[2] for name in files}


@pytest.mark.slow
def test_the_wheel_holds_every_source_file_and_nothing_at_the_top(published: Published) -> None:
    """A new folder that was not listed, or a room that leaks to the top level, shows here."""
    wanted = {f"prefect_kling/{path.relative_to(ROOT)}" for path in SOURCES}
    wanted |= {
        f"prefect_kling/{path.relative_to(ROOT)}"
        for kind in ("*.py", "*.yaml", "*.json", "pictures/*.jpg", "videos/*.mp4")
        for path in (ROOT / "examples").glob(kind)
    }
    wanted |= {f"prefect_kling/{room}/py.typed" for room in ROOMS}
    wanted |= {"prefect_kling/__init__.py", "prefect_kling/py.typed"}
    wanted |= {"prefect_kling/deployments/prefect.yaml"}
    about = f"prefect_kling-{prefect_kling.__version__}.dist-info"
    wanted |= {
        f"{about}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")
    }
    wanted |= {f"{about}/licenses/LICENSE"}
    assert in_wheel(published) == wanted


@pytest.mark.slow
def test_the_source_distribution_holds_what_the_wheel_is_built_from(published: Published) -> None:
    """And neither tests, documents, workflows nor what earlier builds left behind."""
    packages = {name for name in in_wheel(published) if ".dist-info/" not in name}
    names = {name.removeprefix("prefect_kling/") for name in packages}
    front = {"__init__.py", "py.typed"}
    wanted = {f"package/{name}" for name in front} | names - front
    wanted |= {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"}
    wanted |= {"pyproject.toml", "setup.cfg"}
    held = {name for name in in_sdist(published) if ".egg-info/" not in name}
    assert held == wanted


@pytest.mark.slow
def test_the_metadata_says_what_an_index_shows(published: Published) -> None:
    """Licence, least Python, long description and extras; no address that we do not have."""
    archive = zipfile.ZipFile(published.wheel)
    about = f"prefect_kling-{prefect_kling.__version__}.dist-info"
    told = email.message_from_bytes(archive.read(f"{about}/METADATA"))
    assert (told["Name"], told["Version"]) == ("prefect-kling", prefect_kling.__version__)
    assert (told["License-Expression"], told["License-File"]) == ("Apache-2.0", "LICENSE")
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_all("Provides-Extra") == ["demo", "timeline"]
    assert told.get_all("Project-URL") is None
    assert "prefect-kling" in str(told.get_payload())


@pytest.mark.slow
def test_the_front_door_is_lazy_and_complete_in_the_wheel(
    published: Published, tmp_path: Path
) -> None:
    """The same for what users install."""
    zipfile.ZipFile(published.wheel).extractall(tmp_path)
    assert front_door(PYTHONPATH=str(tmp_path)) == tmp_path / "prefect_kling" / "__init__.py"


@pytest.mark.slow
def test_whoever_builds_gets_the_same_bytes(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again, at another time of day and place, with leftovers about; and the wheel from a checkout.

    An index would take both files. Another version than the one in `pyproject.toml` is not built.
    """
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    again = build(tmp_path / "again", prefect_kling.__version__)
    for first, second in ((published.wheel, again.wheel), (published.sdist, again.sdist)):
        assert digest(first) == digest(second), first.name
    check = [sys.executable, "-m", "twine", "check", "--strict", str(again.wheel), str(again.sdist)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    with pytest.raises(AssertionError, match=r"is to be version 9\.9"):
        build(tmp_path / "other", "9.9")


def digest(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
