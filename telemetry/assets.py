"""Clips and films as Prefect assets: what was made, from what, by which run."""

from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset, add_asset_metadata
from prefect.tasks import MaterializingTask, Task
from pydantic import ValidationError

# The server drops an event with more than a hundred related resources, and Prefect adds some of its own.
MOST_SOURCES = 96


def materializing(task: Task[..., Any], key: str, sources: Sequence[str] = ()) -> Task[..., Any]:
    """Return a free task that, when it succeeds, records having made an asset from its sources.

    It is a record for Prefect's event feed and asset graph, nothing depends on it: an address Prefect does not take
    as a key (with a space in it, say) gives the task as it is.
    """
    try:
        return MaterializingTask(
            fn=task.fn,
            name=task.name,
            task_run_name=task.task_run_name,
            assets=[Asset(key=key)],
            asset_deps=[Asset(key=each) for each in sources[:MOST_SOURCES]],
            materialized_by="prefect-kling",
            cache_policy=task.cache_policy,
            retries=task.retries,
            retry_delay_seconds=task.retry_delay_seconds,
            retry_jitter_factor=task.retry_jitter_factor,
            retry_condition_fn=task.retry_condition_fn,
        )
    except ValidationError:
        return task


def describe_asset(key: str, **facts: Any) -> None:
    """Add facts to the asset the running task makes; nothing happens in a task that makes none."""
    try:
        add_asset_metadata(key, facts)
    except (RuntimeError, ValueError):
        return
