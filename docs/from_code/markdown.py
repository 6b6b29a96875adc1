"""Markdown as the reference is written in: cells, tables, and docstrings in parts."""

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from griffe import Docstring, DocstringSectionKind


def cell(text: object) -> str:
    """Return a text as the cell of a table: in one line, its bars escaped."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(text: object) -> str:
    """Return a text as code in a line; nothing for an empty one."""
    if text == "":
        return ""
    return f"`{text}`"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, with an empty line after it."""
    lines = [_row(headings), _row(["---"] * len(headings))]
    lines += [_row(row) for row in rows]
    return "\n".join([*lines, "", ""])


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"


@dataclass
class Told:
    """What a docstring says: its text, and its words for each parameter."""

    text: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first paragraph, in one line."""
        return " ".join(self.text.partition("\n\n")[0].split())


def told(thing: object) -> Told:
    """Return what a thing's own docstring says."""
    return read_docstring(own_docstring(thing))


def read_docstring(docstring: str) -> Told:
    """Return what a docstring says. Its examples are part of the text."""
    found = Told()
    texts = []
    # The types stand in the signature; griffe would miss them in the docstring.
    for section in Docstring(docstring).parse("google", warnings=False):
        if section.kind is DocstringSectionKind.parameters:
            for each in section.value:
                found.parameters[each.name] = " ".join(each.description.split())
        elif section.kind is DocstringSectionKind.text:
            texts.append(section.value)
        elif section.kind is DocstringSectionKind.admonition:
            texts.append(f"{section.title}: {_dedented(section.value.contents)}")
        else:
            raise ValueError(f"a docstring has a section of {section.kind.value}: {docstring}")
    found.text = _in_markdown("\n\n".join(texts))
    return found


def own_docstring(thing: object) -> str:
    """Return the docstring that a thing has itself; inherited ones speak of something else."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def _dedented(text: str) -> str:
    return inspect.cleandoc(text)


def _in_markdown(text: str) -> str:
    """Put an empty line before a fence: docstrings write it right below its sentence."""
    return re.sub(r"(?<!\n)\n(```\w)", r"\n\n\1", text)
