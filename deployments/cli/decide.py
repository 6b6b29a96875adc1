"""`prefect-kling retry` and `give-up`: the usual decisions about clips, by the usual names.

They are those of `prefect-kling ledger`, with the same checks. Neither sends anything.
"""

from decimal import Decimal

from prefect_kling.deployments.cli.deciding import (
    Choice,
    Outcome,
    choose,
    decide_all,
    open_archive,
    read_one,
    tell,
    who,
)
from prefect_kling.deployments.cli.paid import require_yes
from prefect_kling.deployments.cli.terminal import AsJson, facts, say
from prefect_kling.kling.server_words import one_line
from prefect_kling.studio.errors import WrongClip
from prefect_kling.studio.money import decisions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.ledger import Entry, EntryState, VersionedEntry

_AGAIN = "Run the clip or the film again to send it."


def retry(
    name: str,
    *,
    not_made: bool = False,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
) -> None:
    """Allow one more attempt at a failed clip, or at a held one that was not made.

    Sends nothing: run the clip or the film again for that. A friendly name of `ledger
    retry` and `ledger release`.

    Args:
        name: The clip key or enough of its beginning; or the name of a film as in its address, for
            all its failed clips, which are listed until their sum is typed in with --confirm.
        not_made: Say that a held clip was looked for at the API and was certainly not made,
            instead of being asked.
        confirm: The sum, as listed.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    version = _clip_named(name, studio)
    if version is None:
        choice = _clips_of_film(name, (EntryState.FAILED,), studio, confirm, as_json=as_json)
        outcome = decide_all(decisions.retry, choice.chosen, studio, credentials)
        sentence = f"{len(outcome.decided)} clips may be tried again. {_AGAIN}"
        tell(sentence, outcome, choice, as_json=as_json)
        return
    if version.entry.state is EntryState.HELD:
        entry = _release(version, studio, is_said=not_made, as_json=as_json)
        outcome = Outcome([entry])
    else:
        outcome = decide_all(decisions.retry, [version], studio, credentials)
    sentence = f"clip {version.entry.clip_key} may be tried again. {_AGAIN}"
    tell(sentence, outcome, Choice([]), as_json=as_json)


def give_up(
    name: str,
    *,
    confirm: Decimal | None = None,
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
) -> None:
    """Wait no longer for a clip, or for all held and failed clips of a film.

    Sends nothing. What may have been paid is booked, and they are never sent again by
    themselves. A friendly name of `ledger give-up`.

    Args:
        name: The clip key or enough of its beginning; or the name of a film as in its address, for
            all its held and failed clips, which are listed until their sum is typed in with
            --confirm.
        confirm: The sum, as listed.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        as_json: Print JSON.
    """
    studio = open_archive(archive)
    version = _clip_named(name, studio)
    if version is None:
        states = (EntryState.HELD, EntryState.FAILED)
        choice = _clips_of_film(name, states, studio, confirm, as_json=as_json)
    else:
        choice = Choice([version])
    outcome = decide_all(decisions.give_up, choice.chosen, studio, credentials)
    tell(f"{len(outcome.decided)} clips are given up.", outcome, choice, as_json=as_json)


def _clip_named(name: str, archive: Archive) -> VersionedEntry | None:
    """Return the clip whose key begins so; None if this is no beginning of a key."""
    if not name or set(name) - set("0123456789abcdef"):
        return None
    if not any(archive.ledger.all_keys(name)):
        return None
    return read_one(archive, name)


def _clips_of_film(
    name: str,
    states: tuple[EntryState, ...],
    archive: Archive,
    confirm: Decimal | None,
    *,
    as_json: bool,
) -> Choice:
    """Return the clips of a film that can be decided about. Raises `WrongClip` if there is none."""
    choice = choose(archive, decisions.Selection(states, name), confirm, as_json=as_json)
    if not choice.chosen and not choice.listed:
        kinds = " or ".join(state.value for state in states)
        raise WrongClip(f"no clip, and no film with clips that are {kinds}, is {one_line(name)!r}")
    return choice


def _release(version: VersionedEntry, archive: Archive, *, is_said: bool, as_json: bool) -> Entry:
    """Release a held clip once a person says that it was looked for and not made."""
    to = facts(as_json=as_json)
    if not is_said:
        say(explain(version.entry, one_line), to=to)
        require_yes(
            "Was it looked for at the API, and is it certainly not made and not paid?",
            "Say it with --not-made. Nothing was changed.",
            to,
        )
    return decisions.release(version, (), archive, who())
