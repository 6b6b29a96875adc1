"""The soak itself works: `make soak` runs it for an hour."""

import pytest

from tests.soak.soak import Report, Sample, soak


@pytest.mark.slow
async def test_some_batches_under_faults_leave_nothing_behind() -> None:
    """Two of them, then it is told: no clip paid twice, none lost."""
    report = await soak(1.0)
    assert report.samples
    assert sum(report.states.values()) == 20
    assert (report.paid_twice, report.lost) == (0, 0)


def test_growth_is_told() -> None:
    """Of any of the four figures, by the medians of quarters."""
    flat = Report([Sample(minute, 0, 100, 9000, 30, 10) for minute in range(20)])
    assert flat.is_flat
    leaking = Report([Sample(minute, 0, 100, 9000, 30 + minute, 10) for minute in range(20)])
    assert not leaking.is_flat
    assert "descriptors 1.27" in str(leaking)
