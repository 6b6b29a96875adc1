"""A film's quote as a table in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prefect_kling.kling.models import find_model
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.film.quote import FilmQuote, Standing

_COLOURS = {
    Standing.ARCHIVED: "green",
    Standing.BEING_SENT: "cyan",
    Standing.UNDER_WAY: "cyan",
    Standing.HELD: "red",
    Standing.GIVEN_UP: "red",
    Standing.TO_PAY: "yellow",
}


def show_quote(quote: FilmQuote, console: Console, archive_note: str) -> None:
    """Print each clip with its price and state, the notes of the plan, and what is to be paid.

    `archive_note` is printed after the sum: it says which archive was asked.
    """
    plan = quote.plan
    table = Table(title=escape(plan.title), title_justify="left")
    for heading in ("shot", "seconds", "price", "now", "clip key", "made from"):
        table.add_column(heading, no_wrap=heading in ("price", "clip key", "now"))
    for clip in plan.clips:
        standing = quote.standings[clip.clip_key]
        table.add_row(
            escape(clip.name),
            f"{clip.seconds:g}",
            f"${clip.price.usd}",
            f"[{_COLOURS[standing]}]{standing.value}[/]",
            clip.clip_key,
            escape(_origin(plan, clip)),
        )
    console.print(table)

    for note in plan.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    for obstacle in quote.obstacles:
        console.print(f"[red]cannot be made[/] {escape(obstacle)}", highlight=False)
    to_pay = f"[bold]To be paid: ${quote.usd}[/]"
    if quote.at_most_usd != quote.usd:
        to_pay += f", at most ${quote.at_most_usd}"
    console.print(f"{to_pay}; the whole film is worth ${plan.usd}. {archive_note}")
    for name in sorted({clip.order.request.model for clip in plan.clips}):
        model = find_model(name)
        console.print(f"Prices of {name}: {model.source}, {model.as_of}.", style="dim")


def _origin(plan: FilmPlan, clip: PlannedClip) -> str:
    """Return the name of the clip that this one is made from, or of an equal one."""
    first = plan.by_key[clip.clip_key]
    if first != clip:
        return f"the same clip as {first.name}; take: 2 makes another"
    if clip.needs is None:
        return ""
    return f"{clip.needs.kind.replace('_', ' ')} of {plan.by_key[clip.needs.clip_key].name}"
