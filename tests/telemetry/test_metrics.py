"""Counters for OpenTelemetry: each fact once, by the process that wrote it into the ledger."""

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import collect_finished, generate_batch
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.money.archive import Archive
from prefect_kling.telemetry import metrics

Counted = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """What the counters of this test have counted."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics.metrics, "get_meter", provider.get_meter)
    metrics._counters.cache_clear()
    yield reader
    metrics._counters.cache_clear()
    provider.shutdown()


def counted(reader: InMemoryMetricReader) -> Counted:
    """The sums by name and attributes."""
    data = reader.get_metrics_data()
    assert data is not None
    sums: Counted = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        points = metric.data.data_points
        sums[f"{metric.name} {metric.unit}"] = {
            tuple(sorted(point.attributes.items())): point.value for point in points
        }
    return sums


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_money_clips_seconds_and_held_are_counted_once(
    reader: InMemoryMetricReader,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """By model and film; a rerun and a sweep add nothing; no attribute holds a prompt."""
    own = archive.bucket.prefix
    prompts = [f"A {own}", f"B {own}", f"[fail:CONTENT_MODERATION] {own}"]
    requests = [VideoRequest(model="kling-v3-omni", prompt=each, duration=3) for each in prompts]
    spending = Spending(budget_usd=Decimal(10))
    for _ in range(2):
        await generate_batch(requests, credentials, archive_block, spending)
    sandbox.fault(on="create", do={"status": 502}, after_commit=True, times=None)
    lost = [VideoRequest(model="kling-v3-omni", prompt=f"Lost {own}", duration=3)]
    for _ in range(2):
        await generate_batch(lost, credentials, archive_block)
    sandbox.clear_faults()
    await collect_finished(credentials, archive_block)

    where = (("kling.film", "batch"), ("kling.model", "kling-v3-omni"))
    sums = counted(reader)
    assert sums["kling.clips {clip}"] == {
        (*where, ("kling.outcome", "completed")): 2,
        (*where, ("kling.outcome", "failed")): 1,
    }
    assert sums["kling.cost USD"] == {where: pytest.approx(2 * 0.1899)}
    assert sums["kling.video s"] == {where: pytest.approx(6.0, abs=0.2)}
    assert sum(sums["kling.clips.held {clip}"].values()) == 1


def test_films_are_told_apart_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that makes a thousand films still has few series; single clips are one."""
    monkeypatch.setattr(metrics, "_films", set())
    names = {metrics._film(f"film-{number}") for number in range(1000)}
    assert len(names) == metrics.MOST_FILMS + 1
    assert metrics._film("film-0") == "film-0"
    assert metrics._film("film-999") == "other"
    assert metrics._film(f"clip {'0' * 32}") == metrics._film("") == "clip"


def test_the_sdk_is_not_needed() -> None:
    """The package imports the API alone; its counters count nothing then."""
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from prefect_kling.telemetry import metrics\n"
        "metrics._counters().clips.add(1, {'kling.model': 'm'})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
