"""The shortest form of `make fuzz`: each target once, with few inputs."""

import pytest

from tests.fuzz.__main__ import TARGETS
from tests.lane import rest_is_slow

FEW = {"videos": 30, "pictures": 50, "redirects": 30, "callbacks": 150}
"""Of those that take longer."""


@pytest.mark.parametrize("target", rest_is_slow(TARGETS, "replies"))
def test_mutated_inputs_cause_no_undeclared_error(target: str) -> None:
    """Whatever comes in, only declared errors come out, in time and in bounded memory."""
    cases = FEW.get(target, 500)
    report = TARGETS[target](cases, 1_000_000)
    assert report.cases == cases
    assert report.is_good, str(report)
