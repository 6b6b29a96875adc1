"""The command line as a person meets it: words, exit codes, and whole commands as processes."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import av
import pytest
from cyclopts import App
from cyclopts.command_spec import CommandSpec

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.app import COMMANDS, app
from prefect_kling.studio.film.assembly import Film
from tests.deployments.conftest import Call

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "first-light.yaml"
COMMAND = str(Path(sys.executable).parent / "prefect-kling")


def run(
    *words: str, cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `prefect-kling` with these words."""
    wide = {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | wide | environment,
    )


@pytest.mark.slow
def test_the_demo_makes_a_film_from_nothing(tmp_path: Path) -> None:
    """No key, no cloud: film, contact sheet and manifest are left, and nothing else runs."""
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "demo-film"
    assert sorted(path.name for path in folder.iterdir()) == [
        "contact-sheet.jpg",
        "film.mp4",
        "manifest.json",
    ]
    film = Film.model_validate_json((folder / "manifest.json").read_bytes())
    with av.open(folder / "film.mp4") as container:
        frames = sum(1 for _ in container.decode(video=0))
    ordered = sum(clip.clip.order.request.duration for clip in film.clips)
    handed_over = sum(len(clip.made_from) for clip in film.clips)
    assert 24 * ordered - 12 * handed_over < frames <= 24 * ordered + len(film.clips)
    assert not any(clip.clip.notes for clip in film.clips), "the demo's clips are what was ordered"
    assert "5 jobs" in done.stdout
    assert f"${film.usd}" in done.stdout
    assert "Error" not in done.stdout + done.stderr


def test_serving_without_a_server_is_refused_in_words(call: Call) -> None:
    """A temporary server would forget every run: somebody has to name a real one."""
    done = call("serve")
    assert done.returncode == 1
    assert "no Prefect server is named; start one with `prefect server start`" in done.stderr


def test_quote_prices_a_storyboard_without_a_key(call: Call) -> None:
    """Shots, keys and prices are shown; nothing is sent."""
    done = call("quote", str(EXAMPLE))
    assert done.returncode == 0, done.stderr
    assert "$1.3022" in done.stdout
    assert "1.2 The lamp" in done.stdout


def test_a_quote_tells_what_the_api_cannot_reach_and_what_a_comment_cuts(
    call: Call, tmp_path: Path
) -> None:
    """Both are known before anything is paid, without a key and without a server."""
    path = tmp_path / "film.yaml"
    path.write_text(
        "title: T\nscenes:\n  - shots:\n      - prompt: Shirt #1 dives\n"
        "        first_frame: http://192.168.1.7/a.png\n"
    )
    done = call("quote", str(path))
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "cannot be made an input is at 192.168.1.7, which the API at https://apimodels" in told
    assert "note line 4: the prompt ends before `#1 dives`" in told


def test_the_schema_is_json() -> None:
    """Editors can read what `schema` prints."""
    assert json.loads(run("schema").stdout)["title"] == "Storyboard"


def test_a_command_is_listed_in_its_own_words() -> None:
    """What is said about a command before it is imported is what its own text says."""
    listed = {name: spec for name, spec in app._commands.items() if isinstance(spec, CommandSpec)}
    assert len(listed) == len(COMMANDS)
    for spec in listed.values():
        module, _, name = spec.import_path.partition(":")
        command = getattr(import_module(module), name)
        own = (
            command.help
            if isinstance(command, App)
            else (inspect.getdoc(command) or "").partition("\n\nArgs:")[0]
        )
        assert spec.help == own


def test_a_command_line_is_no_slower_than_it_must_be() -> None:
    """Help, and what needs neither Prefect nor S3, imports neither: that alone takes seconds."""
    code = (
        "import sys; from prefect_kling.deployments.cli.app import app; "
        "print({'prefect', 'boto3'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "set()\n"
    )


def test_a_bad_storyboard_is_told_in_words(call: Call, tmp_path: Path) -> None:
    """File, line, field and rule, and no traceback."""
    path = tmp_path / "film.yaml"
    path.write_text(EXAMPLE.read_text().replace("duration: 4", "duration: 40", 1))
    for command in ("quote", "film"):
        done = call(command, str(path))
        assert done.returncode == 1
        assert "film.yaml, line 19: scene 1, shot 1, duration: 40 is too much" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_missing_block_is_told_in_words(call: Call, prefect_ui: str) -> None:
    """Which block, and how to create it; nothing was sent."""
    done = call("film", str(EXAMPLE), PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 1
    assert "no KlingCredentials block named 'default'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
async def stored_blocks(
    prefect_ui: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> str:
    """Both blocks, stored under one name."""
    await credentials.asave("cli-test", overwrite=True)
    await archive_block.asave("cli-test", overwrite=True)
    return "cli-test"


def test_a_film_is_made_with_stored_blocks(
    call: Call, prefect_ui: str, stored_blocks: str, tmp_path: Path
) -> None:
    """`film` does what the demo does, against configured blocks."""
    path = tmp_path / "film.yaml"
    path.write_text(
        "title: Short\nscenes:\n  - shots:\n      - {prompt: From the command line, duration: 3}\n"
    )
    names = ("--credentials", stored_blocks, "--archive", stored_blocks)
    done = call("film", str(path), *names, PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 0, done.stderr
    assert "Short: 3.00 s, 1 shot" in done.stdout
    again = call("film", str(path), *names, PREFECT_API_URL=f"{prefect_ui}/api")
    assert "already archived" in again.stdout
    quoted = call(
        "quote", str(path), "--archive", stored_blocks, PREFECT_API_URL=f"{prefect_ui}/api"
    )
    assert "archived" in quoted.stdout
    assert "To be paid: $0" in quoted.stdout


STORY = """\
title: Commanded
variables: {word: one}
defaults: {duration: 3}
scenes:
  - shots: [{prompt: Shared by all}]
  - shots: [{prompt: "Version {{word}}"}]
versions:
  - {name: first, variables: {word: one}}
  - {name: second, variables: {word: two}}
  - {name: third, variables: {word: three}}
"""


@pytest.mark.slow
def test_versions_are_quoted_and_made_by_the_same_commands(
    call: Call, prefect_ui: str, stored_blocks: str, tmp_path: Path
) -> None:
    """All of them, those that are named, or one for each row of a table; shared clips once."""
    path = tmp_path / "story.yaml"
    path.write_text(STORY)
    quoted = call("quote", str(path))
    assert quoted.returncode == 0, quoted.stderr
    assert "To be paid: $0.7596; all 3 versions are worth $0.7596." in quoted.stdout
    assert "the same clip as first: 1.1 " in quoted.stdout

    template, table = tmp_path / "template.yaml", tmp_path / "rows.csv"
    template.write_text(STORY.partition("versions:")[0])
    table.write_text("name,word\nred,a red one\nblue,a blue one\n")
    quoted = call("quote", str(template), "--table", str(table))
    assert "all 2 versions are worth $0.5697" in quoted.stdout
    missing = call("quote", str(path), "--version", "fist")
    assert (missing.returncode, "did you mean 'first'?" in missing.stderr) == (1, True)

    names = ("--credentials", stored_blocks, "--archive", stored_blocks)
    chosen = ("--version", "first", "--version", "third")
    done = call("film", str(path), *chosen, *names, PREFECT_API_URL=f"{prefect_ui}/api")
    assert done.returncode == 0, done.stderr
    assert "Commanded: first: 6.00 s, 2 shots" in done.stdout
    assert "Commanded: third: 6.00 s, 2 shots" in done.stdout
    assert "Commanded: second" not in done.stdout
