"""The shots of a film as a table that moves while they are made."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

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

        Meanwhile run logs do not go to the terminal, where they would tear the table apart; Prefect still records them.
        """
        with _quiet_console(), self._live:
            yield self

    def say(self, words: str) -> None:
        """Show a line until there are shots to show."""
        self._title = words

    def begin(self, plan: FilmPlan, ui: str = "") -> None:
        """Show all shots of a film as waiting."""
        self._title = f"{plan.title}{f'   (Prefect UI while this runs: {ui})' if ui else ''}"
        for clip in plan.clips:
            self.show(ShotProgress(shot=clip.name, stage=Stage.WAITING, usd=clip.price.usd))

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a shot."""
        self._log.record(progress)

    def _draw(self) -> Table:
        table = Table(title=escape(self._title), title_justify="left", expand=False)
        for heading in ("shot", "state", "took", "price"):
            table.add_column(
                heading, justify="right" if heading in ("took", "price") else "left", no_wrap=True
            )
        table.add_column("where", overflow="fold")
        for progress in self._log:
            state = "already archived" if progress.reused else progress.stage.value
            price = f"${progress.usd:.4f}" if progress.usd is not None else ""
            where = progress.clip.uri if progress.clip else progress.detail
            words = (
                escape(progress.shot),
                f"[{COLOURS[progress.stage]}]{state}[/]",
                self._seconds(progress.shot),
                price,
                escape(where),
            )
            table.add_row(*words)
        return table

    def _seconds(self, name: str) -> str:
        seconds = self._log.seconds(name)
        return "" if seconds is None else f"{seconds:.1f} s"


@contextmanager
def _quiet_console() -> Iterator[None]:
    setup_logging()
    consoles = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, PrefectConsoleHandler)
    ]
    before = [handler.level for handler in consoles]
    for handler in consoles:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(consoles, before, strict=True):
            handler.setLevel(level)
