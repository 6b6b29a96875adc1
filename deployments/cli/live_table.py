"""What happens to clips while they are made: a table that moves, or a line for each change."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from prefect_kling.deployments.cli.terminal import Column, Styled, make_table, say
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
    Stage.HELD: "red",
    Stage.INTERRUPTED: "magenta",
}
WIDE = 100
"""From so many columns on there is room for times and addresses."""

_COLUMNS = (
    Column("shot", is_whole=True),
    Column("state", is_whole=True),
    Column("took", is_whole=True, is_right=True),
    Column("price", is_whole=True, is_right=True),
    Column("where"),
)
_NARROW_COLUMNS = (
    Column("shot"),
    Column("state"),
    Column("price", is_whole=True, is_right=True),
)


class Display:
    """Shows progress on a console. `draw` makes the table that is shown in a terminal."""

    def __init__(self, console: Console, draw: Callable[[], RenderableType]) -> None:
        self.console = console
        self._draw = draw

    @property
    def moves(self) -> bool:
        """Whether a table is shown; elsewhere there are lines."""
        return self.console.is_terminal

    @contextmanager
    def on_screen(self) -> Iterator[None]:
        """Show it until the block ends; its last state stays on the screen.

        Meanwhile run logs do not go to the terminal, where they would break up the table. Prefect
        still records them.
        """
        with _quiet_console():
            if not self.moves:
                yield
                return
            with Live(get_renderable=self._draw, console=self.console, refresh_per_second=4):
                yield


class LiveTable:
    """The progress of shots; rows keep the order of the film. Without a terminal, lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._display = Display(console or Console(), self._draw)
        self._title = ""
        self._labels: dict[str, str] = {}
        self._log = ProgressLog()
        self._told: dict[str, Stage] = {}

    @contextmanager
    def on_screen(self) -> Iterator["LiveTable"]:
        """Show the table until the block ends."""
        with self._display.on_screen():
            yield self

    @property
    def paid_usd(self) -> Decimal:
        """What this run has paid so far."""
        return self._log.paid_usd

    def say(self, words: str) -> None:
        """Show a line until there are shots to show."""
        self._title = words
        if not self._display.moves:
            say(words, to=self._display.console)

    def name(self, shot: str, label: str) -> None:
        """Show a shot under another name than the one by which its progress is published."""
        self._labels[shot] = label

    def begin(self, plan: FilmPlan, ui: str = "") -> None:
        """Show all shots of a film as waiting."""
        self._title = plan.title
        if ui:
            self._title = f"{plan.title}   (Prefect UI while this runs: {ui})"
        if not self._display.moves:
            say(self._title, to=self._display.console)
        for clip in plan.clips:
            self.name(clip.name, clip.label)
            self.show(ShotProgress(shot=clip.name, stage=Stage.WAITING, usd=clip.price.usd))

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a shot."""
        self._log.record(progress)
        if self._display.moves or self._told.get(progress.shot) is progress.stage:
            return
        self._told[progress.shot] = progress.stage
        if progress.stage is not Stage.WAITING:
            facts = [_state(progress), _price(progress), _where(progress)]
            words = ", ".join(fact for fact in facts if fact)
            say(f"{self._label(progress.shot)}: {words}", to=self._display.console)

    def finished(self) -> list[tuple[str, str]]:
        """Return the shots whose clips are archived, each with the address of its clip."""
        return [(each.shot, each.clip.uri) for each in self._log if each.clip is not None]

    def _draw(self) -> Table:
        is_wide = self._display.console.width >= WIDE
        rows = []
        for progress in self._log:
            label = self._label(progress.shot)
            state = Styled(_state(progress), COLOURS[progress.stage])
            row: list[str | Styled] = [label, state, _price(progress)]
            if is_wide:
                seconds = self._seconds(progress.shot)
                row = [label, state, seconds, _price(progress), _where(progress)]
            rows.append(row)
        columns = _COLUMNS if is_wide else _NARROW_COLUMNS
        return make_table(columns, rows, self._title)

    def _label(self, shot: str) -> str:
        return self._labels.get(shot, shot)

    def _seconds(self, name: str) -> str:
        seconds = self._log.seconds(name)
        if seconds is None:
            return ""
        return f"{seconds:.1f} s"


class BatchCounter:
    """The progress of a table's rows: how many are at which stage, and who is in trouble."""

    def __init__(self, console: Console, title: str, clips: int) -> None:
        self._display = Display(console, self._draw)
        self._title = f"{title}: {clips} different clips"
        self._clips = clips
        self._stages: dict[str, Stage] = {}
        self._paid: dict[str, Decimal] = {}

    @contextmanager
    def on_screen(self) -> Iterator["BatchCounter"]:
        """Show the counts until the block ends."""
        with self._display.on_screen():
            if not self._display.moves:
                say(self._title, to=self._display.console)
            yield self

    @property
    def paid_usd(self) -> Decimal:
        """What this run has paid so far."""
        return sum(self._paid.values(), Decimal(0))

    def show(self, progress: ShotProgress) -> None:
        """Show the progress of a clip; without a terminal, a line once it has ended."""
        self._stages[progress.shot] = progress.stage
        if progress.paid:
            self._paid[progress.shot] = progress.usd or Decimal(0)
        if self._display.moves or not progress.stage.is_final:
            return
        ended = sum(stage.is_final for stage in self._stages.values())
        facts = [_state(progress), _price(progress), _where(progress)]
        words = ", ".join(fact for fact in facts if fact)
        say(f"{ended} of {self._clips}: {progress.shot}: {words}", to=self._display.console)

    def _draw(self) -> Table:
        counts = Counter(list(self._stages.values()))
        rows = [
            (Styled(stage.value, COLOURS[stage]), str(counts[stage]))
            for stage in Stage
            if counts[stage]
        ]
        columns = (Column("state"), Column("clips", is_right=True))
        return make_table(columns, rows, self._title)


def _state(progress: ShotProgress) -> str:
    if progress.reused:
        return progress.detail or "already archived"
    return progress.stage.value


def _price(progress: ShotProgress) -> str:
    if progress.usd is None:
        return ""
    return f"${progress.usd:.4f}"


def _where(progress: ShotProgress) -> str:
    if progress.clip is not None:
        return progress.clip.uri
    return progress.detail


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
