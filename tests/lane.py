"""Which values of a parametrized test the contributor's lane runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def rest_is_slow(values: Iterable[Any], *stay: object) -> list[Any]:
    """Return the values for `parametrize`; `make test` runs only those that stay.

    For a test whose values show one rule in several ways, each of which takes long.
    """
    marked = []
    for value in values:
        arguments = value if isinstance(value, tuple) else (value,)
        marks = () if value in stay else pytest.mark.slow
        marked.append(pytest.param(*arguments, marks=marks))
    return marked
