"""`prefect-kling ledger quarantine`: paid files that no check accepts."""

import asyncio
from decimal import Decimal

import cyclopts

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.deciding import open_archive, who
from prefect_kling.deployments.cli.documents import ClipMade, FileQuarantined, Quarantined
from prefect_kling.deployments.cli.links import say_link
from prefect_kling.deployments.cli.terminal import AsJson, Column, print_json, print_list, say
from prefect_kling.studio.errors import WrongClip
from prefect_kling.studio.money.acceptance import accept_quarantined
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.charges import read_charge
from prefect_kling.studio.money.quarantine import QuarantinedFile

quarantine = cyclopts.App(
    name="quarantine", help="Show paid files that could not be verified, and accept them as clips."
)


@quarantine.command(name="list")
def list_files(key: str = "", archive: str = "default", as_json: AsJson = False) -> None:
    """List the files in quarantine with the clip, the job, the size, the reason and the address.

    Args:
        key: The clip key, or enough of its beginning; all clips unless given.
        archive: Name of the KlingArchive block.
        as_json: Print JSON.
    """
    files = list(open_archive(archive).quarantine.files(key))
    if as_json:
        print_json(Quarantined(files=tuple(FileQuarantined.of(found) for found in files)))
        return
    rows = []
    for found in files:
        kept = f"{found.kept_at:%Y-%m-%d %H:%M}"
        size = f"{found.bytes:,}"
        accepted_by = found.accepted_by
        row = (found.clip_key, found.job_id, size, kept, accepted_by, found.reason, found.uri)
        rows.append(row)
    headings = ("clip key", "job", "bytes", "kept", "accepted by")
    columns = [Column(heading, is_whole=True) for heading in headings]
    print_list([*columns, Column("why"), Column("where")], rows, width=200)


@quarantine.command
def accept(
    key: str,
    job_id: str = "",
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
) -> None:
    """Make a file in quarantine the clip's video.

    Its price is booked, and the clip says who accepted it.

    Nothing checks the file again: look at it first. The API is asked what it cost; the listed price
    is booked where it does not say.

    Args:
        key: The clip key, or enough of its beginning.
        job_id: The job, if more than one delivered a file.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        as_json: Print JSON.
    """
    block = asyncio.run(load_block(KlingArchive, archive))
    studio = block.get_archive()
    found = _only_one(studio, key, job_id)
    version = studio.ledger.read(found.clip_key)
    reserved_usd = version.entry.request_usd if version is not None else None
    charged_usd = asyncio.run(_charge(found.job_id, reserved_usd, credentials))
    clip = accept_quarantined(studio, found, who(), charged_usd)
    watch_url = block.watch_link(clip.uri)
    if as_json:
        print_json(ClipMade.of(clip, watch_url, Decimal(0)))
        return
    say(f"clip {clip.clip_key} is archived at {clip.uri}, ${clip.usd}.")
    say_link("watch it", watch_url)


async def _charge(job_id: str, reserved_usd: Decimal | None, credentials: str) -> Decimal | None:
    async with (await load_block(KlingCredentials, credentials)).get_client() as client:
        return await read_charge(client, job_id, reserved_usd)


def _only_one(studio: Archive, key: str, job_id: str) -> QuarantinedFile:
    files = [
        found for found in studio.quarantine.files(key) if key and job_id in ("", found.job_id)
    ]
    if len(files) != 1:
        raise WrongClip(
            (
                f"{len(files)} files in quarantine match; name one clip, and its "
                "job if there are several"
            ),
            clip_key=key,
        )
    return files[0]
