"""Which blocks a command uses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Blocks:
    """Names of the blocks to use."""

    credentials: str = "default"
    """Name of the KlingCredentials block."""
    archive: str = "default"
    """Name of the KlingArchive block."""
