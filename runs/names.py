"""What a run is called that makes a film."""

from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from prefect.runtime import flow_run

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.remote_sources import is_address
from prefect_kling.studio.film.storyboard import Storyboard


def named_after_film(pattern: str) -> Callable[[], str]:
    """Return what names a run by its parameters, with the film's title as `{title}`.

    A storyboard at an address has not been read when its run is named; the end of the address stands for its title.
    """

    def name() -> str:
        given = flow_run.parameters
        return pattern.format(**given, title=_title(given["storyboard"]))

    return name


def _title(storyboard: Storyboard | str) -> str:
    if isinstance(storyboard, Storyboard):
        return storyboard.title
    if is_address(storyboard):
        return PurePosixPath(urlsplit(storyboard.strip()).path).name or storyboard.strip()
    try:
        return read_storyboard(storyboard).title
    except StoryboardInvalid:
        return "from a storyboard with mistakes"
