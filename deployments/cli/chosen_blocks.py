"""Which blocks a command uses, and what it raises when somebody says no."""

from dataclasses import dataclass


class Refused(RuntimeError):
    """A person was asked and said no."""


@dataclass(frozen=True)
class Blocks:
    """Names of the blocks to use."""

    credentials: str = "default"
    """Name of the KlingCredentials block."""
    archive: str = "default"
    """Name of the KlingArchive block."""
