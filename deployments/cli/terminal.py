"""All that the command line prints.

A text from others stays a text: no markup, no control codes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefect_kling.kling.server_words import printable

LIST_WIDTH = 150
console = Console()
errors = Console(stderr=True)


@dataclass(frozen=True)
class Styled:
    """A text with a style of rich, such as `bold` or `red`."""

    text: str
    style: str


@dataclass(frozen=True)
class Column:
    """A column of a table. `is_whole`: its texts are not broken into lines."""

    heading: str
    is_whole: bool = False
    is_right: bool = False


def shown(text: str | Styled) -> Text:
    """Return a text as the terminal may show it."""
    style = ""
    if isinstance(text, Styled):
        style = text.style
        text = text.text
    return Text(printable(text.replace("\r", " ")), style=style)


def say(*parts: str | Styled, to: Console = console) -> None:
    """Print a line; it is broken by the terminal only, so that it can be copied in one piece."""
    line = Text()
    for part in parts:
        line.append_text(shown(part))
    to.print(line, soft_wrap=True)


def make_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]], title: str = ""
) -> Table:
    """Return a table of texts."""
    table = Table(title=shown(title) if title else None, title_justify="left")
    for column in columns:
        table.add_column(
            column.heading,
            no_wrap=column.is_whole,
            overflow="fold",
            justify="right" if column.is_right else "left",
        )
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    return table


def is_narrow() -> bool:
    """Whether this is a terminal that is too narrow for whole keys in a table.

    A file is as wide as need be.
    """
    return console.is_terminal and console.width < LIST_WIDTH


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]], title: str = ""
) -> None:
    """Print rows with borders, as wide as the terminal is."""
    to = console
    if not console.is_terminal:
        to = Console(width=max(console.width, LIST_WIDTH))
    to.print(make_table(columns, rows, title))


def print_list(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]], width: int
) -> None:
    """Print rows without borders, at least so wide: keys and ids are there to be copied."""
    table = make_table(columns, rows)
    table.box = None
    table.pad_edge = False
    Console(width=max(console.width, width)).print(table)
