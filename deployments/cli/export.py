"""`prefect-kling export`: a film and all it is made of, on disk."""

import asyncio
from pathlib import Path

from prefect_kling.blocks import KlingArchive
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.terminal import Styled, say
from prefect_kling.studio.film.export import export_film, find_film


def export(film: str, *, to: Path, archive: str = "default") -> None:
    """Bring a film to disk: film, clips, contact sheet, manifest, and timelines for editors.

    Free but for the store's traffic. What is there and right is left as it is: an
    interrupted export goes on. Each file is checked against the manifest.

    Args:
        film: Name of the film as in its address (`first-light`), or the address itself. Of several
            cuts, the last one.
        to: The folder to write into; it is made.
        archive: Name of the KlingArchive block.
    """
    block = asyncio.run(load_block(KlingArchive, archive))
    clips = block.get_archive()
    found = find_film(film, clips)
    say(Styled(found.title, "bold"), f": {found.seconds:.2f} s, {len(found.clips)} clips")
    for exported in export_film(found, to, clips):
        told = "is there"
        if exported.is_new:
            told = f"{exported.path.stat().st_size:,} bytes"
        say(f"  {exported.path}  ({told})")
