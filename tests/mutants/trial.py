"""The processes of a mutation run: one that finds which test reaches which line, and mutants."""

import functools
import importlib
import inspect
import json
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutants.mutations import Mutant

TESTS = [
    f"tests/studio/money/{name}"
    for name in (
        "model",
        "test_budget.py",
        "test_decisions.py",
        "test_earlier_jobs.py",
        "test_ledger.py",
        "test_reconcile.py",
        "test_reservations.py",
        "test_settlement.py",
        "test_submission.py",
    )
]
"""Tests of the money path that need no process of their own; the kill tests come on top of them."""
PYTEST = ["-q", "-o", "addopts=", "--import-mode=importlib", "-p", "no:xdist", "-m", "not slow"]
PYTEST += ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
Reached = dict[str, dict[int, list[str]]]
"""The tests that reach a line, the quickest first, by file and line."""


def find_tests(paths: list[Path], folder: Path) -> Reached:
    """Run all tests once. Raises `RuntimeError` if one fails without any mutant."""
    found = folder / "reached.json"
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_watch, args=(paths, found))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("a test fails as things stand: mutants would prove nothing")
    read = json.loads(found.read_text())
    return {
        path: {int(line): tests for line, tests in lines.items()} for path, lines in read.items()
    }


def tests_of(mutant: Mutant, reached: Reached) -> list[str]:
    """Return the tests that reach the line of a mutant, or the last line that is noted before it.

    Not every line of a long statement is noted.
    """
    lines = reached[str(mutant.path)]
    return lines[max(line for line in lines if line <= mutant.line)]


def run_mutant(mutant: Mutant, tests: list[str]) -> None:
    """Be the mutant, and end with what pytest says."""
    _be_silent()
    _exchange(mutant)
    # The tests of a line may be hundreds; most mutants die by the first.
    for some in (tests[:3], tests[3:]):
        if some and (code := pytest.main([*PYTEST, "-x", *some])):
            os._exit(int(code))
    os._exit(0)


def _watch(paths: list[Path], found: Path) -> None:
    watching = coverage.Coverage(
        data_file=str(found.with_suffix(".coverage")),
        config_file=False,
        include=[str(path) for path in paths],
    )
    plugin = _Stopwatch(watching)
    watching.start()
    code = pytest.main([*PYTEST, *TESTS], plugins=[plugin])
    watching.stop()
    data = watching.get_data()
    reached = {}
    for path in paths:
        lines = data.contexts_by_lineno(str(path))
        reached[str(path)] = {
            line: sorted(filter(None, tests), key=plugin.seconds.__getitem__)
            for line, tests in lines.items()
        }
    found.write_text(json.dumps(reached))
    sys.stdout.flush()
    os._exit(int(code))


class _Stopwatch:
    """Says to coverage which test runs, and measures how long each takes."""

    def __init__(self, watching: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._watching = watching

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._watching.switch_context(item.nodeid)
        begun = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - begun


def _be_silent() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)


def _exchange(mutant: Mutant) -> None:
    """Give the function of a mutant its code, wherever it is known already."""
    home: Any = importlib.import_module(f"prefect_kling.studio.money.{mutant.path.stem}")
    *classes, name = mutant.function.split(".")
    for each in classes:
        home = getattr(home, each)
    found = vars(home)[name]
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, functools.cached_property):
        found = found.func
    inspect.unwrap(found).__code__ = mutant.code()
