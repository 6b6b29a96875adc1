"""Errors: what each means, and its cure."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import prefect_kling
from docs.from_code.markdown import code, own_docstring, told
from prefect_kling.kling import errors as api_errors
from prefect_kling.kling.error_details import DetailedError
from prefect_kling.studio import errors as studio_errors

ROOT = Path(__file__).parents[2]
ROOMS = ("kling", "studio", "blocks", "telemetry", "runs", "tasks", "flows", "deployments")


def read_errors() -> list[type[Exception]]:
    """Return all public exceptions of the package, parents before children, each room in order."""
    found: dict[type[Exception], None] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join((prefect_kling.__name__, *parts)).removesuffix(".__init__")
            for value in vars(importlib.import_module(name)).values():
                if _is_own_error(value, name):
                    found[value] = None
    return list(found)


def _is_own_error(value: object, module: str) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ == module
        and not value.__name__.startswith("_")
    )


def errors() -> str:
    """Return the trees as their modules draw them; then for each error what to do."""
    text = "".join(f"```text{_tree(module)}```\n\n" for module in (api_errors, studio_errors))
    module = ""
    for error in read_errors():
        if error.__module__ != module:
            module = error.__module__
            text += f"\n## {module.removeprefix('prefect_kling.')}\n"
        text += f"\n### {error.__name__}\n\n{told(error).text}\n\n{_cure(error)}"
    return text


def _tree(module: ModuleType) -> str:
    return own_docstring(module).partition("```text")[2].partition("```")[0]


def _cure(error: type[Exception]) -> str:
    facts = f"Import it from `{error.__module__}`; a kind of {_parent(error)}.\n"
    if issubclass(error, DetailedError) and error.next_step:
        return f"**What to do:** {error.next_step}\n\n{facts}"
    return facts


def _parent(error: type[Exception]) -> str:
    parents = [each for each in error.__mro__[1:] if not each.__name__.startswith("_")]
    return code(parents[0].__name__)
