"""Markdown for artifacts in the Prefect UI."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectException

from prefect_kling.telemetry.logs import run_logger


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    rule = ["---"] * len(headings)
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]


def cell(text: str) -> str:
    """Return a user's text so that it cannot break a table."""
    escaped = text.replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())


@contextmanager
def log_view_errors() -> Iterator[None]:
    """Log an error in writing an artifact, and go on.

    An artifact only shows what was done. Errors of Prefect and of HTTP are logged, all others are
    raised.
    """
    try:
        yield
    except (PrefectException, httpx.HTTPError) as error:
        run_logger().warning("an artifact could not be written, the run goes on: %s", error)
