"""Bounds on what a person hands in: every text ends soon, in a storyboard or a readable error."""

import json
import pickle
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.table import MOST_REQUESTS, read_requests
from prefect_kling.studio.film.reading.yaml_text import MOST_CHARACTERS, MOST_DEPTH, MOST_NODES
from tests.lane import rest_is_slow

GOOD = "title: T\nscenes:\n  - shots:\n      - prompt: P\n"
SHOT = "      - prompt: P\n"
# Of this process, on a machine that does other things at the same time, and while coverage counts
# lines, which took 6. What grew with the square of its text took more than 25.
MOST_SECONDS = 10
MOST_TOLD = 10_000


def aliases(first: str, each: str, levels: int) -> str:
    """Lines of which each uses the one before several times."""
    names = [f"n{number}" for number in range(levels)]
    lines = [f"{names[0]}: &{names[0]} {first}"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} {each.replace('before', f'*{before}')}")
    return "\n".join(lines)


BOMB = aliases("[x, x]", f"[{', '.join(['before'] * 9)}]", 10)
MERGED = aliases("{x: 1}", "{<<: [before, before]}", 25)
NAMES = "".join(f"  name{number:05}: {{element: 1}}\n" for number in range(3000))
UNKNOWN = "".join(f"          - mane{number:05}x\n" for number in range(3000))


def look(text: str) -> str:
    """A storyboard whose every shot ends with this."""
    return f"title: T\ndefaults:\n  look: '{text}'\nscenes:\n  - shots:\n{SHOT}"


LARGE = {
    "an alias bomb": BOMB,
    "a bomb of merged fields": MERGED,
    "two thousand times five hundred shots": (
        f"title: T\nscenes:\n  - &s\n    shots:\n{SHOT * 500}" + "  - *s\n" * 2000
    ),
    "a megabyte of unknown fields": GOOD + "".join(f"        field_{n}: x\n" for n in range(65000)),
    "as many unknown fields as are read": GOOD
    + "".join(f"        field_{n}: x\n" for n in range(14000)),
    "3,000 unknown names beside 3,000 known ones": (
        f"title: T\nreferences:\n{NAMES}scenes:\n  - shots:\n{SHOT}        references:\n{UNKNOWN}"
    ),
    "signs that begin no name": look("<" * 400_000),
    "signs and letters": look("<a " * 130_000),
    "many names in a text": look("<<<ab>>>" * 50_000),
    "a long name": GOOD.replace("P", f"P\n        references: [{'a' * 400_000}]"),
    "many numbers in JSON": '{"title": [' + "1," * 480_000 + "1]}",
    "deep JSON": '{"a":' * 100_000,
    "deep brackets": "[" * 400_000,
    "deep dashes": "- " * 200_000,
    "an empty line in an open quote": "title: '" + "a\n\n" * 100_000,
}


# Each of these takes seconds.
LONGEST = {
    "3,000 unknown names beside 3,000 known ones",
    "as many unknown fields as are read",
    "many names in a text",
}


@pytest.mark.parametrize("name", rest_is_slow(LARGE, *LARGE.keys() - LONGEST))
def test_a_large_storyboard_is_refused_soon_and_in_few_words(name: str) -> None:
    """Whatever is handed in, reading is linear in it, and the error can be read by a person."""
    begun = time.process_time()
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(LARGE[name])
    assert time.process_time() - begun < MOST_SECONDS
    assert len(str(caught.value)) < MOST_TOLD


TABLES = {
    "660,000 rows": "prompt,duration\n" + "A lamp,5\n" * 660_000,
    "a YAML list of 3.8 MB": "- {prompt: A lamp on a table, duration: 5}\n" * 90_000,
    "a bomb in a request": "- prompt: P\n  extra:\n" + "    ".join(("\n" + BOMB).splitlines(True)),
    "nine thousand wrong rows": "prompt,duration\n" + "A,99\n" * 9000,
    "a wide header": "," * 500_000,
    "a huge cell": f"prompt\n{'x' * 200_000}\n",
    "deep JSON": '{"a":' * 100_000,
    "many inputs": "- {prompt: A, image_list: [" + "x," * 14_000 + "x]}",
}


@pytest.mark.parametrize(
    "name", rest_is_slow(TABLES, *TABLES.keys() - {"nine thousand wrong rows"})
)
def test_a_large_table_is_refused_soon_and_in_few_words(name: str) -> None:
    """As a table, whichever kind of text it is."""
    begun = time.process_time()
    with pytest.raises(TableInvalid) as caught:
        read_requests(TABLES[name])
    assert time.process_time() - begun < MOST_SECONDS
    assert len(str(caught.value)) < MOST_TOLD


@pytest.mark.slow
def test_what_people_write_is_within_the_bounds() -> None:
    """A thousand shots with five fields each are read, and so is the largest table."""
    shot = "      - {prompt: A boat leaves, duration: 5, mode: pro, look: film, title: A}\n"
    board = read_storyboard(f"title: T\nscenes:\n  - shots:\n{shot * 1000}")
    assert len(board.scenes[0].shots) == 1000
    assert len(read_requests("prompt\n" + "A\n" * MOST_REQUESTS)) == MOST_REQUESTS


