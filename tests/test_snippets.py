"""Every block of code in the documents is run, or read by the program that it is for."""

import ast
import asyncio
import configparser
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli._app import _app as prefect_app

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.app import app
from prefect_kling.deployments.cli.schedules import describe
from prefect_kling.kling.models import read_models
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.table import read_rows
from tests.by_hand.pictures import OF_THE_UI
from tests.documents import DOCS, ROOT, Snippet, pages, snippets

LANGUAGES = {
    "sh",
    "console",
    "python",
    "yaml",
    "json",
    "csv",
    "ini",
    "nginx",
    "caddy",
    "text",  # what a reader sees; that of the tutorial is compared
    "mermaid",  # drawn by tests/rooms.py
    "{toctree}",  # read by `make docs`
}
# They run in tests of their own, with what is around them there.
RUN_ELSEWHERE = ("README.md", "docs/how-to/test-your-flows.md")
PROGRAMS = {"prefect-kling": app, "prefect": prefect_app}
# Of Prefect's charts for servers and workers: what the values on the page may be named.
WORKER_CHART = {"apiConfig", "config", "serverApiConfig", "resources"}
WORKER_CONFIG = {"workPool", "type"}


def every(*languages: str) -> list[Snippet]:
    """Return the blocks of code of all documents in some languages."""
    return [each for page in pages() for each in snippets(page, *languages)]


def test_each_block_of_code_is_in_a_language_that_is_tried() -> None:
    """Here, or where `LANGUAGES` says."""
    assert {each.language for each in every()} <= LANGUAGES


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of our two programs in a shell script, as words."""
    joined = text.replace("\\\n", " ")
    without_here = re.sub(r"<<'END'\n.*?^END$", "", joined, flags=re.DOTALL | re.MULTILINE)
    for line in without_here.splitlines():
        found = re.match(r"\s*(?:\$ )?(?:\w+=\$\()?((?:prefect-kling|prefect) .*)", line)
        if found is None:
            continue
        alone = re.split(r"\s(?:\d?>|\||&)|\)$", found[1])[0]
        yield shlex.split(alone, comments=True)


def test_each_command_exists_with_its_options() -> None:
    """Of ours and of Prefect's, in shell scripts: read by the command line, and not run."""
    tried = set()
    for snippet in every("sh", "console"):
        for program, *words in commands(snippet.text):
            # The program itself takes these before the name of the command.
            rest = [word for word in words if word not in ("--no-prompt", "--help")]
            if rest:
                PROGRAMS[program].parse_args(rest, print_error=False, exit_on_error=False)
            tried.add((program, *words[:1]))
    assert len(tried) > 20


