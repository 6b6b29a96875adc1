"""`prefect-kling ledger`: what the ledger knows, and the decisions only a person can take."""

import asyncio
import sys
from datetime import timedelta
from decimal import Decimal

import cyclopts
from rich.prompt import Confirm

from prefect_kling.blocks import KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.audit import audit_account
from prefect_kling.deployments.cli.deciding import (
    Choice,
    Outcome,
    choose,
    decide_all,
    named_or_chosen,
    open_archive,
    read_one,
    tell,
    who,
)
from prefect_kling.deployments.cli.documents import LedgerLine, LedgerListed
from prefect_kling.deployments.cli.quarantine import quarantine
from prefect_kling.deployments.cli.terminal import (
    LIST_WIDTH,
    AsJson,
    Column,
    facts,
    print_json,
    print_list,
    say,
)
from prefect_kling.kling.server_words import one_line
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.ledger import Entry, EntryState

ledger = cyclopts.App(name="ledger", help="Show what was paid, and decide about held clips.")
ledger.command(quarantine)
ledger.command(audit_account, name="audit")


@ledger.command(name="list")
def list_entries(
    state: EntryState | None = None, archive: str = "default", as_json: AsJson = False
) -> None:
    """List clips with their state, price and job; everything unless a state is named.

    Args:
        state: claimed, sending, submitted, held, released, failed, given_up or archived; intent
            in records of older versions.
        archive: Name of the KlingArchive block.
        as_json: Print JSON.
    """
    book = open_archive(archive).ledger
    entries = [
        version.entry for version in book.all_records() if state in (None, version.entry.state)
    ]
    if as_json:
        print_json(LedgerListed(clips=tuple(LedgerLine.of(entry) for entry in entries)))
        return
    rows = []
    for entry in entries:
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
    print_list([*columns, Column("request")], rows, LIST_WIDTH)


@ledger.command
def show(key: str, archive: str = "default", as_json: AsJson = False) -> None:
    """Tell one clip's record: what happened, what it may have cost, and what can be done.

    Args:
        key: The clip key, or enough of its beginning.
        archive: Name of the KlingArchive block.
        as_json: Print JSON: the facts, without what can be done.
    """
    entry = read_one(open_archive(archive), key).entry
    if as_json:
        print_json(LedgerLine.of(entry))
        return
    say(explain(entry, one_line))


@ledger.command
def adopt(
    key: str,
    job_id: str,
    archive: str = "default",
    credentials: str = "default",
    yes: bool = False,
    as_json: AsJson = False,
) -> None:
    """Say that a clip's job was found. It is then waited for, archived and settled like any other.

    Shows the job first. Can be corrected until the clip is archived.

    Args:
        key: The clip key, or enough of its beginning.
        job_id: The job's id at the API; the API is asked whether it knows it.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        yes: Do not ask whether this is the job.
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    version = read_one(studio, key)
    to = facts(as_json=as_json)

    async def decide() -> Entry | None:
        async with (await load_block(KlingCredentials, credentials)).get_client() as client:
            job = await client.get(job_id)
            made = "at an unknown time"
            if job.created_at is not None:
                made = f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"
            say(f"job {job.job_id}: {job.model or 'no model named'}, made {made}", to=to)
            say(f"clip {version.entry.clip_key}: {version.entry.order.request.headline}", to=to)
            is_asked = not yes and sys.stdin.isatty()
            if is_asked and not Confirm.ask("Is it this clip's job?", console=to):
                return None
            return await decisions.adopt(version, job, client, studio, who())

    entry = asyncio.run(decide())
    outcome = Outcome([entry] if entry is not None else [])
    sentence = "nothing was changed."
    if entry is not None:
        sentence = (
            f"clip {entry.clip_key} is job {job_id}; run its flow again, or collect_finished."
        )
    tell(sentence, outcome, Choice([]), as_json=as_json)


@ledger.command
def release(
    key: str = "",
    *job_ids: str,
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
    as_json: AsJson = False,
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
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    if key:
        entry = decisions.release(read_one(studio, key), job_ids, studio, who())
        sentence = f"clip {entry.clip_key} is released; running its flow sends it again."
        tell(sentence, Outcome([entry]), Choice([]), as_json=as_json)
        return
    selection = decisions.Selection((EntryState.HELD,), film, timedelta(hours=older_than))
    choice = choose(studio, selection, confirm, as_json=as_json)
    released = [decisions.release(version, (), studio, who()) for version in choice.chosen]
    sentence = f"{len(released)} clips are released; running their flows sends them again."
    tell(sentence, Outcome(released), choice, as_json=as_json)


@ledger.command
def retry(
    key: str = "",
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
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
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    selection = decisions.Selection((EntryState.FAILED,), film, timedelta(hours=older_than))
    choice = named_or_chosen(studio, key, selection, confirm, as_json=as_json)
    outcome = decide_all(decisions.retry, choice.chosen, studio, credentials)
    count = len(outcome.decided)
    sentence = f"{count} clips may be tried again; running their flows sends them."
    tell(sentence, outcome, choice, as_json=as_json)


@ledger.command(name="give-up")
def give_up(
    key: str = "",
    state: EntryState = EntryState.HELD,
    film: str = "",
    older_than: float = 0.0,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
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
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    selection = decisions.Selection((state,), film, timedelta(hours=older_than))
    choice = named_or_chosen(studio, key, selection, confirm, as_json=as_json)
    outcome = decide_all(decisions.give_up, choice.chosen, studio, credentials)
    tell(f"{len(outcome.decided)} clips are given up.", outcome, choice, as_json=as_json)
