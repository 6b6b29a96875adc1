"""The reference of the site is complete: whatever the code makes public stands on its page."""

import ast
import functools
import inspect
import re
from collections.abc import Iterator

import cyclopts
import prefect

import prefect_kling
from docs import from_code
from docs.from_code.bucket import read_paths
from docs.from_code.errors import read_errors
from docs.from_code.events import read_events
from prefect_kling import blocks, flows, tasks
from prefect_kling.deployments.catalogue import read_deployments
from prefect_kling.deployments.cli.app import app
from prefect_kling.flows.collect import ALARMS
from prefect_kling.kling.models import BUILT_IN_MODELS
from prefect_kling.studio.film.reading.remote_sources import TABLE_BYTES
from prefect_kling.studio.film.reading.table import MOST_REQUESTS
from prefect_kling.studio.storage import layout
from tests.documents import DOCS
from tests.rooms import sources

SETTING = re.compile(r"(PREFECT|APIMODELS|KLING|AWS|MALLOC|DO_NOT|\w*_PROXY)(_[A-Z0-9]+)*")
EVENT = re.compile(r"kling\.[a-z]+\.[a-z_]+")
NO_SETTINGS = {"KLING_DETAILS"}


def page(name: str) -> str:
    """Return a page of the reference as the site shows it."""
    return from_code.filled((DOCS / "reference" / f"{name}.md").read_text())


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Return each text in the code that is no docstring, with its module."""
    return [
        (module, node.value)
        for module, path in sources().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_each_section_has_its_place_on_a_page() -> None:
    """No more and no fewer than there are."""
    placed = [
        name
        for each in (DOCS / "reference").glob("*.md")
        for name in from_code.MARK.findall(each.read_text())
    ]
    assert sorted(placed) == sorted(from_code.SECTIONS)


def test_each_public_name_is_described() -> None:
    """Of the front door, of blocks, flows and tasks; with all fields and parameters."""
    for name in prefect_kling.__all__:
        assert f"\n## {name}\n" in page("names")
    for room, its_page in ((blocks, "blocks"), (flows, "flows"), (tasks, "tasks")):
        text = page(its_page)
        for name in room.__all__:
            (section,) = re.findall(
                rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
            )
            thing = getattr(room, name)
            if isinstance(thing, prefect.Flow | prefect.Task):
                expected = list(inspect.signature(thing.fn).parameters)
                assert all(f"    {each}: " in section for each in expected), name
            elif hasattr(thing, "model_fields"):
                assert all(f"| `{each}` |" in section for each in thing.model_fields), name


def test_each_parameter_of_a_flow_has_words() -> None:
    """The docstring of a flow speaks of all its parameters, and of no other."""
    for name in flows.__all__:
        function = getattr(flows, name)
        if isinstance(function, prefect.Flow):
            function = function.fn
        said = from_code.prefect_parts.told(function).parameters
        assert list(said) == list(inspect.signature(function).parameters), name


def test_each_deployment_is_described() -> None:
    """With what it is for."""
    text = page("deployments")
    for each in read_deployments():
        assert f"/{each['name']}` | {each['description'].split()[0]}" in text


def test_each_event_in_the_code_is_described_with_its_payload() -> None:
    """Whoever names an event, here or in an automation."""
    text = page("events")
    # Counters have names of the same shape.
    named = {
        value
        for module, value in texts()
        if EVENT.fullmatch(value) and not module.endswith("telemetry.metrics")
    }
    alarms = {
        node.args[0].value
        for path in sources().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "announce_alarm" and isinstance(node.args[0], ast.Constant)
    }
    named |= {f"kling.clip.{kind}" for kind in (*alarms, *ALARMS)}
    described = {name for each in read_events() for name in each.names}
    assert named <= described
    for each in read_events():
        assert each.names, each.text
        for name in (*each.names, *each.payload):
            assert f"`{name}`" in text, name


def test_each_error_is_described_with_its_cure() -> None:
    """All that are public, wherever they stand."""
    text = page("errors")
    errors = read_errors()
    assert len(errors) > 30
    for error in errors:
        assert f"\n### {error.__name__}\n" in text, error
        assert getattr(error, "next_step", "") in text, error
    # Read from the files, so that no module can be overlooked; those of the sandbox are its own.
    written = {
        node.name
        for module, path in sources().items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if not module.startswith("sandbox")
        if {ast.unparse(base) for base in node.bases} & {"Exception", "ValueError", "RuntimeError"}
    }
    assert written <= {error.__name__ for error in errors}


def test_each_command_is_described() -> None:
    """With those inside of others, and all their options."""
    text = page("commands")

    def names(of: cyclopts.App, before: str) -> Iterator[str]:
        for name in of:
            if not name.startswith("-"):
                yield f"{before} {name}"
                yield from names(of[name], f"{before} {name}")

    every = list(names(app, "prefect-kling"))
    assert len(every) > 20
    for name in every:
        assert re.search(rf"^#+ {name}$", text, re.MULTILINE), name
    assert "`--budget-usd" in text


def test_each_environment_variable_in_the_code_is_described() -> None:
    """Ours, and those of other programs that the code names."""
    text = page("settings")
    named = {value for _, value in texts() if SETTING.fullmatch(value) and "_" in value}
    assert {"APIMODELS_API_KEY", "PREFECT_KLING_MODELS"} <= named
    for name in named - NO_SETTINGS:
        assert f"`{name}`" in text, name


def test_each_path_in_the_bucket_is_described() -> None:
    """By the function that names it, and in the drawing of the layout by its first folder."""
    text = page("bucket")
    paths = read_paths()
    assert len(paths) > 20
    drawing = text.partition("```text")[2].partition("```")[0]
    for name, function in paths.items():
        assert f"| `{name}` |" in text
        parameters = inspect.signature(function).parameters
        folder = function(
            **{each: from_code.bucket.SAMPLES.get(each, "x" * 8) for each in parameters}
        )
        assert folder.partition("/")[0] in drawing, name
    for name, value in vars(layout).items():
        if name.isupper() and isinstance(value, str):
            assert value.partition("/")[0] in drawing, name


def test_each_model_is_described_with_its_prices() -> None:
    """All modes and kinds."""
    text = page("models")
    for model in BUILT_IN_MODELS:
        for mode, rates in model.rates.items():
            for kind, rate in rates.items():
                assert f"| `{model.name}` | `{mode}` | `{kind}` | {rate} |" in text


def test_the_bounds_of_a_table_are_those_that_the_page_on_security_names() -> None:
    """In megabytes and in requests."""
    bounds = f"{TABLE_BYTES // 10**6} MB, {MOST_REQUESTS:,} requests"
    assert f"| a table | {bounds} |" in (DOCS / "security.md").read_text()
