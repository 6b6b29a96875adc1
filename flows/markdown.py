"""Tables for pages in the Prefect UI."""

from collections.abc import Iterator, Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Keep a user's words from breaking a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
