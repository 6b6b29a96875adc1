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
        produce_film,
        produce_scene,
        produce_versions,
        quick_clip,
        report_spending,
        submit_batch,
        submit_film,
    )
    from prefect_kling.kling.prices import quote
    from prefect_kling.kling.request import VideoRequest
    from prefect_kling.runs.spending import Spending
    from prefect_kling.studio.film.storyboard import Storyboard
    from prefect_kling.studio.money.archive import Clip

    __version__: str

_HOMES = {
    "Clip": "studio.money.archive",
    "KlingArchive": "blocks",
    "KlingCredentials": "blocks",
    "Spending": "runs.spending",
    "Storyboard": "studio.film.storyboard",
    "VideoRequest": "kling.request",
    "advance_films": "flows",
    "collect_finished": "flows",
    "generate_batch": "flows",
    "generate_clip": "flows",
    "produce_film": "flows",
    "produce_scene": "flows",
    "produce_versions": "flows",
    "quick_clip": "flows",
    "quote": "kling.prices",
    "report_spending": "flows",
    "submit_batch": "flows",
    "submit_film": "flows",
}

__all__ = [
    "Clip",
    "KlingArchive",
    "KlingCredentials",
    "Spending",
    "Storyboard",
    "VideoRequest",
    "__version__",
    "advance_films",
    "collect_finished",
    "generate_batch",
    "generate_clip",
    "produce_film",
    "produce_scene",
    "produce_versions",
    "quick_clip",
    "quote",
    "report_spending",
    "submit_batch",
    "submit_film",
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
