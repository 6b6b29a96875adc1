"""Where everything is in the bucket, from the functions that name it."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from docs.from_code.markdown import code, own_docstring, table, told
from prefect_kling.studio.storage import layout

SAMPLES: dict[str, Any] = {"number": 1, "first": 1, "at": datetime(2026, 11, 27, 9, 30, tzinfo=UTC)}
"""Arguments that are no text; `{name}` stands for any other."""


def read_paths() -> dict[str, Callable[..., str]]:
    """Return the functions of the layout that return a path, by name."""
    return {
        name: function
        for name, function in vars(layout).items()
        if inspect.isfunction(function)
        and function.__module__ == layout.__name__
        and inspect.signature(function).return_annotation is str
    }


def bucket() -> str:
    """Return the layout as its file draws it, and each path with the function that names it."""
    rows = []
    for name, function in read_paths().items():
        parameters = inspect.signature(function).parameters
        path = function(**{each: SAMPLES.get(each, f"{{{each}}}") for each in parameters})
        rows.append((code(path), told(function).first, code(name)))
    drawing = own_docstring(layout).partition("```text")[2].partition("```")[0]
    return (
        f"```text{drawing}```\n\n## Paths by function\n\n"
        "The functions stand in `prefect_kling.studio.storage.layout`.\n\n"
        + table(("path", "what it is", "function"), rows)
    )
