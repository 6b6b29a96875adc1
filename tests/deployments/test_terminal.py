"""A text from others is printed as that text: no markup, no control codes."""

import io

import pytest
from rich.console import Console

from prefect_kling.deployments.cli.terminal import Column, Styled, make_table, say
from prefect_kling.kling.server_words import one_line
from tests.telemetry.test_markdown import HOSTILE

TEXTS = [*HOSTILE, "[bold]x[/] [/nothing] [link=https://evil.example]y[/link]", "trailing \\"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_printed_and_nothing_else_happens(text: str) -> None:
    """In a line, with a style, in a table and in its title."""
    file = io.StringIO()
    to = Console(file=file, width=4000, force_terminal=True, color_system=None)
    say(text, Styled(text, "bold"), to=to)
    to.print(make_table([Column("a")], [[text], [Styled(text, "red")]], title=text))
    printed = file.getvalue().replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[3m", "")
    assert "\x1b" not in printed.replace("\x1b[0m", "")
    assert "\r" not in printed
    assert "\x07" not in printed
    for word in text.split():
        if word.isascii() and word.isprintable():
            assert printed.count(word) >= 5


def test_a_text_cannot_add_a_line() -> None:
    """Where each line means something."""
    assert one_line("a\nstate: archived\r\n") == "a state: archived"
