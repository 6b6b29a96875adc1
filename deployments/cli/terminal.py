"""All that the command line prints.

A text from others stays a text: no markup, no control codes.
"""

import codecs
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel
from rich.console import Console
from rich.measure import Measurement
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from prefect_kling.deployments.cli.exit_codes import BROKEN_PIPE
from prefect_kling.kling.server_words import printable

LIST_WIDTH = 150
SHORT_KEY = 8
"""Digits of a clip key that are shown where there is little room. Commands take them."""
_PLAIN = {"…": "...", "→": "->", "½": "1/2"}
_LOSSY = "prefect_kling.plain"
_ANY_WIDTH = 10_000

AsJson = Annotated[bool, Parameter(name="--json", negative="")]


class Refused(RuntimeError):
    """A person was asked and said no, or nobody could be asked."""


class _Console(Console):
    """A console that says by its exit code that nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """End the command; rich has made sure that nothing more is written."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(BROKEN_PIPE) from None


console = _Console()
errors = _Console(stderr=True)


def facts(*, as_json: bool) -> Console:
    """Return where words for people go: away from stdout where that is for a program."""
    return errors if as_json else console


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace what an output cannot encode, for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in missing), error.end


def accept_every_text() -> None:
    """Let stdout and stderr take every text, whatever their encoding: no command fails by it."""
    codecs.register_error(_LOSSY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_LOSSY)


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


def print_json(document: BaseModel | dict[str, Any], *, in_one_line: bool = False) -> None:
    """Print a document on stdout; amounts are texts. `in_one_line` is for JSON Lines."""
    if isinstance(document, BaseModel):
        document = document.model_dump(mode="json")
    encoding = (sys.stdout.encoding or "").lower()
    written: dict[str, Any] = {
        "ensure_ascii": not encoding.startswith("utf"),
        "indent": None if in_one_line else 1,
    }
    text = json.dumps(document, **written)
    print(printable(text), flush=True)


def print_text(text: str) -> None:
    """Print a text of ours as it is, for a program."""
    print(text, end="" if text.endswith("\n") else "\n", flush=True)


def confirm(question: str, next_step: str, to: Console = console) -> bool:
    """Ask a person. Raises `Refused` with the next step where there is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise Refused(f"there is no terminal to ask on: {question} {next_step}")
    try:
        return Confirm.ask(question, console=to, default=False)
    except EOFError:
        return False


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


def short_key(key: str) -> str:
    """Return a clip key as there is room for it: a file is as wide as need be."""
    if console.is_terminal and console.width < LIST_WIDTH:
        return key[:SHORT_KEY]
    return key


def print_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str | Styled]],
    title: str = "",
    to: Console = console,
) -> None:
    """Print rows with borders; where there is no room for them, each row as lines of its own."""
    every = list(rows)
    table = make_table(columns, every, title)
    if not to.is_terminal:
        to = _Console(stderr=to.stderr, width=max(to.width, LIST_WIDTH))
    if not _fits(table, to):
        if title:
            say(Styled(title, "bold"), to=to)
        _print_rows(columns, every, to)
        return
    to.print(table)


def print_list(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]], width: int
) -> None:
    """Print rows without borders. Keys and ids are there to be copied: they are never broken.

    A file is at least so wide. In a terminal without room, each row gets lines of its own.
    """
    every = list(rows)
    table = make_table(columns, every)
    table.box = None
    table.pad_edge = False
    if not console.is_terminal:
        _Console(width=max(console.width, width)).print(table)
    elif _fits(table, console):
        console.print(table)
    else:
        _print_rows(columns, every, console)


def _fits(table: Table, to: Console) -> bool:
    """Whether no word of the table must be broken."""
    # Rich would measure it as it is once its words are broken.
    options = to.options.update(max_width=_ANY_WIDTH)
    return Measurement.get(to, options, table).minimum <= to.width


def _print_rows(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]], to: Console
) -> None:
    """Print the first cell of each row on a line, and below it the others that say something."""
    for row in rows:
        first, *others = row
        say(first, to=to)
        for column, cell in zip(columns[1:], others, strict=True):
            if shown(cell).plain:
                say(f"  {column.heading}: ", cell, to=to)
