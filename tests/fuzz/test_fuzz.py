"""The shortest form of `make fuzz`: each target once, with few inputs."""

import pytest

from tests.fuzz.__main__ import TARGETS

FEW = {"videos": 60, "pictures": 100, "redirects": 60, "callbacks": 300}
"""Of those that take longer."""


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_inputs_cause_no_undeclared_error(target: str) -> None:
    """Whatever comes in, only declared errors come out, in time and in bounded memory."""
    cases = FEW.get(target, 1400)
    report = TARGETS[target](cases, 1_000_000)
    assert report.cases == cases
    assert report.is_good, str(report)
