"""Which values of a parametrized test the contributor's lane runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def rest_is_slow(values: Iterable[Any], *stay: object) -> list[Any]:
    """Return the values for `parametrize`; `make test` runs only those that stay.

    For a test whose values show one rule in several ways, each of which takes long. A value that is
    a tuple is several arguments. Raises `ValueError` for one that should stay and is not there.
    """
    listed = list(values)
    missing = [each for each in stay if each not in listed]
    if missing:
        raise ValueError(f"these are no values of the test: {missing}")
    marked = []
    for value in listed:
        arguments = value if isinstance(value, tuple) else (value,)
        marks = () if value in stay else pytest.mark.slow
        marked.append(pytest.param(*arguments, marks=marks))
    return marked
