"""Mutated storyboards and tables, read as a person's texts are read; nothing is sent."""

import random

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.reading.table import read_requests
from tests.fuzz.report import Report

BOARDS = [
    "title: T\nscenes:\n  - shots:\n      - prompt: A lamp\n      - prompt: 'It goes' # out\n",
    '{"title": "T", "scenes": [{"shots": [{"prompt": "A lamp"}, {"prompt": "It goes"}]}]}',
    "title: &t T\nscenes:\n  - &s {shots: [{prompt: *t}]}\n  - *s\n  - *s\n",
]
TABLES = [
    'model,prompt,duration\nkling-v3-omni,"A lamp, lit",5\nkling-v3-omni,A door,5\n',
    "model;prompt\nkling-v3-omni;A lamp\n",
    "model\tprompt\nkling-v3-omni\tA lamp\n",
    '[{"model": "kling-v3-omni", "prompt": "A lamp"}]',
    '{"model": "kling-v3-omni", "prompt": "A lamp"}\n{"model": "kling-v3-omni", "prompt": "x"}\n',
]
PIECES = [
    "\x00", "\x1b[2J", "\ufeff", "\ud800", "\u202e", "\u2028", "\r", "\r\n", "\n", "\t", "  ", '"',
    "'", ",", ";", "#", " #", "---\n", "...\n", "&a ", "*a", "*t", "<<: *s", "!!python/object ",
    "!!binary ", "? ", "- ", ": ", "|\n", ">\n", "[", "]", "{", "}", "%YAML 9.9\n", "=1+1", "null",
    "NaN", "-1", "1e999", "9" * 5000, "0x" + "f" * 5000, "2026-99-99", "12:30:45", "a" * 4000,
    "[" * 3000, "{a: " * 300, '{"a":' * 3000, "- " * 3000, "\\", "${HOME}", "../../etc/passwd",
    "https://[::1", "http://r2.test/a.png", "🎬", "prompt", "shots:\n", "title: x\n",
]  # fmt: skip


def mutated(text: str, chance: random.Random) -> str:
    """Return a text of which some places are gone, doubled, or hold something else."""
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 0, 1, 3, 20]))
        piece = chance.choice(PIECES)
        if chance.random() < 0.2:
            piece = text[start:end] * chance.choice([2, 3, 50])
        text = text[:start] + piece + text[end:]
    return text


def fuzz_storyboards(cases: int, first_seed: int = 0) -> Report:
    """Read so many mutated storyboards; the same seeds give the same texts."""
    report = Report("storyboards")
    for seed in range(first_seed, first_seed + cases):
        chance = random.Random(seed)
        text = mutated(chance.choice(BOARDS), chance)
        with report.case(str(seed)):
            try:
                read_storyboard(text)
            except StoryboardInvalid as error:
                str(error).encode()
    return report


def fuzz_tables(cases: int, first_seed: int = 0) -> Report:
    """Read so many mutated tables and lists; the same seeds give the same texts."""
    report = Report("tables")
    for seed in range(first_seed, first_seed + cases):
        chance = random.Random(seed)
        text = mutated(chance.choice(TABLES), chance)
        with report.case(str(seed)):
            try:
                read_requests(text)
            except TableInvalid as error:
                str(error).encode()
    return report
