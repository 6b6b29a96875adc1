"""Links by which people open what stands in the archive."""

from collections.abc import Iterable

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.cli.terminal import say


def say_link(name: str, link: str | None) -> None:
    """Print a signed link; nothing where the archive gives none out."""
    if link is not None:
        say(f"  {name}: {link}")


def say_links(named: Iterable[tuple[str, str]], archive: KlingArchive) -> None:
    """Print a signed link to each address, for as long as the archive's block lets links work."""
    for name, uri in named:
        say_link(name, archive.watch_link(uri))
