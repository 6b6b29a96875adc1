"""`prefect-kling watch`: what is under way in an archive, until nothing is left."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta

from rich.console import RenderableType

from prefect_kling.deployments.cli.deciding import open_archive
from prefect_kling.deployments.cli.documents import Change
from prefect_kling.deployments.cli.exit_codes import ExitCode
from prefect_kling.deployments.cli.live_table import WIDE, Display
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import (
    SHORT_KEY,
    AsJson,
    Column,
    Styled,
    console,
    make_table,
    print_json,
    say,
)
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.record import BEFORE_A_JOB
from prefect_kling.studio.storage.concurrency import in_thread, map_in_threads

UNDER_WAY = (*BEFORE_A_JOB, EntryState.SUBMITTED)
"""States that change by themselves; of what is held, only a person knows more."""
_COLOURS = {
    EntryState.SUBMITTED: "cyan",
    EntryState.HELD: "red",
    EntryState.FAILED: "red",
    EntryState.GIVEN_UP: "red",
    EntryState.ARCHIVED: "green",
}
_COLUMNS = (
    Column("clip", is_whole=True),
    Column("state", is_whole=True),
    Column("for", is_whole=True, is_right=True),
    Column("at most", is_whole=True, is_right=True),
    Column("film"),
    Column("request"),
)
_NARROW_COLUMNS = (Column("clip", is_whole=True), Column("state"), Column("request"))
_NOTHING_LEFT = "nothing is under way"


def watch(*, every: float = 2.0, archive: str = "default", as_json: AsJson = False) -> int:
    """Show what is under way in the archive until nothing is left.

    Free: it reads the ledger, and neither sends nor archives anything. A table in a
    terminal, elsewhere a line for each change. The exit code is 3 if only held clips are
    left.

    Args:
        every: Seconds between two looks; each reads the record of every open clip.
        archive: Name of the KlingArchive block.
        as_json: Print JSON Lines: a document for each change.
    """
    watched = _Watched(open_archive(archive))
    moves = console.is_terminal and not as_json
    display: AbstractContextManager[object] = nullcontext()
    if moves:
        display = Display(console, watched.table).on_screen()
    with display:
        run(_follow(watched, every, is_told=not moves, as_json=as_json))
    held = [entry for entry in watched.entries.values() if entry.state is EntryState.HELD]
    if not as_json:
        _tell_end(held)
    return ExitCode.HELD if held else ExitCode.DONE


class _Watched:
    """The open records of an archive, and what became of those that were open."""

    def __init__(self, archive: Archive) -> None:
        self._ledger = archive.ledger
        self.entries: dict[str, Entry] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing changes by itself any more."""
        return not any(entry.state in UNDER_WAY for entry in self.entries.values())

    def look(self) -> list[Entry]:
        """Read every open record, and those that are not open any more; return what changed."""
        keys = {marker.clip_key for marker in self._ledger.open_markers()}
        keys |= {key for key, entry in self.entries.items() if entry.state in UNDER_WAY}
        changed = []
        for version in map_in_threads(self._ledger.read, sorted(keys)):
            if version is None:
                continue
            entry = version.entry
            known = self.entries.get(entry.clip_key)
            is_new = known is None and entry.state in (*UNDER_WAY, EntryState.HELD)
            has_moved = known is not None and known.state is not entry.state
            if is_new or has_moved:
                self.entries[entry.clip_key] = entry
                changed.append(entry)
        return changed

    def table(self) -> RenderableType:
        """Return the records as a table; those that have ended stay in it."""
        entries = list(self.entries.values())
        counts = Counter(entry.state.value for entry in entries)
        title = ", ".join(f"{count} {state}" for state, count in counts.items())
        if console.width < WIDE:
            return make_table(_NARROW_COLUMNS, map(_narrow_row, entries), title)
        return make_table(_COLUMNS, map(_row, entries), title)


async def _follow(watched: _Watched, every: float, *, is_told: bool, as_json: bool) -> None:
    while True:
        changed = await in_thread(watched.look)
        if is_told:
            _tell(changed, as_json=as_json)
        if watched.is_over:
            return
        await asyncio.sleep(every)


def _tell(changed: Iterable[Entry], *, as_json: bool) -> None:
    now = datetime.now(UTC)
    for entry in changed:
        if as_json:
            print_json(Change.seen(entry, now), in_one_line=True)
            continue
        words = [entry.state.value, _cost(entry), entry.film, entry.order.request.headline]
        if entry.state not in UNDER_WAY:
            words.append(entry.last_note)
        say(f"{now:%H:%M:%S} {entry.clip_key}: {', '.join(word for word in words if word)}")


def _tell_end(held: list[Entry]) -> None:
    if not held:
        say(f"{_NOTHING_LEFT}.")
        return
    say(f"{_NOTHING_LEFT}; {len(held)} clips are held and may be paid:")
    for entry in held:
        say(f"  prefect-kling ledger show {entry.clip_key}")


def _row(entry: Entry) -> list[str | Styled]:
    headline = entry.order.request.headline
    key = entry.clip_key[:SHORT_KEY]
    return [key, _state(entry), _age(entry), _cost(entry), entry.film, headline]


def _narrow_row(entry: Entry) -> list[str | Styled]:
    return [entry.clip_key[:SHORT_KEY], _state(entry), entry.order.request.headline]


def _state(entry: Entry) -> Styled:
    return Styled(entry.state.value.replace("_", " "), _COLOURS.get(entry.state, "yellow"))


def _age(entry: Entry) -> str:
    """Return how long ago it was sent, while it is under way."""
    if entry.sent_at is None or entry.state not in UNDER_WAY:
        return ""
    age = datetime.now(UTC) - entry.sent_at
    return str(timedelta(seconds=round(age.total_seconds())))


def _cost(entry: Entry) -> str:
    if entry.charged_usd is not None:
        return f"${entry.charged_usd}"
    return f"${entry.at_most_usd}"
