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
    Standing.TO_PAY: "yellow",
}


def show_quote(quote: FilmQuote, console: Console, known: str) -> None:
    """Print every clip with its price and where it stands, what should be known, and what is to be paid."""
    plan = quote.plan
    table = Table(title=escape(plan.title), title_justify="left")
    for heading in ("shot", "seconds", "price", "now", "clip key", "made from"):
        table.add_column(heading, no_wrap=heading in ("price", "clip key", "now"))
    for clip in plan.clips:
        standing = quote.standings[clip.clip_key]
        price, now = f"${clip.price.usd}", f"[{_COLOURS[standing]}]{standing.value}[/]"
        name, origin = escape(clip.name), escape(_origin(plan, clip))
        table.add_row(name, f"{clip.seconds:g}", price, now, clip.clip_key, origin)
    console.print(table)
    for note in plan.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    worst = f", at most ${quote.at_most_usd}" if quote.at_most_usd != quote.usd else ""
    console.print(
        f"[bold]To be paid: ${quote.usd}[/]{worst}; the whole film is worth ${plan.usd}. {known}"
    )
    for name in sorted({clip.order.request.model for clip in plan.clips}):
        model = find_model(name)
        console.print(f"Prices of {name}: {model.source}, {model.as_of}.", style="dim")


def _origin(plan: FilmPlan, clip: PlannedClip) -> str:
    """The clip this one is made from, by name; or the equal one whose video it shares."""
    first = plan.by_key[clip.clip_key]
    if first != clip:
        return f"the same clip as {first.name}; take: 2 makes another"
    if clip.needs is None:
        return ""
    return f"{clip.needs.kind.replace('_', ' ')} of {plan.by_key[clip.needs.clip_key].name}"
