"""Names of flow runs: what they make. A name that a person gave a run is kept."""

import csv
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from prefect.runtime import flow_run

from prefect_kling.kling.server_words import one_line, printable
from prefect_kling.studio.batch.frozen import FrozenTable, is_table_id, table_name
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.remote_sources import is_address, redacted
from prefect_kling.studio.film.reading.yaml_text import parse
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.versions import Story

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|"
    "tau|upsilon|phi|chi|psi|omega"
)
GIVEN_BY_PREFECT = re.compile(
    rf"[a-z]+-[a-z]+|[A-Z][a-z]+-[A-Z][a-z]+|({_GREEK})[0-9]*(-[a-z]+){{1,3}}"
)
"""Names that Prefect makes up: its server's fearless-gecko, its newer form's Tasty-Jerboa, its
older form's psi504-jacawitz-boundary."""
_LONGEST_PROMPT = 40
UNREADABLE = "from a storyboard with mistakes"


def named(pattern: str) -> Callable[[], str]:
    """Return a function that names a flow run by its parameters, and by `{now}`.

    `{request.headline}` is an attribute of a parameter, as in `str.format`.
    """

    def name() -> str:
        now = f"{datetime.now():%Y-%m-%d %H:%M}"  # noqa: DTZ005  for people who look at the clock
        return _kept() or printable(pattern.format(**flow_run.parameters, now=now))

    return name


def named_after_film(pattern: str) -> Callable[[], str]:
    """Return a function that names a flow run by its parameters and the film's `{title}`.

    A storyboard at an address has not been read when its run is named; the last part of the address
    stands for its title.
    """

    def name() -> str:
        parameters = flow_run.parameters
        title = printable(_title(parameters["storyboard"]))
        return _kept() or pattern.format(**parameters, title=title)

    return name


def named_after_table(pattern: str) -> Callable[[], str]:
    """Return a function that names a flow run by the `{table}` that it is about.

    A table that is pasted is named by its first prompt.
    """

    def name() -> str:
        return _kept() or pattern.format(table=printable(_table(flow_run.parameters["requests"])))

    return name


def _kept() -> str | None:
    """Return the name that a person or a program gave to this run; None if Prefect made it up."""
    given = flow_run.name
    if given is None or GIVEN_BY_PREFECT.fullmatch(given):
        return None
    return str(given)


def _table(requests: object) -> str:
    if not isinstance(requests, str):
        return _of_requests(requests)
    if is_table_id(requests):
        return FrozenTable.parse(requests).name
    if is_address(requests):
        return table_name(redacted(requests))
    prompt = _first_prompt(requests)
    if prompt is None:
        return "of a pasted table"
    return f"{_cut(prompt)} …"


def _of_requests(requests: object) -> str:
    if not isinstance(requests, Sequence) or not requests:
        return "of requests"
    return f"of {len(requests)} requests: {_cut(requests[0].headline)} …"


def _first_prompt(table: str) -> str | None:
    """Return the prompt of the first row of a pasted table; None where it is not seen at once."""
    try:
        rows = csv.reader(table.strip().splitlines()[:2], skipinitialspace=True)
        heading, first = (list(row) for row in rows)
        return first[[each.strip() for each in heading].index("prompt")].strip() or None
    except (csv.Error, ValueError, IndexError):
        return None


def _cut(text: str) -> str:
    return one_line(text)[:_LONGEST_PROMPT].strip()


def _title(storyboard: Story | Storyboard | str) -> str:
    if isinstance(storyboard, Story):
        return storyboard.board.title
    if isinstance(storyboard, Storyboard):
        return storyboard.title
    if is_address(storyboard):
        address = redacted(storyboard)
        return PurePosixPath(urlsplit(address).path).name or address

    # The text is only parsed: that its rules are kept is checked when the run has begun.
    try:
        data = parse(storyboard, "storyboard").data
    except StoryboardInvalid:
        return UNREADABLE
    if isinstance(data, dict) and isinstance(data.get("title"), str):
        return str(data["title"])
    return UNREADABLE
