"""Kling Omni-Video as dependable Prefect work: clips, scenes and films, paid for once.

The names that most users need, each imported when it is first used:

    from prefect_kling import KlingArchive, KlingCredentials, VideoRequest, generate_clip
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_kling.blocks import KlingArchive, KlingCredentials
    from prefect_kling.flows import (
        advance_films,
        collect_finished,
        generate_batch,
        generate_clip,
        generate_clip_sync,
        produce_film,
        produce_scene,
        produce_versions,
        quick_clip,
        report_spending,
        submit_batch,
        submit_film,
    )
    from prefect_kling.kling.job import VideoJob
    from prefect_kling.kling.prices import quote
    from prefect_kling.kling.request import VideoRequest
    from prefect_kling.runs.spending import Spending
    from prefect_kling.studio.film.storyboard import Storyboard
    from prefect_kling.studio.money.archive import Clip
    from prefect_kling.studio.money.orders import ClipOrder
    from prefect_kling.studio.money.record import Entry
    from prefect_kling.tasks import archive_video, submit_video, wait_for_video

    __version__: str

_HOMES = {
    "Clip": "studio.money.archive",
    "ClipOrder": "studio.money.orders",
    "Entry": "studio.money.record",
    "KlingArchive": "blocks",
    "KlingCredentials": "blocks",
    "Spending": "runs.spending",
    "Storyboard": "studio.film.storyboard",
    "VideoJob": "kling.job",
    "VideoRequest": "kling.request",
    "advance_films": "flows",
    "archive_video": "tasks",
    "collect_finished": "flows",
    "generate_batch": "flows",
    "generate_clip": "flows",
    "generate_clip_sync": "flows",
    "produce_film": "flows",
    "produce_scene": "flows",
    "produce_versions": "flows",
    "quick_clip": "flows",
    "quote": "kling.prices",
    "report_spending": "flows",
    "submit_batch": "flows",
    "submit_film": "flows",
    "submit_video": "tasks",
    "wait_for_video": "tasks",
}

__all__ = [
    "Clip",
    "ClipOrder",
    "Entry",
    "KlingArchive",
    "KlingCredentials",
    "Spending",
    "Storyboard",
    "VideoJob",
    "VideoRequest",
    "__version__",
    "advance_films",
    "archive_video",
    "collect_finished",
    "generate_batch",
    "generate_clip",
    "generate_clip_sync",
    "produce_film",
    "produce_scene",
    "produce_versions",
    "quick_clip",
    "quote",
    "report_spending",
    "submit_batch",
    "submit_film",
    "submit_video",
    "wait_for_video",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line and the API room stay fast."""
    if name == "__version__":
        return version("prefect-kling")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
