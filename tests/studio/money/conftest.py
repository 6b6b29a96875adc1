"""What the tests of money share."""

import pytest

from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from tests.orders import ordered


@pytest.fixture
def order(request: pytest.FixtureRequest, archive: Archive) -> ClipOrder:
    """An order of this test's own."""
    return ordered(archive, request.node.name)
