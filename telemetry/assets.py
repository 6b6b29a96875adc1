"""Clips and films as Prefect assets: what was made, from what, by which run."""

from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset, add_asset_metadata
from prefect.tasks import MaterializingTask, Task
from pydantic import ValidationError

# The server drops an event with more than 100 related resources, and Prefect adds some of its own.
MAX_SOURCES = 96


def materializing(task: Task[..., Any], key: str, sources: Sequence[str] = ()) -> Task[..., Any]:
    """Return the task as one that also records that it made an asset from its sources.

    The record feeds Prefect's events and its asset graph; nothing depends on it. Where Prefect does
    not accept an address as the key of an asset (one with a space, say), the task is returned as it
    is.
    """
    try:
        return MaterializingTask(
            fn=task.fn,
            name=task.name,
            task_run_name=task.task_run_name,
            assets=[Asset(key=key)],
            asset_deps=[Asset(key=source) for source in sources[:MAX_SOURCES]],
            materialized_by="prefect-kling",
            cache_policy=task.cache_policy,
            retries=task.retries,
            retry_delay_seconds=task.retry_delay_seconds,
            retry_jitter_factor=task.retry_jitter_factor,
            retry_condition_fn=task.retry_condition_fn,
        )
    except ValidationError:
        return task


def describe_asset(key: str, **metadata: Any) -> None:
    """Add metadata to the asset that the running task makes; does nothing if it makes none."""
    try:
        add_asset_metadata(key, metadata)
    except (RuntimeError, ValueError):
        return
