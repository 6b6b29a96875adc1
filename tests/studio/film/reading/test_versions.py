"""Mistakes in versions and variables are told with line and suggestion, before anything is paid."""

import pytest

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import read_story, read_storyboard
from prefect_kling.studio.film.reading.version_table import read_versions

GOOD = """\
title: Mug
variables: {product: the mug}
defaults: {duration: 3}
references:
  front: {image: "https://example.com/mug.jpg"}
scenes:
  - title: One
    continuity: last_frame
    shots:
      - {title: A, prompt: "P"}
      - {title: B, prompt: "{{product}} Q"}
  - shots:
      - {title: C, prompt: "R <<<front>>>"}
versions:
  - {name: wide, aspect_ratio: 16:9}
  - {name: tall, aspect_ratio: 9:16}
"""
VERSIONS = GOOD[GOOD.index("versions:") :]
TALL = "aspect_ratio: 9:16"
NO_DEFAULT = ("variables: {product: the mug}\n", "")

MISTAKES = [
    (
        "{{product}} Q",
        "{{prodct}} Q",
        "line 11: scene 1, shot 2, prompt: there is no variable 'prodct'; did you mean 'product'?",
    ),
    (
        "{{product}} Q",
        "{product} Q",
        (
            "line 11: scene 1, shot 2, prompt: {product} is sent as it stands; write {{product}} "
            "for the variable"
        ),
    ),
    (
        *NO_DEFAULT,
        "line 10: scene 1, shot 2, prompt: there is no variable 'product'",
    ),
    (
        TALL,
        "variables: {produkt: a jug}",
        (
            "line 16: version 2, variables, produkt: no text says {{produkt}}; did you mean "
            "'product'?"
        ),
    ),
    (
        TALL,
        'variables: {product: "{{product}}s"}',
        "line 16: version 2, variables, product: a variable has no variables in it",
    ),
    (
        "{product: the mug}",
        "{the product: the mug}",
        (
            "line 2: variables, the product: the name of a variable has letters, digits, - and _; "
            "write 'the-product' for 'the product'"
        ),
    ),
    (
        f", {TALL}",
        "",
        (
            "line 16: version 2: it says nothing that makes it another film; say what it is, as in "
            "`aspect_ratio: 16:9`"
        ),
    ),
    (
        TALL,
        "aspect_ratio: 16:9",
        "line 16: version 2: its film has the same clips as that of 'wide': nothing differs",
    ),
    (
        "name: tall",
        "name: Wide",
        (
            "line 16: version 2, name: 'Wide' is the name of a version already; the folder of a "
            "film is named so"
        ),
    ),
    (
        TALL,
        "without: [D]",
        (
            "line 16: version 2, without 1: there is no shot or scene 'D'; there are 1, 1.1, A, "
            "One, 1.2, B, 2, 2.1, C"
        ),
    ),
    (
        TALL,
        "only: [Ones]",
        "line 16: version 2, only 1: there is no shot or scene 'Ones'; did you mean 'One'?",
    ),
    (
        TALL,
        "without: [1.1]",
        "line 16: version 2, without 1: put a shot's number in quotes, as in '2.1'",
    ),
    (TALL, "without: ['1', C]", "line 16: version 2: it leaves out every shot"),
    (
        TALL,
        "aspect: 9:16",
        "line 16: version 2: there is no field 'aspect'; did you mean 'aspect_ratio'?",
    ),
    (
        VERSIONS,
        "versions: {tall: {}}\n",
        "line 14: versions: this is a list: write a dash before each version, as in `- name: tall`",
    ),
    (
        "title: Mug\n",
        "title: Mug\nonly: [A]\n",
        "line 2: there is no field 'only' here; it belongs to a version",
    ),
    # What is wrong in a version's own film is told where it stands in the story.
    (
        "- {title: C, ",
        "- {duration: 2, title: C, ",
        (
            "line 13: scene 2, shot 1, duration (2): a clip has at least 3 seconds; shorter shots "
            "need a multi_shot scene"
        ),
    ),
    (
        TALL,
        "only: [C], duration: 2",
        (
            "line 13: version 'tall': scene 2, shot 1: duration (2): a clip has at least 3 "
            "seconds; shorter shots need a multi_shot scene"
        ),
    ),
    (
        "<<<front>>>",
        "<<<frnt>>>",
        (
            "line 13: scene 2, shot 1, prompt: there is no reference called 'frnt'; did you mean "
            "'front'?"
        ),
    ),
    (
        TALL,
        f"title: {'x' * 100}, variables: {{product: {'y' * 3000}}}",
        (
            "line 11: version 'tall': scene 1, shot 2, prompt: this has 3002 characters; the most "
            "is 2500"
        ),
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES, ids=[each[2] for each in MISTAKES])
def test_a_mistake_is_told_with_its_line(old: str, new: str, told: str) -> None:
    """One sentence for each, whichever version it is found in."""
    assert old in GOOD
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(GOOD.replace(old, new, 1), "film.yaml")
    assert caught.value.message == f"film.yaml, {told}"


def test_what_is_read_are_the_versions_and_the_films() -> None:
    """The storyboard as it was written; and its films, each with its title."""
    assert [version.name for version in read_storyboard(GOOD).versions] == ["wide", "tall"]
    assert [film.board.title for film in read_story(GOOD).films] == ["Mug: wide", "Mug: tall"]


TEMPLATE = GOOD.replace(VERSIONS, "")


def test_a_table_is_a_film_for_each_row() -> None:
    """Columns are fields of versions, or variables; `x_` is one's own, an empty cell sets nothing.

    What spreadsheets make of `16:9` and `on` is read.
    """
    rows = read_versions(
        "name,product,aspect_ratio,sound,without,x_sku\n"
        'mug,a blue mug,16:09:00,TRUE,"A, C",17\n'
        "jug,,9:16,,,18\n"
    )
    mug, jug = rows.versions
    assert (mug.aspect_ratio, mug.sound, mug.without) == ("16:9", "on", ["A", "C"])
    assert (mug.variables, jug.variables) == ({"product": "a blue mug"}, {})
    films = read_story(TEMPLATE, table=rows).films
    assert [film.board.scenes[0].shots[-1].prompt for film in films] == [
        "a blue mug Q",
        "the mug Q",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "- {name: mug, product: a mug, price: 5}\n- {name: jug, variables: {product: a jug}}\n",
        '[{"name": "mug", "product": "a mug", "price": 5}, {"name": "jug", "product": "a jug"}]',
        '{"name": "mug", "product": "a mug", "price": 5}\n{"name": "jug", "product": "a jug"}\n',
    ],
)
def test_a_list_says_the_same(text: str) -> None:
    """In YAML, JSON and JSON Lines; a number is the text that is meant."""
    mug, jug = read_versions(text).versions
    assert mug.variables == {"product": "a mug", "price": "5"}
    assert jug.variables == {"product": "a jug"}


