"""The tutorial's commands are run in their order, and what it says one sees is seen."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from prefect_kling.deployments.local.processes import free_ports
from tests.documents import DOCS, snippets

pytestmark = pytest.mark.slow

MARK = "=== step"
PATIENCE_SECONDS = 580.0


def steps() -> list[tuple[str, list[str]]]:
    """Return each script with the lines that are shown after it, the installation first."""
    found: list[tuple[str, list[str]]] = []
    for snippet in snippets(DOCS / "tutorial.md"):
        if snippet.language == "sh":
            found.append((snippet.text, []))
        else:
            assert snippet.language == "text"
            found[-1][1].extend(snippet.text.splitlines())
    return found


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    """From the stand-ins to an adopted clip; only the ports are others, and all is installed."""
    (installation, _), *rest = steps()
    assert "pip install" in installation
    script = "\n".join(f"echo '{MARK}'\n{text}" for text, _ in rest)
    api, server, listener = map(str, free_ports(3))
    script = script.replace("prefect-kling sandbox", f"prefect-kling sandbox --port {api}")
    for shown, used in (("8484", api), ("4200", server), ("8900", listener)):
        script = script.replace(shown, used)
    output = _run(f"set -e -o pipefail\ntrap 'kill $(jobs -p)' EXIT\n{script}", tmp_path, server)

    _, *told = output.split(f"{MARK}\n")
    assert len(told) == len(rest)
    for (text, expected), seen in zip(rest, told, strict=True):
        lines = iter(seen.splitlines())
        for line in expected:
            wanted = line.replace("8484", api)
            pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
            assert any(pattern.search(each) for each in lines), f"{text}\n{line}\n\n{seen}"


def _run(script: str, folder: Path, port: str) -> str:
    """Run a script with a Prefect of its own; return everything that it said."""
    programs = Path(sys.executable).parent
    surroundings = dict(os.environ) | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_API_PORT": port,
        "COLUMNS": "120",
    }
    surroundings.pop("PREFECT_API_URL", None)
    log = folder / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=surroundings,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        process.wait(PATIENCE_SECONDS)
    finally:
        # Also what the script has started and left behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        print(log.read_text()[-4000:])
    assert process.returncode == 0
    return log.read_text()
