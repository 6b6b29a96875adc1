"""`prefect-kling pick`: choose among the takes of shots."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from prefect_kling.blocks import KlingArchive
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.documents import Picked, TakeListed
from prefect_kling.deployments.cli.quote_table import COLOURS
from prefect_kling.deployments.cli.terminal import (
    AsJson,
    Column,
    Styled,
    print_json,
    print_table,
    say,
)
from prefect_kling.studio.film.mistakes import nearest
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.film.reading.reader import load_story, load_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.takes import keep_pick, read_picks
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.standing import Standing

_COLUMNS = (
    Column("shot"),
    Column("take", is_whole=True),
    Column("now", is_whole=True),
    Column("picked", is_whole=True),
)


_Chosen = tuple[PlannedClip, int]
"""A shot and the take that is picked of it."""


class WrongPick(RuntimeError):
    """A pick names a shot or a take that does not exist, or one that the storyboard picks."""


def pick(
    storyboard: Path,
    *picks: str,
    version: str | None = None,
    archive: str = "default",
    as_json: AsJson = False,
) -> None:
    """Pick takes of shots, as in `prefect-kling pick film.yaml 1.2=3 2.1=1`.

    Free: says what changes, and what a run would then pay. Without picks it shows the
    takes, with links to watch.

    Args:
        storyboard: A YAML or JSON file.
        picks: Shots by number, or by title, each with the number of a take.
        version: The version whose takes are picked, of a storyboard with versions.
        archive: Name of the KlingArchive block.
        as_json: Print JSON.
    """
    if version is None:
        board = load_storyboard(storyboard)
    else:
        board = load_story(storyboard).chosen([version]).films[0].board
    block = asyncio.run(load_block(KlingArchive, archive))
    clips = block.get_archive()
    kept = read_picks(board, clips)
    before = plan_film(board, kept)
    plan = before
    chosen: list[_Chosen] = []
    if picks:
        plan, chosen = _keep(board, before, dict(kept), _parse(picks), clips)
        if not as_json:
            _tell_picks(chosen)
    quote = asyncio.run(quote_film(plan, clips))
    if as_json:
        print_json(_document(chosen, before, quote, block))
    elif picks:
        _tell_change(before, quote)
    elif plan.shots_with_takes:
        _show(quote, block, clips)
    else:
        say(Styled(plan.title, "bold"), ": no shot has several takes; `takes: 3` asks for them")


def _parse(picks: Sequence[str]) -> dict[str, int]:
    """Return the takes by what the shots are called. Raises `WrongPick`."""
    found = {}
    for text in picks:
        shot, separator, take = text.rpartition("=")
        if not separator or not take.strip().isdecimal():
            raise WrongPick(f"{text!r} is no pick; one is written as 1.2=3: shot 1.2, take 3")
        found[shot.strip()] = int(take)
    return found


def _keep(
    board: Storyboard,
    before: FilmPlan,
    picks: dict[str, int],
    asked: dict[str, int],
    archive: Archive,
) -> tuple[FilmPlan, list[_Chosen]]:
    """Check what is asked and keep it; return the plan that follows, and what was picked."""
    plan = before
    chosen: list[_Chosen] = []
    # In the order of the film: a pick changes the requests of the shots that are made from it, and
    # so the keys by which their own picks are kept.
    for name, take in sorted(asked.items(), key=lambda each: _place(each[0], before)):
        shot = plan.used[_place(name, plan)]
        _require_choice(shot, take, board)
        chosen.append((shot, take))
        picks[shot.first_take_key] = take
        plan = plan_film(board, picks)

    for shot, take in chosen:
        keep_pick(shot, take, plan.slug, archive)
    return plan, chosen


def _place(name: str, plan: FilmPlan) -> int:
    """Return which of a plan's used clips is called so. Raises `WrongPick` with a suggestion."""
    names: dict[str, int] = {}
    for place, clip in enumerate(plan.used):
        for shot in clip.shots:
            names.setdefault(f"{clip.scene}.{shot.number}", place)
    for place, clip in enumerate(plan.used):
        names.setdefault(clip.shots[0].title.lower(), place)
    if name.lower() in names:
        return names[name.lower()]
    suggestion = nearest(name, [each for each in names if each])
    told = f"there is no shot {name!r}"
    if suggestion:
        told = f"{told}; did you mean {suggestion!r}?"
    raise WrongPick(told)


