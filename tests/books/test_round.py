"""A small round of `python -m tests.books`, and the ends that it must reach."""

import pytest

from prefect_kling.deployments.local.seaweed import LocalS3
from tests.books.rounds import SCENARIOS, Scenario, rounds

NAMED = {scenario.name: scenario for scenario in SCENARIOS}
SMALL = [NAMED["as assumed"], NAMED["kill -9 as well"]]
OTHERS = [each for each in SCENARIOS if each not in SMALL]


@pytest.mark.parametrize(
    "scenario",
    [SMALL[0], pytest.param(SMALL[1], marks=pytest.mark.slow)],
    ids=lambda each: each.name,
)
def test_no_clip_is_released_that_is_paid(scenario: Scenario, s3: LocalS3) -> None:
    """Whatever was lost, and whether or not the process lives."""
    found = rounds(s3, 8, 4, scenario, seed=2)
    assert found.held > 0
    assert found.wrong == 0
    assert found.said_paid_and_not == 0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", OTHERS, ids=lambda each: each.name)
def test_no_clip_is_released_that_is_paid_where_the_account_misbehaves(
    scenario: Scenario, s3: LocalS3
) -> None:
    """Nor where its books do not keep to what is assumed, or others spend its money."""
    found = rounds(s3, 12, 4, scenario, seed=2)
    assert found.held > 0
    assert found.wrong == 0
