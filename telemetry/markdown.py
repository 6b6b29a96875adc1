"""What pages in the Prefect UI are made of, and how little may hang on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectException

from prefect_kling.telemetry.logs import run_logger


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Keep a user's words from breaking a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


@contextmanager
def only_a_view() -> Iterator[None]:
    """Log trouble with a page, and go on: it shows what was done, and is not what was done."""
    try:
        yield
    except (PrefectException, httpx.HTTPError) as error:
        run_logger().warning("a page could not be written; the run goes on all the same: %s", error)