ROWS = "name,product\nmug,a mug\njug,a jug\n"
WRONG_ROWS = [
    (
        "name,product,sku\nmug,a mug,1\njug,a jug,2\n",
        (
            "rows.csv, line 2: sku: no text says {{sku}}; to carry the column along as one of your "
            "own, call it 'x_sku'"
        ),
    ),
    (
        "name,product,aspect\nmug,a mug,9:16\njug,a jug,1:1\n",
        (
            "rows.csv, line 2: aspect: no text says {{aspect}}; to carry the column along as one "
            "of your own, call it 'x_aspect'; did you mean 'aspect_ratio'?"
        ),
    ),
    (
        "name,product\nmug,a mug\njug,\n",
        (
            "rows.csv, line 3: version 'jug': it gives no variable 'product', and the storyboard "
            "has none of that name under `variables:`"
        ),
    ),
    (
        "name,product\nmug,a mug\njug,a mug\n",
        (
            "rows.csv, line 3: version 'jug': its film has the same clips as that of 'mug': "
            "nothing differs"
        ),
    ),
    (
        "name,product\nmug,a mug\nmug,a jug\n",
        (
            "rows.csv, line 3: version 'mug': name: 'mug' is the name of a version already; the "
            "folder of a film is named so"
        ),
    ),
]


@pytest.mark.parametrize(("rows", "told"), WRONG_ROWS, ids=[each[1] for each in WRONG_ROWS])
def test_a_mistake_of_a_row_is_told_with_its_line_in_the_table(rows: str, told: str) -> None:
    """A column that no text says is told once, and not in each row."""
    template = TEMPLATE.replace(*NO_DEFAULT)
    with pytest.raises(StoryboardInvalid) as caught:
        read_story(template, "film.yaml", table=read_versions(rows, "rows.csv"))
    assert told in caught.value.message.splitlines()
    unused = [line for line in caught.value.message.splitlines() if "no text says" in line]
    assert len(unused) <= 1


def test_a_table_is_no_second_list_of_versions() -> None:
    """One of the two is meant."""
    with pytest.raises(StoryboardInvalid, match="line 14: versions: this storyboard has versions,"):
        read_story(GOOD, table=read_versions(ROWS))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,mode,product\na,8k,b\n,std,c\n", "line 2: mode: '8k' is not possible, only std or"),
        ("name,mode\n,std\n", "line 2: 'name' is missing"),
        ("product\na mug\n", "line 1: there is no column 'product'; there are model, mode"),
        ("name,product\na,b,c\n", "line 2: more cells than the header; a comma wants quotes"),
        ("name,my product\na,b\n", "line 2: my product: the name of a variable has letters"),
        ("name\n", "there is no row in it"),
        ("[1]", "line 1: this is no row; one has fields, as in `{name: mug, product: the blue"),
        (
            "name,product\n" + "".join(f"{n},{n}\n" for n in range(101)),
            "line 102: this has more than 100 rows; make it several tables",
        ),
    ],
)
def test_a_table_that_is_wrong_in_itself_is_told(text: str, told: str) -> None:
    """With line, column and rule."""
    with pytest.raises(TableInvalid) as caught:
        read_versions(text, "rows.csv")
    assert told in caught.value.message


def test_there_are_bounds() -> None:
    """Of versions, and of their shots together: a page and a run hold no more."""
    many = [f"  - {{name: v{n}, variables: {{product: p{n}}}}}\n" for n in range(101)]
    text = TEMPLATE + "versions:\n"
    with pytest.raises(StoryboardInvalid, match="these are 101 versions; the most is 100"):
        read_story(text + "".join(many))
    shots = "".join(f'      - {{prompt: "{{{{product}}}} {n}"}}\n' for n in range(8))
    text = TEMPLATE + shots + "versions:\n" + "".join(many[:100])
    with pytest.raises(StoryboardInvalid, match=r"shots together; the most is 1000: make it"):
        read_story(text)
