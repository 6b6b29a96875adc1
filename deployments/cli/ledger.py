"""`prefect-kling ledger`: what the ledger knows, and the decisions only a person can take."""

import asyncio
import getpass
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

import cyclopts
from rich.prompt import Confirm

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.audit import audit_account
from prefect_kling.deployments.cli.quarantine import quarantine
from prefect_kling.deployments.cli.terminal import Column, print_list, say
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.kling.server_words import one_line
from prefect_kling.studio.errors import StudioError, WrongClip
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState, VersionedEntry

ledger = cyclopts.App(name="ledger", help="Show what was paid, and decide about held clips.")
ledger.command(quarantine)
ledger.command(audit_account, name="audit")


@ledger.command(name="list")
def list_entries(state: EntryState | None = None, archive: str = "default") -> None:
    """List clips with their state, price and job; everything unless a state is named.

    Args:
        state: claimed, sending, submitted, held, released, failed, given_up or archived; intent
            in records of older versions.
        archive: Name of the KlingArchive block.
    """
    book = _archive(archive).ledger
    rows = []
    for version in book.all_records():
        entry = version.entry
        if state in (None, entry.state):
            charged = "" if entry.charged_usd is None else f"${entry.charged_usd}"
            rows.append(
                (
                    entry.clip_key,
                    entry.state.value,
                    f"${entry.at_most_usd}",
                    charged,
                    entry.job_id or "",
                    entry.order.request.headline,
                )
            )
    headings = ("clip key", "state", "at most", "charged", "job")
    columns = [Column(heading, is_whole=True) for heading in headings]
    print_list([*columns, Column("request")], rows, width=150)


@ledger.command
def show(key: str, archive: str = "default") -> None:
    """Tell one clip's record: what happened, what it may have cost, and what can be done.

    Args:
        key: The clip key, or enough of its beginning.
        archive: Name of the KlingArchive block.
    """
    say(explain(_read(_archive(archive), key).entry, one_line))


@ledger.command
def adopt(
    key: str,
    job_id: str,
    archive: str = "default",
    credentials: str = "default",
    yes: bool = False,
) -> None:
    """Say that a clip's job was found. It is then waited for, archived and settled like any other.

    Shows the job first. Can be corrected until the clip is archived.

    Args:
        key: The clip key, or enough of its beginning.
        job_id: The job's id at the API; the API is asked whether it knows it.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        yes: Do not ask whether this is the job.
    """
    studio = _archive(archive)
    version = _read(studio, key)

    async def decide() -> Entry | None:
        async with (await load_block(KlingCredentials, credentials)).get_client() as client:
            job = await client.get(job_id)
            made = "at an unknown time"
            if job.created_at is not None:
                made = f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"
            say(f"job {job.job_id}: {job.model or 'no model named'}, made {made}")
            say(f"clip {version.entry.clip_key}: {version.entry.order.request.headline}")
            if not yes and sys.stdin.isatty() and not Confirm.ask("Is it this clip's job?"):
                return None
            return await decisions.adopt(version, job, client, studio, _who())

    entry = asyncio.run(decide())
    if entry is not None:
        say(f"clip {entry.clip_key} is job {job_id}; run its flow again, or collect_finished.")


@ledger.command
def release(
    key: str = "",
    *job_ids: str,
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
) -> None:
    """Say that held clips were certainly not made. They may then be sent, and paid, again.

    Without a key: all held clips, those of a film, or those older than so many hours. That only
    lists them, until the sum of what they may have cost is typed in with --confirm.

    Args:
        key: The clip key, or enough of its beginning.
        job_ids: The ids that the record names, if it names any: typing them says that these jobs
            were looked for.
        film: Only clips of this film.
        older_than: Only clips that were sent so many hours ago, or earlier.
        confirm: The sum, as listed.
        archive: Name of the KlingArchive block.
    """
    studio = _archive(archive)
    if key:
        entry = decisions.release(_read(studio, key), job_ids, studio, _who())
        say(f"clip {entry.clip_key} is released; running its flow sends it again.")
        return
    chosen = _choose(studio, (EntryState.HELD,), film, older_than, confirm)
    for version in chosen:
        decisions.release(version, (), studio, _who())
    say(f"{len(chosen)} clips are released; running their flows sends them again.")


