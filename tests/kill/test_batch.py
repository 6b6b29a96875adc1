"""A process that makes many clips at once and is killed in the middle of sending them."""

import random
import secrets
from collections.abc import Callable

import pytest

from tests.kill.batch import one_round
from tests.kill.crew import Api
from tests.kill.worker import Place

BOUND = 3


@pytest.mark.slow
def test_a_killed_batch_leaves_few_clips_in_doubt(
    api: Api, new_place: Callable[[int], Place]
) -> None:
    """However many clips it had begun: few are held, none is lost or paid twice."""
    seed = secrets.randbits(32)
    found = one_round(api, new_place(24), 24, random.Random(seed), BOUND)
    assert found.broken(BOUND) == [], (seed, found)
    assert found.archived >= 24 - BOUND