def _require_choice(shot: PlannedClip, take: int, board: Storyboard) -> None:
    """Raise `WrongPick` unless the shot has this take and the storyboard picks no other."""
    if shot.takes == 1:
        raise WrongPick(
            f"{shot.shot_name} has one take only; say `takes: {max(2, take)}` in the storyboard"
        )
    if not 1 <= take <= shot.takes:
        raise WrongPick(
            f"{shot.shot_name} has no take {take}, only 1 to {shot.takes};"
            " `takes` in the storyboard makes more"
        )
    scene = board.scenes[shot.scene - 1]
    part = scene.shots[shot.shots[0].number - 1]
    said = scene.pick or part.pick
    if said is not None and said != take:
        raise WrongPick(
            f"the storyboard picks take {said} of {shot.shot_name}, which counts before others;"
            f" write `pick: {take}` there"
        )


def _made_anew(before: FilmPlan, plan: FilmPlan) -> list[str]:
    """Return the shots that are made from what was picked, and so are other clips now."""
    known = {clip.first_take_key for clip in before.used}
    return [clip.shot_name for clip in plan.used if clip.first_take_key not in known]


def _tell_picks(chosen: Sequence[_Chosen]) -> None:
    for shot, take in chosen:
        was = "none was picked"
        if shot.pick is not None:
            was = f"take {shot.pick} was picked"
        say(Styled(shot.shot_name, "bold"), f": take {take} is picked; {was} before")


def _tell_change(before: FilmPlan, quote: FilmQuote) -> None:
    """Say which other shots are made anew, and what a run would pay."""
    anew = _made_anew(before, quote.plan)
    if anew:
        say(f"Made from what is picked: {', '.join(anew)}.")
    for note in quote.plan.notes:
        say(Styled("note ", "yellow"), note)
    to_pay = Styled(f"To be paid by the next run: ${quote.usd}", "bold")
    say(to_pay, ". Run the film again; what is there is kept and costs nothing.")


def _document(
    chosen: Sequence[_Chosen], before: FilmPlan, quote: FilmQuote, block: KlingArchive
) -> Picked:
    """Return the takes of all shots that have several, and what this call has changed."""
    archive = block.get_archive()
    takes = []
    for shot in quote.plan.shots_with_takes:
        for take in shot.every_take:
            standing = quote.standings[take.clip_key]
            uri = None
            watch_url = None
            if standing is Standing.ARCHIVED:
                uri = archive.clip_uri(take.clip_key)
                watch_url = block.watch_link(uri)
            listed = TakeListed(
                shot=shot.shot_name,
                take=take.order.take,
                clip_key=take.clip_key,
                state=standing,
                is_used=take.is_used,
                is_open=take.is_open,
                uri=uri,
                watch_url=watch_url,
            )
            takes.append(listed)
    return Picked(
        title=quote.plan.title,
        picked={shot.shot_name: take for shot, take in chosen},
        made_anew=tuple(_made_anew(before, quote.plan)),
        usd=quote.usd,
        notes=tuple(quote.plan.notes),
        takes=tuple(takes),
    )


def _show(quote: FilmQuote, block: KlingArchive, archive: Archive) -> None:
    """Print the takes of each shot that has several, and links to those that exist."""
    plan = quote.plan
    rows = []
    links = []
    for shot in plan.shots_with_takes:
        for take in shot.every_take:
            standing = quote.standings[take.clip_key]
            picked = ""
            if take.is_used:
                picked = "picked"
                if take.is_open:
                    picked = "none is; take 1 counts"
            state = Styled(standing.value, COLOURS[standing])
            rows.append((shot.shot_name, str(take.order.take), state, picked))
            if standing is Standing.ARCHIVED:
                uri = archive.clip_uri(take.clip_key)
                links.append((take.name, block.watch_link(uri) or uri))
    print_table(_COLUMNS, rows, plan.title)
    for name, link in links:
        say(Styled(name, "bold"), f": {link}")
    number = plan.shots_with_takes[0].shot_name.split()[0].split("-")[0]
    say(f"To pick, which is free: prefect-kling pick STORYBOARD {number}=2")
