"""A text that a YAML comment cuts is told before it is paid."""

import pytest

from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.table import read_requests
from prefect_kling.telemetry.film_page import quote_page

CUT = """\
title: Cup final #3
characters:
  keeper:
    description: A man in shirt #1, thirty
scenes:
  - look: Colour #ff8800, grain
    shots:
      - prompt: The goalkeeper dives #1
      - {prompt: She waits, title: Wait}  # said later
      - prompt: The wall is painted
          in two colours #ff0000 and green
"""


def notes(text: str) -> list[str]:
    """What the plan of a storyboard tells."""
    return plan_film(read_storyboard(text)).notes


def test_each_cut_text_is_told_with_line_field_and_what_is_lost() -> None:
    """Titles, prompts, looks and descriptions, wherever they stand."""
    told = notes(CUT)
    assert [each.partition(" ends")[0] for each in told] == [
        "line 1: the title",
        "line 4: the description",
        "line 6: the look",
        "line 8: the prompt",
        "line 11: the prompt",
    ]
    assert "`#1, thirty`" in told[1]
    assert all("in quotes" in each for each in told)


@pytest.mark.parametrize(
    "line",
    [
        "prompt: 'Shirt #1 dives'",
        'prompt: "Shirt #1 dives"  # a real comment',
        "prompt: Shirt#1 dives",
        "prompt: >\n          Shirt #1 dives",
        "prompt: A lamp\n        # a comment of its own line",
        "prompt: A lamp\n        duration: 5 # seconds",
        "prompt: A lamp\n        mode: pro # sharp",
    ],
)
def test_what_loses_nothing_is_not_told(line: str) -> None:
    """Quotes and blocks keep all of a text, and a comment on a number or a choice is a comment."""
    assert notes(f"title: T\nscenes:\n  - shots:\n      - {line}\n") == []


def test_a_part_that_is_used_twice_is_told_once() -> None:
    """An alias adds no second sentence, and a document that contains itself has an end."""
    text = "title: T\nscenes:\n  - &one\n    shots:\n      - prompt: A #1\n  - *one\n"
    assert len(notes(text)) == 1


async def test_a_quote_and_its_page_show_it() -> None:
    """Whoever decides about the price reads it; one scene's plan tells it, too."""
    plan = plan_film(read_storyboard(CUT))
    quote = await quote_film(plan, None)
    assert "line 8: the prompt ends before" in quote_page(quote)
    assert plan.only(1).notes[:5] == plan.notes[:5]


def test_a_table_with_a_cut_prompt_is_refused() -> None:
    """A batch is paid without a quote, so nothing in it is sent."""
    text = "- prompt: A lamp\n- prompt: Shirt #1 dives\n"
    with pytest.raises(TableInvalid, match="line 2: the prompt ends before `#1 dives`"):
        read_requests(text)
    assert len(read_requests(text.replace("Shirt #1 dives", "'Shirt #1 dives'"))) == 2


def test_all_cut_prompts_of_a_table_are_told() -> None:
    """Each with its line, and as a fact."""
    text = "- prompt: A lamp #1\n- prompt: Shirt #1 dives\n"
    with pytest.raises(TableInvalid) as caught:
        read_requests(text, "mugs.yaml")
    assert [(each.rule, each.line, each.value) for each in caught.value.mistakes] == [
        ("cut_text", 1, "#1"),
        ("cut_text", 2, "#1 dives"),
    ]
