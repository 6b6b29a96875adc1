"""A film's quote as a table in the terminal."""

from collections import Counter

from rich.console import Console

from prefect_kling.deployments.cli.terminal import (
    Column,
    Styled,
    console,
    print_table,
    say,
    short_key,
)
from prefect_kling.kling.models import find_model
from prefect_kling.studio.batch.quote import BatchQuote
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.film.quote import FilmQuote, VersionCost
from prefect_kling.studio.money.standing import Standing

_COLUMNS = (
    Column("shot"),
    Column("seconds"),
    Column("price", is_whole=True),
    Column("now", is_whole=True),
    Column("clip key", is_whole=True),
    Column("made from"),
)
_VERSION_COLUMNS = (
    Column("version"),
    Column("lasts", is_whole=True),
    Column("clips", is_whole=True),
    Column("shared with those above", is_whole=True),
    Column("adds", is_whole=True),
)
_PRICE_COLUMNS = (
    Column("clips", is_whole=True),
    Column("seconds", is_whole=True),
    Column("each", is_whole=True),
    Column("together", is_whole=True),
)
COLOURS = {
    Standing.ARCHIVED: "green",
    Standing.BEING_SENT: "cyan",
    Standing.UNDER_WAY: "cyan",
    Standing.HELD: "red",
    Standing.GIVEN_UP: "red",
    Standing.FAILED: "red",
    Standing.TO_PAY: "yellow",
}


def show_quote(quote: FilmQuote, archive_note: str, to: Console = console) -> None:
    """Print each clip with its price and state, the notes of the plan, and what is to be paid.

    `archive_note` is printed after the sum: it says which archive was asked.
    """
    plan = quote.plan
    rows = []
    for clip in plan.clips:
        standing = quote.standings[clip.clip_key]
        rows.append(
            (
                clip.label,
                f"{clip.seconds:g}",
                f"${clip.price.usd}",
                Styled(standing.value, COLOURS[standing]),
                short_key(clip.clip_key),
                _origin(plan, clip),
            )
        )
    print_table(_COLUMNS, rows, plan.title, to)

    whole = "the whole film is"
    if plan.has_versions:
        whole = f"all {len(plan.versions)} versions are"
        versions = [_version_row(each) for each in quote.by_version]
        print_table(_VERSION_COLUMNS, versions, "Versions", to)
    for note in plan.notes:
        say(Styled("note ", "yellow"), note, to=to)
    for obstacle in quote.obstacles:
        say(Styled("cannot be made ", "red"), obstacle, to=to)
    at_most = ""
    if quote.at_most_usd != quote.usd:
        at_most = f", at most ${quote.at_most_usd}"
    to_pay = Styled(f"To be paid: ${quote.usd}", "bold")
    say(to_pay, f"{at_most}; {whole} worth ${plan.usd}. {archive_note}", to=to)
    models = {clip.order.request.model for clip in plan.clips}
    for name in sorted(models):
        model = find_model(name)
        say(Styled(f"Prices of {name}: {model.source}, {model.as_of}.", "dim"), to=to)


def _version_row(cost: VersionCost) -> tuple[str, ...]:
    seconds = f"{cost.seconds:g} s"
    return cost.version, seconds, str(cost.clips), str(cost.shared), f"${cost.usd}"


def show_batch_quote(quote: BatchQuote, archive_note: str, to: Console = console) -> None:
    """Print how many clips of a table there are at which price, where they stand, and the sum."""
    plan = quote.plan
    prices = Counter((price.seconds, price.usd) for price in plan.quotes.values())
    rows = [
        (str(count), str(seconds), f"${usd}", f"${usd * count}")
        for (seconds, usd), count in prices.most_common()
    ]
    print_table(_PRICE_COLUMNS, rows, f"{plan.table.name}: {plan.rows} rows", to)
    for standing in Standing:
        count = quote.count(standing)
        if count:
            say(f"{count} of {quote.clips} different clips: ", standing.value, to=to)
    at_most = ""
    if quote.at_most_usd != quote.usd:
        at_most = f", at most ${quote.at_most_usd}"
    to_pay = Styled(f"To be paid: ${quote.usd}", "bold")
    say(to_pay, f"{at_most}; all clips are worth ${quote.worth_usd}. {archive_note}", to=to)


def _origin(plan: FilmPlan, clip: PlannedClip) -> str:
    """Return the name of the clip that this one is made from, or of an equal one."""
    first = plan.by_key[clip.clip_key]
    if first.version != clip.version:
        return f"the same clip as {first.name}"
    if first != clip:
        return f"the same clip as {first.name}; take: 2 makes another"
    if clip.needs is None:
        return ""
    return f"{clip.needs.kind.replace('_', ' ')} of {plan.by_key[clip.needs.clip_key].name}"
