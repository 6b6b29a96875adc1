"""The shortest form of `make fuzz`: each target once, with few inputs."""

import pytest

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_inputs_cause_no_undeclared_error(target: str) -> None:
    """Whatever comes in, only declared errors come out, in time and in bounded memory."""
    report = TARGETS[target](1400, 1_000_000)
    assert report.cases == 1400
    assert report.is_good, str(report)
