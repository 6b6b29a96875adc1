"""The shots of a film as a table that moves while they are made."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.live import Live
from rich.table import Table

from prefect_kling.deployments.cli.terminal import Column, Styled, make_table
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.telemetry.progress import ProgressLog, ShotProgress, Stage

COLOURS = {
    Stage.WAITING: "dim",
    Stage.QUEUED: "dim",
    Stage.SUBMITTING: "yellow",
    Stage.RENDERING: "cyan",
    Stage.ARCHIVING: "blue",
    Stage.DONE: "green",
    Stage.FAILED: "red",
    Stage.INTERRUPTED: "magenta",
}


_COLUMNS = (
    Column("shot", is_whole=True),
    Column("state", is_whole=True),
    Column("took", is_whole=True, is_right=True),
    Column("price", is_whole=True, is_right=True),
    Column("where"),
)


class LiveTable:
    """A terminal table of the progress of shots; its rows keep the order of the film."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._title = ""
        self._log = ProgressLog()
        self._live = Live(get_renderable=self._draw, console=self.console, refresh_per_second=4)

    @contextmanager
    def on_screen(self) -> Iterator["LiveTable"]:
        """Show the table until the block ends; its last state stays on the screen.

        Meanwhile run logs do not go to the terminal, where they would break up the table. Prefect
        still records them.
        """
        with _quiet_console(), self._live:
            yield self

    def say(self, words: str) -> None:
        """Show a line until there are shots to show."""
        self._title = words

    def begin(self, plan: FilmPlan, ui: str = "") -> None:
        """Show all shots of a film as waiting."""
        self._title = plan.title
        if ui:
            self._title = f"{plan.title}   (Prefect UI while this runs: {ui})"
        for clip in plan.clips:
            self.show(ShotProgress(shot=clip.name, stage=Stage.WAITING, usd=clip.price.usd))

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a shot."""
        self._log.record(progress)

    def finished(self) -> list[tuple[str, str]]:
        """Return the shots whose clips are archived, each with the address of its clip."""
        return [(each.shot, each.clip.uri) for each in self._log if each.clip is not None]

    def _draw(self) -> Table:
        rows = []
        for progress in self._log:
            state = progress.stage.value
            if progress.reused:
                state = "already archived"
            price = ""
            if progress.usd is not None:
                price = f"${progress.usd:.4f}"
            where = progress.detail
            if progress.clip:
                where = progress.clip.uri
            seconds = self._seconds(progress.shot)
            coloured = Styled(state, COLOURS[progress.stage])
            rows.append((progress.shot, coloured, seconds, price, where))
        return make_table(_COLUMNS, rows, self._title)

    def _seconds(self, name: str) -> str:
        seconds = self._log.seconds(name)
        if seconds is None:
            return ""
        return f"{seconds:.1f} s"


@contextmanager
def _quiet_console() -> Iterator[None]:
    setup_logging()
    levels = {}
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            levels[handler] = handler.level
            handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)
