"""What may be expected to go wrong is told in a sentence, whatever the output is."""

import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.prompt import Confirm

from prefect_kling.deployments.cli import terminal
from prefect_kling.deployments.cli.app import app
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.quote_table import show_quote
from prefect_kling.deployments.cli.terminal import Column, Refused, confirm, print_list
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.money.standing import Standing
from prefect_kling.telemetry.progress import ShotProgress, Stage
from tests.deployments.conftest import Call

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "first-light.yaml"
COMMAND = str(Path(sys.executable).parent / "prefect-kling")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("quote", "nowhere.yaml"), 1, "nowhere.yaml: no such file or directory"),
        (("film", "nowhere.yaml"), 1, "nowhere.yaml cannot be read: No such file"),
        (("clip", "Gulls", "--duration", "2"), 1, "Error: duration (2 with kling-v3-omni): "),
        (("clip", "Gulls", "--tag", "Acme"), 1, "Error: tags: a tag is written as name=value"),
        (("clip",), 2, "--prompt requires an argument"),
        (("clip", "Gulls", "--no-such-option"), 2, "--no-such-option"),
        (("no-such-command",), 2, "no-such-command"),
        (("watch",), 1, "KlingArchive"),
    ],
)
def test_trouble_is_a_sentence_on_stderr(
    call: Call, words: tuple[str, ...], code: int, told: str
) -> None:
    """With the exit code that the page names, and nothing on stdout."""
    server = "http://127.0.0.1:9/api" if words == ("watch",) else ""
    if server:
        told = "the Prefect server at http://127.0.0.1:9/api cannot be reached"
    done = call(*words, PREFECT_API_URL=server)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["not an address", "ftp://127.0.0.1", "http://"])
def test_a_bad_address_of_the_server_is_a_sentence(call: Call, address: str) -> None:
    """Whatever is wrong with it."""
    done = call("clip", "Gulls", PREFECT_API_URL=address)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 4


def test_a_port_in_use_is_a_sentence_with_the_next_step(call: Call) -> None:
    """Before an S3 server is started beside it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for words in (
            ("sandbox", "--port", str(port)),
            ("sandbox", "--store", "--port", str(port)),
        ):
            done = call(*words)
            assert done.returncode == 1
            assert f"port {port} of 127.0.0.1 is in use" in done.stderr
            assert f"prefect-kling sandbox --port {port + 1}" in done.stderr


def test_output_that_is_not_unicode_takes_every_text() -> None:
    """Arrows and dots become what the encoding has; the command succeeds."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = (
        "from prefect_kling.deployments.cli.terminal import *\n"
        "accept_every_text()\n"
        "say('a … b → c é')\n"
        "print_json({'text': 'é'})\n"
        "print_table([Column('a')], [['→']])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"a ... b -> c ?" in done.stdout
    assert b'"text": "\\u00e9"' in done.stdout


@pytest.mark.parametrize("words", [("schema",), ("--help",)])
def test_a_reader_that_goes_away_is_no_traceback(words: tuple[str, ...]) -> None:
    """As in `prefect-kling schema | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([COMMAND, *words], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


WIDTHS = (40, 80, 200)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_quote_can_be_read_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than the terminal, no key and no price is broken."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(terminal.console, "width", width)
    plan = plan_film(load_storyboard(EXAMPLE))
    standings = dict.fromkeys(plan.by_key, Standing.TO_PAY)
    show_quote(FilmQuote(plan=plan, standings=standings), "")
    told = capsys.readouterr().out
    table = told.partition("To be paid")[0]
    shown_of_key = 32 if width == 200 else 8
    for clip in plan.clips:
        assert clip.clip_key[:shown_of_key] in table
        assert f"${clip.price.usd}" in table

    key = "0123456789abcdef" * 2
    columns = [Column("clip key", is_whole=True), Column("state", is_whole=True), Column("why")]
    print_list(columns, [[key, "submitted", "a note " * 9]], 150)
    assert key in capsys.readouterr().out


def test_progress_without_a_terminal_is_a_line_for_each_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By number and prompt; the same stage again is no change."""
    plan = plan_film(load_storyboard(EXAMPLE))
    first = plan.clips[0]
    table = LiveTable()
    with table.on_screen():
        table.begin(plan)
        for stage in (Stage.SUBMITTING, Stage.RENDERING, Stage.RENDERING, Stage.DONE):
            table.show(ShotProgress(shot=first.name, stage=stage, usd=first.price.usd))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        plan.title,
        *(f"{first.label}: {word}, $0.2532" for word in ("submitting", "rendering", "done")),
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_tables_that_move_fit_a_narrow_terminal(width: int) -> None:
    """Number, prompt, state and price stay; times and addresses are left out."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    plan = plan_film(load_storyboard(EXAMPLE))
    table = LiveTable(console)
    with table.on_screen():
        table.begin(plan)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).splitlines()
    assert max(len(line) for line in lines) <= width
    for clip in plan.clips:
        assert any(f"{clip.scene}.{clip.shots[0].number} " in line for line in lines)
        assert any(f"${clip.price.usd:.4f}" in line for line in lines)


def test_a_question_without_an_answer_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D says no; without a terminal nobody is asked, and the next step is told."""
    with pytest.raises(Refused, match="raise the limit"):
        confirm("Make it?", "raise the limit")

    def closed(*_: object, **__: object) -> bool:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(Confirm, "ask", closed)
    assert confirm("Make it?", "raise the limit") is False


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_every_command(shell: str, call: Call) -> None:
    """The script names each of them."""
    done = call("completion", shell)
    assert done.returncode == 0, done.stderr
    for command in app:
        if not command.startswith("-"):
            assert command in done.stdout