@pytest.mark.parametrize("snippet", every("sh"), ids=str)
def test_each_shell_script_can_be_read(snippet: Snippet) -> None:
    """By bash, without running it."""
    done = subprocess.run(
        ["bash", "-n"], input=snippet.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# Prefect's notification blocks import it with a library of theirs.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("default_blocks")
def test_the_python_in_the_documents_runs() -> None:
    """Piece by piece, each alone; the blocks that it loads are there."""
    for snippet in every("python"):
        if snippet.page not in RUN_ELSEWHERE:
            code = snippet.text.replace("BLOCK_NAME", "default")
            exec(compile(code, str(snippet), "exec"), {"__name__": "document"})


@pytest.mark.usefixtures("default_blocks")
@pytest.mark.parametrize("thing", [KlingArchive, KlingCredentials])
def test_the_examples_in_docstrings_run(thing: type) -> None:
    """Those that the reference shows: what is asynchronous in them runs in a loop of its own."""
    (example,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(thing) or "", re.DOTALL)
    body = ast.parse(inspect.cleandoc(example.replace("BLOCK_NAME", "default"))).body
    first = [node for node in body if not isinstance(node, ast.AsyncWith)]
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(ast.Module(first, []), thing.__name__, "exec"), namespace)
    rest = ast.Module([node for node in body if isinstance(node, ast.AsyncWith)], [])
    code = compile(rest, thing.__name__, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if rest.body:
        asyncio.run(eval(code, namespace))


@pytest.mark.slow
def test_the_tests_in_the_guide_pass(tmp_path: Path) -> None:
    """In a project of their own, as the guide has them."""
    conftest, tests = snippets(DOCS / "how-to" / "test-your-flows.md", "python")
    # A busy machine may need longer than the guide says.
    patient = conftest.text.replace("timeout=120", "timeout=600")
    (tmp_path / "conftest.py").write_text(patient)
    (tmp_path / "test_teaser.py").write_text(tests.text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_each_yaml_is_what_its_page_says(tmp_path: Path) -> None:
    """Storyboards, a file of models, a compose file, values of a chart, objects of a cluster."""
    for snippet in every("yaml"):
        for document in yaml.safe_load_all(snippet.text):
            if "scenes" in document:
                read_storyboard(snippet.text)
            elif "models" in document:
                file = tmp_path / "models.yaml"
                file.write_text(snippet.text)
                assert [model.name for model in read_models(file)] == [
                    "kling-v4",
                    "kling-v3-omni",
                ]
            elif "schedules" in document:
                told = [describe(schedule) for schedule in document["schedules"]]
                assert told == ["weekly: 0 7 * * 1, Europe/Berlin, off"]
            elif "services" in document:
                _check_compose(document)
            elif "worker" in document:
                assert set(document["worker"]) <= WORKER_CHART
                assert set(document["worker"]["config"]) <= WORKER_CONFIG
            elif "kind" in document:
                _check_object(document)
            else:
                assert set(document["spec"]) == {"backoffLimit", "template"}, str(snippet)


def _check_compose(document: dict[str, Any]) -> None:
    services = document["services"]
    for name, service in services.items():
        assert set(service) <= {
            "image",
            "command",
            "environment",
            "ports",
            "volumes",
            "healthcheck",
            "depends_on",
            "restart",
        }, name
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source.startswith("/") or source in document["volumes"]
    url = services["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    database = services["database"]["environment"]
    login = f"{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}"
    assert url == f"postgresql+asyncpg://{login}@database:5432/{database['POSTGRES_DB']}"


def _check_object(document: dict[str, Any]) -> None:
    assert {"apiVersion", "kind", "metadata"} <= set(document)
    if document["kind"] == "Deployment":
        template = document["spec"]["template"]
        assert document["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        (container,) = template["spec"]["containers"]
        app.parse_args(container["command"][1:], print_error=False, exit_on_error=False)
        (port,) = container["ports"]
        assert container["readinessProbe"]["httpGet"]["port"] == port["containerPort"]


def test_each_table_and_json_in_the_documents_can_be_read() -> None:
    """Tables with the program's own reader."""
    for snippet in every("csv"):
        assert len(list(read_rows(snippet.text))) == 2, str(snippet)
    for snippet in every("json"):
        json.loads(snippet.text)


def test_the_systemd_unit_starts_the_receiver() -> None:
    """Its command has the options that it names."""
    (snippet,) = every("ini")
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(snippet.text)
    program, *words = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "prefect-kling"
    app.parse_args(words, print_error=False, exit_on_error=False)


def test_the_proxies_pass_the_path_on(tmp_path: Path) -> None:
    """Both programs themselves read the files where they are installed; the rest holds always."""
    (nginx,) = every("nginx")
    (caddy,) = every("caddy")
    passed = re.findall(r"proxy_pass (\S+);", nginx.text)
    assert set(passed) == {"http://127.0.0.1:8765"}
    assert nginx.text.count("{") == nginx.text.count("}")
    assert "reverse_proxy @receiver 127.0.0.1:8765" in caddy.text
    if shutil.which("nginx"):
        _run_nginx(nginx.text, tmp_path)
    if shutil.which("caddy"):
        file = tmp_path / "Caddyfile"
        file.write_text(caddy.text)
        done = subprocess.run(
            ["caddy", "validate", "--adapter", "caddyfile", "--config", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _run_nginx(text: str, folder: Path) -> None:
    # The certificate of the page is not on this machine.
    for line in re.findall(r"ssl_certificate\w* .*;\n", text):
        text = text.replace(line, "\n")
    file = folder / "nginx.conf"
    file.write_text(
        f"pid {folder}/pid; error_log {folder}/errors; events {{}}\n"
        f"http {{ access_log off; {text.replace('443 ssl', '8443')} }}\n"
    )
    done = subprocess.run(["nginx", "-t", "-c", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_picture_of_the_documents_is_made_by_a_script() -> None:
    """`python -m tests.by_hand.pictures` knows them all, and no other."""
    kept = {file.stem for file in DOCS.iterdir() if file.suffix in (".png", ".jpg")}
    assert kept == {"logo", "demo", *OF_THE_UI}


def test_each_link_of_the_documents_leads_somewhere() -> None:
    """On a code host: files, pictures and folders that the documents point at are there."""
    for page in pages():
        links = [
            link
            for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
            if not link.startswith(("http", "#"))
        ]
        assert [
            link for link in links if not (page.parent / link.partition("#")[0]).exists()
        ] == [], page.relative_to(ROOT)
