"""`prefect-kling export`: a film and all it is made of, on disk."""

import asyncio
from pathlib import Path

from prefect_kling.blocks import KlingArchive
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.documents import Exported, FileExported
from prefect_kling.deployments.cli.terminal import AsJson, Styled, errors, facts, print_json, say
from prefect_kling.studio.errors import ExtraMissing
from prefect_kling.studio.film.export import export_film, find_film


def export(film: str, *, to: Path, archive: str = "default", as_json: AsJson = False) -> None:
    """Bring a film to disk: film, clips, contact sheet, manifest, and timelines for editors.

    Free but for the store's traffic. What is there and right is left as it is: an
    interrupted export goes on. Each file is checked against the manifest.

    Args:
        film: The film's title, its name as in its address (`first-light`), or the address itself.
            Of several cuts, the last one.
        to: The folder to write into; it is made.
        archive: Name of the KlingArchive block.
        as_json: Print JSON.
    """
    block = asyncio.run(load_block(KlingArchive, archive))
    clips = block.get_archive()
    found = find_film(film, clips)
    told_to = facts(as_json=as_json)
    title = Styled(found.title, "bold")
    say(title, f": {found.seconds:.2f} s, {len(found.clips)} clips", to=told_to)
    files = []
    try:
        for exported in export_film(found, to, clips):
            size = exported.path.stat().st_size
            told = "is there"
            if exported.is_new:
                told = f"{size:,} bytes"
            say(f"  {exported.path}  ({told})", to=told_to)
            path = str(exported.path)
            files.append(FileExported(path=path, bytes=size, is_new=exported.is_new))
    except ExtraMissing as error:
        # Timelines come last: everything else is there.
        say(f"  no timelines: {error}", to=errors)
    if as_json:
        print_json(Exported(title=found.title, seconds=found.seconds, files=tuple(files)))
