"""What automations hang on: events with the facts a message or a decision needs."""

from decimal import Decimal
from typing import Any

import pytest

from prefect_kling.telemetry import events


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The events emitted meanwhile, by name with their payload."""
    heard: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda name, resource, payload: heard.append((name, payload))
    )
    return heard


@pytest.mark.parametrize(
    ("committed", "step", "heard"),
    [(79, 10, 0), (80, 1, 1), (85, 10, 1), (95, 10, 0), (100, 100, 1)],
)
def test_a_cap_that_is_nearly_reached_is_told_once(
    committed: int, step: int, heard: int, told: list[tuple[str, dict[str, Any]]]
) -> None:
    """The clip that passes four fifths tells it, those before and after do not."""
    events.announce_budget("archive", Decimal(100), Decimal(committed), Decimal(step))
    assert [name for name, _ in told] == ["kling.budget.low"] * heard
