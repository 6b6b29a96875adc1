"""Prefect blocks: the outside world, configured. Registering this module registers these two."""

from prefect_kling.blocks.archive import KlingArchive
from prefect_kling.blocks.credentials import KlingCredentials

__all__ = ["KlingArchive", "KlingCredentials"]