@ledger.command
def retry(
    key: str = "",
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
) -> None:
    """Allow one more attempt at clips that failed, were given up, or whose job is gone.

    The old jobs are read first: while one runs, is completed, or cannot be read, nothing changes.
    Without a key: all failed clips, as in `release`.

    Args:
        key: The clip key, or enough of its beginning.
        film: Only clips of this film.
        older_than: Only clips that were sent so many hours ago, or earlier.
        confirm: The sum, as listed.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
    """
    studio = _archive(archive)
    chosen = _named_or_chosen(studio, key, (EntryState.FAILED,), film, older_than, confirm)
    done = _decide_all(decisions.retry, chosen, studio, credentials)
    say(f"{done} clips may be tried again; running their flows sends them.")


@ledger.command(name="give-up")
def give_up(
    key: str = "",
    state: EntryState = EntryState.HELD,
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
) -> None:
    """Wait no longer for clips. Their worst price is booked, unless the API's record says less.

    They are never sent again by themselves; a video that comes late is still archived.
    Without a key: all clips in a state, as in `release`.

    Args:
        key: The clip key, or enough of its beginning.
        state: held, submitted or failed.
        film: Only clips of this film.
        older_than: Only clips that were sent so many hours ago, or earlier.
        confirm: The sum, as listed.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
    """
    studio = _archive(archive)
    chosen = _named_or_chosen(studio, key, (state,), film, older_than, confirm)
    done = _decide_all(decisions.give_up, chosen, studio, credentials)
    say(f"{done} clips are given up.")


Decision = Callable[[VersionedEntry, KlingClient, Archive, str], Awaitable[Entry]]


def _decide_all(
    decision: Decision, versions: list[VersionedEntry], studio: Archive, credentials: str
) -> int:
    """Decide about each clip; one that cannot be decided about is told and left alone."""

    async def decide() -> int:
        done = 0
        async with (await load_block(KlingCredentials, credentials)).get_client() as client:
            for version in versions:
                try:
                    await decision(version, client, studio, _who())
                except (StudioError, KlingError) as error:
                    if len(versions) == 1:
                        raise
                    say(f"clip {version.entry.clip_key} is left alone: {error}")
                    continue
                done += 1
        return done

    return asyncio.run(decide())


def _named_or_chosen(
    studio: Archive,
    key: str,
    states: tuple[EntryState, ...],
    film: str,
    older_than: float,
    confirm: Decimal | None,
) -> list[VersionedEntry]:
    if key:
        return [_read(studio, key)]
    return _choose(studio, states, film, older_than, confirm)


def _choose(
    studio: Archive,
    states: tuple[EntryState, ...],
    film: str,
    older_than: float,
    confirm: Decimal | None,
) -> list[VersionedEntry]:
    """List clips and what they may have cost; return them only if their sum was typed in."""
    selection = decisions.Selection(states, film, timedelta(hours=older_than))
    chosen: list[VersionedEntry] = []
    total = NOTHING
    rows = []
    for selected in decisions.select(selection, studio):
        entry = selected.version.entry
        sent = "" if entry.sent_at is None else f"{entry.sent_at:%Y-%m-%d %H:%M}"
        note = entry.last_note
        if selected.skipped:
            note = f"skipped: {selected.skipped}"
        else:
            chosen.append(selected.version)
            total += entry.at_most_usd
        rows.append((entry.clip_key, entry.state.value, sent, f"${entry.at_most_usd}", note))
    headings = ("clip key", "state", "sent", "at most")
    columns = [Column(heading, is_whole=True) for heading in headings]
    print_list([*columns, Column("note")], rows, width=150)
    if confirm == total:
        return chosen
    say(f"{len(chosen)} clips, at most ${total}. Nothing is changed yet: add --confirm {total}")
    if confirm is not None:
        raise WrongClip(f"${confirm} was typed in, the sum is ${total}")
    return []


def _archive(name: str) -> Archive:
    return asyncio.run(load_block(KlingArchive, name)).get_archive()


def _read(studio: Archive, beginning: str) -> VersionedEntry:
    keys = list(studio.ledger.all_keys(beginning))
    version = studio.ledger.read(keys[0]) if len(keys) == 1 else None
    if version is None:
        raise WrongClip(
            f"{len(keys)} clips begin with {beginning}; name exactly one", clip_key=beginning
        )
    return version


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
