"""Mistakes are facts; every rule that the code names has words, and only one file words it."""

import ast
from pathlib import Path

from prefect_kling.studio.film import mistakes
from prefect_kling.studio.film.mistakes import Mistake, describe
from prefect_kling.studio.film.reading import fields, yaml_text

FILM = Path(mistakes.__file__).parent
MAKERS = {"Mistake", "ShotInvalid", "_refused"}


def rules_named() -> set[str]:
    """The rules of all mistakes that the code makes."""
    named = {rule for rule, _ in yaml_text._MEANINGS.values()}
    named |= set(fields._RULES.values())
    named |= {rule for rule, _ in fields._LIMITS.values()}
    named |= set(fields._TEXTS.values())
    for path in FILM.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                not isinstance(call, ast.Call)
                or not isinstance(call.func, ast.Name)
                or not call.args
            ):
                continue
            rule = call.args[0]
            if call.func.id in MAKERS and isinstance(rule, ast.Constant):
                named.add(str(rule.value))
    return named


def test_every_rule_has_words() -> None:
    """A rule without words would end in Python's own error."""
    assert len(rules_named()) > 50
    assert rules_named() - set(mistakes._WORDS) == set()


def test_all_words_have_a_rule() -> None:
    """A rule that is renamed or gone must not leave its words behind."""
    written = set()
    for path in FILM.rglob("*.py"):
        if path == Path(mistakes.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant):
                written.add(node.value)
    assert set(mistakes._WORDS) - written == {"api_rule_in_shot"}


def test_a_choice_is_found_in_any_spelling() -> None:
    """Capitals do not hide what was meant, and the name is shown as it must be written."""
    mistake = Mistake("no_character", value="LINA", limit=("Lina", "Otto"))
    assert describe(mistake) == "there is no character called 'LINA'; did you mean 'Lina'?"


def test_a_sentence_begins_with_document_line_and_part() -> None:
    """As far as they are known; a field that is not in the document stands behind a colon."""
    mistake = Mistake("clip_too_short", ("shots", 1), "duration", value=2, limit=3)
    words = "a clip has at least 3 seconds; shorter shots need a multi_shot scene"
    assert describe(mistake) == f"shot 2: duration (2): {words}"
    found = mistake.within(("scenes", 0))
    assert describe(found) == f"scene 1, shot 2: duration (2): {words}"
    told = Mistake(**(vars(found) | {"document": "film.yaml", "line": 7, "is_written": True}))
    assert describe(told) == f"film.yaml, line 7: scene 1, shot 2, duration (2): {words}"


def test_a_sentence_has_an_end() -> None:
    """Whatever somebody wrote, it is shown as far as it can be recognised."""
    mistake = Mistake("no_reference", ("x" * 999,), value="y" * 999, limit=("z" * 999,) * 999)
    assert len(describe(mistake)) <= mistakes.MOST_CHARACTERS
