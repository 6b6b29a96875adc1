"""A sandbox in a process of its own, and places to make clips."""

import secrets
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from tests.kill.crew import Api, api_process
from tests.kill.worker import Place

PRICE = Decimal("0.1899")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API as another process, painting small pictures at once."""
    with api_process(tmp_path_factory.mktemp("api"), (0.0, 0.0)) as running:
        yield running


@pytest.fixture(scope="module")
def new_place(api: Api, s3: LocalS3) -> Callable[[int], Place]:
    """Make an empty archive whose cap is the price of so many clips."""

    def new(clips: int) -> Place:
        return Place(api.url, api.key, s3, BUCKET, f"kill-{secrets.token_hex(6)}", PRICE * clips)

    return new
