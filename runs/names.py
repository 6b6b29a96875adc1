"""Names of flow runs that make a film or a batch."""

from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from prefect.runtime import flow_run

from prefect_kling.kling.server_words import printable
from prefect_kling.studio.batch.frozen import FrozenTable, is_table_id, table_name
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.remote_sources import is_address, redacted
from prefect_kling.studio.film.reading.yaml_text import parse
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.versions import Story

UNREADABLE = "from a storyboard with mistakes"


def named_after_film(pattern: str) -> Callable[[], str]:
    """Return a function that names a flow run by its parameters and the film's `{title}`.

    A storyboard at an address has not been read when its run is named; the last part of the address
    stands for its title.
    """

    def name() -> str:
        parameters = flow_run.parameters
        title = printable(_title(parameters["storyboard"]))
        return pattern.format(**parameters, title=title)

    return name


def named_after_table(pattern: str) -> Callable[[], str]:
    """Return a function that names a flow run by the `{table}` that it is about."""

    def name() -> str:
        return pattern.format(table=printable(_table(flow_run.parameters["requests"])))

    return name


def _table(requests: object) -> str:
    if not isinstance(requests, str):
        return "of requests"
    if is_table_id(requests):
        return FrozenTable.parse(requests).name
    if is_address(requests):
        return table_name(redacted(requests))
    return "of a pasted table"


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
