"""Links by which people open what stands in the archive."""

from collections.abc import Sequence

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.cli.terminal import say


def say_links(named: Sequence[tuple[str, str]], archive: KlingArchive) -> None:
    """Print a signed link to each address, for as long as the archive's block lets links work."""
    for name, uri in named:
        link = archive.watch_link(uri)
        if link is not None:
            say(f"  {name}: {link}")
