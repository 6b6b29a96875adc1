"""Why a run failed, as a page in words: what happened, what was made and paid, what to do."""

from prefect_kling.telemetry.markdown import Markdown, bullets, page
from prefect_kling.telemetry.progress import RunTally

_NOUNS = {
    "film": "film",
    "batch": "batch",
    "clip": "clip",
    "sweep": "upkeep run",
    "report": "report",
}


def failure_page(kind: str, told: str, tally: RunTally, *, is_expected: bool = True) -> Markdown:
    """Return the page of a run that failed with `told`, whose lines become a list."""
    lines = [Markdown("## The {} was not finished").format(_NOUNS[kind]), Markdown()]
    first, *others = [line for line in told.splitlines() if line.strip()] or ["no reason was given"]
    lines += [Markdown("**{}**").format(first), Markdown()]
    if others:
        lines += [*bullets(others), Markdown()]
    if not is_expected:
        lines += [
            Markdown("Nobody expected this error: the log of this run has the whole of it."),
            Markdown(),
        ]
    lines += _money(tally)
    lines.append(
        Markdown(
            "Run it again when this is mended (*Retry* on its page, or a new run): what is "
            "archived is used again and costs nothing."
        )
    )
    return page(lines)


def _money(tally: RunTally) -> list[Markdown]:
    """Return what this run has made and paid, and which shots failed."""
    made = Markdown("- no clip was finished by this run")
    if tally.made:
        told = Markdown("- finished by this run: {} clips; it has paid ${} for them")
        made = told.format(tally.made, tally.paid_usd)
    lines = [made]
    if tally.reused:
        lines.append(Markdown("- used again, free: {} clips").format(tally.reused))
    if tally.failed:
        shown = ", ".join(tally.failed_shots)
        lines.append(Markdown("- not made: {} ({})").format(tally.failed, shown))
    return [*lines, Markdown()]