def test_a_film_has_a_thousand_shots_at_most() -> None:
    """One more is told in a sentence, before anything is planned."""
    shot = "      - {prompt: A boat leaves}\n"
    with pytest.raises(StoryboardInvalid, match="has 1001 shots; the most is 1000"):
        read_storyboard(f"title: T\nscenes:\n  - shots:\n{shot * 1001}")


@pytest.mark.parametrize("model", ["kling-v3-omny", "", "kling\u202ev3", "v3"])
def test_a_model_that_is_none_is_told_with_those_there_are(model: str) -> None:
    """In tables and in storyboards."""
    with pytest.raises(TableInvalid) as table:
        read_requests(f'[{{"prompt": "A", "model": "{model}"}}]')
    with pytest.raises(StoryboardInvalid) as board:
        read_storyboard(f'{GOOD}defaults: {{model: "{model}"}}\n')
    for caught in (table, board):
        assert "kling-v3-omni" in caught.value.message


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"title: {'x' * MOST_CHARACTERS}", "too_long_text"),
        pytest.param(f"title: [{'1,' * MOST_NODES}]", "too_many_parts", marks=pytest.mark.slow),
        (f"title: {'[' * MOST_DEPTH}{']' * MOST_DEPTH}", "too_deep"),
        ("title: &t [*t]", "contains_itself"),
        ("title: !!timestamp x", "begins_with"),
        ("title: !!bool x", "begins_with"),
        (f"title: {'9' * 4400}", "too_many_digits"),
        (f'{{"title": {"9" * 4400}}}', "too_many_digits"),
        ('title: "\\UFFFFFFFF"', "escape"),
        ('title: "\\U00110000"', "escape"),
        ('title: "\\ud800"', "half_character"),
        ('{"title": "\\ud800"}', "half_character"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_what_no_text_may_hold_is_a_mistake_of_its_own(text: str, rule: str) -> None:
    """Python's own errors never get out, and the mistake is a fact."""
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(text)
    rules = [mistake.rule for mistake in caught.value.mistakes]
    assert rule in rules
    str(caught.value).encode()
    with pytest.raises(TableInvalid):
        read_requests(f"- {text}" if text[0] != "{" else text)


def test_all_mistakes_are_facts_and_twenty_are_told() -> None:
    """A program sees each with place, value and line; a person reads as many as are of use."""
    shots = "".join(f"      - {{prompt: P, duration: {99 + n}}}\n" for n in range(30))
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(f"title: T\nscenes:\n  - shots:\n{shots}", "film.yaml")
    mistakes = caught.value.mistakes
    assert [(each.line, each.value, each.limit) for each in mistakes] == [
        (4 + n, 99 + n, 15) for n in range(30)
    ]
    assert mistakes[7].place == ("scenes", 0, "shots", 7, "duration")
    lines = caught.value.message.splitlines()
    assert lines == [*(str(each) for each in mistakes[:20]), "and 10 more, in lines 24 to 33"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.mistakes, str(again)) == (mistakes, str(caught.value))


def test_the_choices_of_a_mistake_are_those_of_the_field() -> None:
    """They are taken from the model, for storyboards and tables alike."""
    with pytest.raises(StoryboardInvalid) as board:
        read_storyboard(f"{GOOD}defaults: {{mode: 1080p}}\n")
    with pytest.raises(TableInvalid) as table:
        read_requests("prompt,mode\nA,1080p\n", "mugs.csv")
    for caught in (board, table):
        (mistake,) = caught.value.mistakes
        assert (mistake.rule, mistake.value, mistake.limit) == ("choice", "1080p", ("std", "pro"))
    assert table.value.message.startswith("mugs.csv, line 2: mode: '1080p' is not possible, only ")


FIELDS = ("title", "scenes", "shots", "prompt", "duration", "references", "image", "look", "extra")
SIGNS = ("<<", "!", "!!timestamp x", "&a x", "*a", "'", '"', "<<<a>>>", "@a", "https://[::1", "- a")
ODD = ("~", "", "9" * 30, "\ud800", "\x00", "\u2028", "2024-01-01", "16:9", "1e999", "[")
WORDS = st.sampled_from([*FIELDS, *SIGNS, *ODD])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.one_of(
    VALUES.map(json.dumps),
    VALUES.map(lambda value: f"title: T\nscenes: {json.dumps(value)}\n"),
    VALUES.map(lambda value: f"{GOOD}references: {json.dumps(value)}\n"),
    VALUES.map(lambda value: f"- {json.dumps(value)}\n"),
    st.lists(WORDS | st.sampled_from([": ", "\n", "\n  - ", ",", "{", "}", "]", "#"])).map("".join),
    st.tuples(st.integers(0, len(GOOD)), WORDS).map(
        lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] :]
    ),
    st.text(),
)


@pytest.mark.parametrize(
    ("read", "error"),
    [(read_storyboard, StoryboardInvalid), (read_requests, TableInvalid)],
    ids=["storyboard", "table"],
)
@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_readers_raise_only_their_own_errors(
    read: Callable[[str], object], error: type[Exception], text: str
) -> None:
    """Any text is read, or refused in words that can be written down."""
    told = ""
    try:
        read(text)
    except error as caught:
        told = str(caught)
    assert len(told.encode()) < 2 * MOST_TOLD
