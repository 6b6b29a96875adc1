"""`prefect-kling ledger`: what the ledger knows, and the two decisions only a person can take."""

import asyncio
import getpass
import socket

import cyclopts
from rich.console import Console
from rich.table import Table

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.studio.errors import WrongClip
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.candidates import take_for
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.ledger import NOTHING, EntryState, VersionedEntry

ledger = cyclopts.App(name="ledger", help="Show what was paid, and decide about held clips.")
console = Console()


@ledger.command(name="list")
def list_entries(state: EntryState | None = None, archive: str = "default") -> None:
    """List clips with their state, price and job; everything unless a state is named.

    Args:
        state: claimed, sending, submitted, held, released, failed, given_up or archived; intent
            in records of older versions.
        archive: Name of the KlingArchive block.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("clip key", "state", "at most", "charged", "job"):
        table.add_column(heading, no_wrap=True)
    table.add_column("request", overflow="fold")
    book = _archive(archive).ledger
    for key in book.all_keys():
        version = book.read(key)
        if version is not None and state in (None, version.entry.state):
            entry = version.entry
            charged = "" if entry.charged_usd is None else f"${entry.charged_usd}"
            words = (
                key,
                entry.state,
                f"${entry.at_most_usd}",
                charged,
                entry.job_id or "",
                entry.order.request.headline,
            )
            table.add_row(*words)
    # In one piece even where the terminal is narrow: keys and job ids are there to be copied.
    Console(width=max(console.width, 150)).print(table)


@ledger.command
def show(key: str, archive: str = "default") -> None:
    """Tell one clip's record: what happened, what it may have cost, and what can be done.

    Args:
        key: The clip key, or enough of its beginning.
        archive: Name of the KlingArchive block.
    """
    console.print(
        explain(_read(_archive(archive), key).entry), markup=False, highlight=False, soft_wrap=True
    )


@ledger.command
def adopt(key: str, job_id: str, archive: str = "default", credentials: str = "default") -> None:
    """Say that a held clip's job was found. It is then waited for, archived and settled like any other.

    Args:
        key: The clip key, or enough of its beginning.
        job_id: The job's id at the API; the API is asked whether it knows it.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
    """
    asyncio.run(_check_job(job_id, credentials))
    studio = _archive(archive)
    decidable = _decidable(studio, key)
    owner = take_for(decidable.entry, job_id, studio)
    if owner != decidable.entry.clip_key:
        raise WrongClip(f"job {job_id} belongs to clip {owner}", clip_key=owner, job_id=job_id)
    version = studio.ledger.adopt(decidable, job_id, _who())
    console.print(
        f"clip {version.entry.clip_key} is job {job_id}; run its flow again, or collect_finished."
    )


@ledger.command
def release(key: str, *job_ids: str, archive: str = "default") -> None:
    """Say that a held clip was certainly not made. It may then be sent, and paid, again.

    Args:
        key: The clip key, or enough of its beginning.
        job_ids: The ids that the record names, if it names any: typing them says that these jobs
            were looked for.
        archive: Name of the KlingArchive block.
    """
    studio = _archive(archive)
    version = _decidable(studio, key)
    named = version.entry.named_job_ids
    if named and set(named) != set(job_ids):
        ids = " ".join(named)
        raise WrongClip(
            f"an answer named job {ids}, which may be paid: look for it first. If it is not there, type the id: "
            f"prefect-kling ledger release {version.entry.clip_key} {' '.join(named)}",
            clip_key=version.entry.clip_key,
            job_id=version.entry.named_job_id,
        )
    released = studio.ledger.release(version, f"released by {_who()}")
    studio.budget.settle(version.entry, NOTHING)
    for attempt in version.entry.attempts:
        studio.budget.settle_claim(version.entry.clip_key, attempt.claim, NOTHING)
    console.print(f"clip {released.entry.clip_key} is released; running its flow sends it again.")


def _archive(name: str) -> Archive:
    return asyncio.run(load_block(KlingArchive, name)).get_archive()


async def _check_job(job_id: str, credentials: str) -> None:
    block = await load_block(KlingCredentials, credentials)
    async with block.get_client() as client:
        await client.get(job_id)


def _read(studio: Archive, beginning: str) -> VersionedEntry:
    keys = list(studio.ledger.all_keys(beginning))
    version = studio.ledger.read(keys[0]) if len(keys) == 1 else None
    if version is None:
        raise WrongClip(
            f"{len(keys)} clips begin with {beginning}; name exactly one", clip_key=beginning
        )
    return version


def _decidable(studio: Archive, beginning: str) -> VersionedEntry:
    version = _read(studio, beginning)
    if version.entry.state is not EntryState.HELD:
        what = f"the clip is {version.entry.state}; only a held clip can be adopted or released"
        raise WrongClip(what, clip_key=version.entry.clip_key)
    return version


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
