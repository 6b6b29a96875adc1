"""The shots of a film as a table that moves while they are made."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.telemetry.progress import ShotNews, Stage

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
    """A terminal table fed by the news of shots; its rows keep the order of the film."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._title = ""
        self._news: dict[str, ShotNews] = {}
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}
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
            self.show(ShotNews(shot=clip.name, stage=Stage.WAITING, usd=clip.price.usd))

    def show(self, news: ShotNews) -> None:
        """Take one shot's news."""
        if news.stage is Stage.SUBMITTING:
            self._began.setdefault(news.shot, time.monotonic())
        if news.stage in (Stage.DONE, Stage.FAILED, Stage.INTERRUPTED) and news.shot in self._began:
            self._took[news.shot] = time.monotonic() - self._began[news.shot]
        self._news[news.shot] = news

    def _draw(self) -> Table:
        table = Table(title=escape(self._title), title_justify="left", expand=False)
        for heading in ("shot", "state", "took", "price"):
            table.add_column(
                heading, justify="right" if heading in ("took", "price") else "left", no_wrap=True
            )
        table.add_column("where", overflow="fold")
        for name, news in self._news.items():
            state = "already archived" if news.reused else news.stage.value
            price = f"${news.usd:.4f}" if news.usd is not None else ""
            where = news.clip.uri if news.clip else news.words
            words = (
                escape(name),
                f"[{COLOURS[news.stage]}]{state}[/]",
                self._seconds(name),
                price,
                escape(where),
            )
            table.add_row(*words)
        return table

    def _seconds(self, name: str) -> str:
        if name in self._took:
            return f"{self._took[name]:.1f} s"
        return f"{time.monotonic() - self._began[name]:.1f} s" if name in self._began else ""


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
