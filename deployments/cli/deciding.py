"""What every decision of a person about clips needs: which clips, who decides, and what is told."""

import asyncio
import getpass
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.documents import Decided, LedgerLine
from prefect_kling.deployments.cli.terminal import Column, errors, print_json, print_list, say
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import KlingError
from prefect_kling.studio.errors import StudioError, WrongClip
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import NOTHING, Entry, VersionedEntry

Decision = Callable[[VersionedEntry, KlingClient, Archive, str], Awaitable[Entry]]


@dataclass(frozen=True)
class Choice:
    """The clips to decide about; `listed` are those that wait for `confirm` to be typed in."""

    chosen: list[VersionedEntry]
    listed: list[VersionedEntry] = field(default_factory=list)
    confirm: Decimal | None = None


@dataclass
class Outcome:
    """What was decided, and why other clips were left alone, by clip key."""

    decided: list[Entry] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)


def open_archive(name: str) -> Archive:
    """Return the archive of a stored block."""
    return asyncio.run(load_block(KlingArchive, name)).get_archive()


def read_one(archive: Archive, beginning: str) -> VersionedEntry:
    """Return the one record whose key begins so. Raises `WrongClip`."""
    keys = list(archive.ledger.all_keys(beginning))
    version = archive.ledger.read(keys[0]) if len(keys) == 1 else None
    if version is None:
        raise WrongClip(
            f"{len(keys)} clips begin with {beginning}; name exactly one", clip_key=beginning
        )
    return version


def who() -> str:
    """Return who decides, for the record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def choose(
    archive: Archive,
    selection: decisions.Selection,
    confirm: Decimal | None,
    *,
    as_json: bool = False,
) -> Choice:
    """List clips and what they may have cost; choose them only if their sum was typed in."""
    every: list[VersionedEntry] = []
    total = NOTHING
    rows = []
    for selected in decisions.select(selection, archive):
        entry = selected.version.entry
        sent = "" if entry.sent_at is None else f"{entry.sent_at:%Y-%m-%d %H:%M}"
        note = entry.last_note
        if selected.skipped:
            note = f"skipped: {selected.skipped}"
        else:
            every.append(selected.version)
            total += entry.at_most_usd
        rows.append((entry.clip_key, entry.state.value, sent, f"${entry.at_most_usd}", note))
    if not as_json:
        headings = ("clip key", "state", "sent", "at most")
        columns = [Column(heading, is_whole=True) for heading in headings]
        print_list([*columns, Column("note")], rows, width=150)
    if confirm == total:
        return Choice(every)
    text = f"{len(every)} clips, at most ${total}. Nothing is changed yet: add --confirm {total}"
    if as_json:
        say(text, to=errors)
    else:
        say(text)
    if confirm is not None:
        raise WrongClip(f"${confirm} was typed in, the sum is ${total}")
    return Choice([], every, total)


def decide_all(
    decision: Decision, versions: list[VersionedEntry], archive: Archive, credentials: str
) -> Outcome:
    """Decide about each clip; one that cannot be decided about is left alone.

    A single one raises instead.
    """

    async def decide() -> Outcome:
        outcome = Outcome()
        async with (await load_block(KlingCredentials, credentials)).get_client() as client:
            for version in versions:
                try:
                    entry = await decision(version, client, archive, who())
                except (StudioError, KlingError) as error:
                    if len(versions) == 1:
                        raise
                    outcome.left_alone[version.entry.clip_key] = str(error)
                    continue
                outcome.decided.append(entry)
        return outcome

    if not versions:
        return Outcome()
    return asyncio.run(decide())


def named_or_chosen(
    archive: Archive,
    key: str,
    selection: decisions.Selection,
    confirm: Decimal | None,
    *,
    as_json: bool = False,
) -> Choice:
    """Return the clip of this key, or those of the selection if their sum was typed in."""
    if key:
        return Choice([read_one(archive, key)])
    return choose(archive, selection, confirm, as_json=as_json)


def tell(sentence: str, outcome: Outcome, choice: Choice, *, as_json: bool) -> None:
    """Tell what was decided: the sentence for people, or the document for a program."""
    if as_json:
        print_json(
            Decided(
                decided=tuple(LedgerLine.of(entry) for entry in outcome.decided),
                listed=tuple(LedgerLine.of(version.entry) for version in choice.listed),
                left_alone=outcome.left_alone,
                confirm=choice.confirm,
            )
        )
        return
    for key, why in outcome.left_alone.items():
        say(f"clip {key} is left alone: {why}")
    if not choice.listed:
        say(sentence)
