"""Read YAML and JSON texts as editors do, with syntax errors in plain words, and lines of places.

PyYAML reads YAML 1.1, in which `16:9` is a number of minutes, `on` is true and a day is no text.
Editors read YAML 1.2, in which all of these are texts. So does this module.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.storyboard import Place

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": (r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)$", list("-+0123456789")),
    "float": (
        r"([-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
    "merge": (r"<<$", ["<"]),
}


class TextInvalid(Exception):
    """A text is no YAML or JSON. `problem` says why; `line` is counted from 1, None if unknown."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line

    def in_words(self, name: str) -> str:
        """Return the problem with the name of the text and the line."""
        if self.line is None:
            return f"{name}: {self.problem}"
        return f"{name}, line {self.line}: {self.problem}"


class _Loader(yaml.SafeLoader):
    """The core of YAML 1.2, merge keys, and no key twice; keys are texts as they are written."""

    # PyYAML looks resolvers up in this attribute of the class.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line
            if not isinstance(key, yaml.ScalarNode):
                raise TextInvalid("a text that begins with { or [ must stand in quotes", line + 1)
            if key.value in lines:
                first = lines[key.value] + 1
                problem = f"{key.value!r} is given twice; the first time in line {first}"
                raise TextInvalid(problem, line + 1)
            lines[key.value] = line
            if key.tag != f"{_TAG}merge":
                key.tag = f"{_TAG}str"
        return node


for _kind, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(_pattern), _first)


@dataclass(frozen=True)
class Document:
    """What a text says, and where it says it. Lines are counted from 1."""

    data: Any
    tree: yaml.Node | None

    def position(self, place: Place) -> tuple[int, int]:
        """Return line and column of the deepest part of a place that is there."""
        mark, _, _ = self._walk(place)
        if mark is None:
            return 1, 0
        return mark.line + 1, mark.column

    def has(self, place: Place) -> bool:
        """Whether all of a place is there."""
        _, _, depth = self._walk(place)
        return depth == len(place)

    def in_braces(self, place: Place) -> bool:
        """Whether the fields of a place stand in `{ }`."""
        _, node, _ = self._walk(place)
        return isinstance(node, yaml.MappingNode) and bool(node.flow_style)

    def empty(self) -> Iterator[tuple[Place, Place | None]]:
        """Yield the places after whose name nothing is written.

        Each comes with the place that follows it, or None.
        """
        yield from _empty(self.tree, (), ())

    def _walk(self, place: Place) -> tuple[yaml.Mark | None, yaml.Node | None, int]:
        """Return mark, node and depth of the deepest part of a place that is there."""
        node = self.tree
        mark = None
        if node is not None:
            mark = node.start_mark
        for depth, step in enumerate(place):
            found = _child(node, step)
            if found is None:
                return mark, node, depth
            mark, node = found
        return mark, node, len(place)


def _child(node: yaml.Node | None, step: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # Merged fields stand before a mapping's own fields, and its own count.
        for key, value in reversed(node.value):
            if key.value == step:
                return key.start_mark, value
        return None
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None


def _empty(
    node: yaml.Node | None, place: Place, inside: tuple[int, ...]
) -> Iterator[tuple[Place, Place | None]]:
    # A document may contain itself.
    if id(node) in inside:
        return

    steps: list[tuple[int | str, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        steps = [(key.value, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        steps = list(enumerate(node.value))

    for number, (step, value) in enumerate(steps, 1):
        if isinstance(value, yaml.ScalarNode) and value.tag == f"{_TAG}null" and not value.value:
            following: Place | None = None
            if number < len(steps):
                following = (*place, steps[number][0])
            yield (*place, step), following
        yield from _empty(value, (*place, step), (*inside, id(node)))


def parse(text: str, name: str) -> Document:
    """Read the YAML or JSON text of a storyboard.

    Raises `StoryboardInvalid` with the name, the line and the mistake in plain words.
    """
    try:
        return read_text(text, name)
    except TextInvalid as error:
        raise StoryboardInvalid(error.in_words(name)) from None


def read_text(text: str, name: str) -> Document:
    """Read any YAML or JSON text; the ending of the name may tell which. Raises `TextInvalid`."""
    try:
        if _is_json(text, name):
            return _parse_json(text)
        return _parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line, problem = _explain(error, text.splitlines())
        raise TextInvalid(problem, line + 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character U+{error.character:04X} cannot stand in a text; remove it"
        raise TextInvalid(problem, line) from None
    except RecursionError:
        raise TextInvalid("lists or fields stand too deep inside each other") from None
    except (yaml.YAMLError, ValueError) as error:
        raise TextInvalid(str(error)) from None


def _is_json(text: str, name: str) -> bool:
    if name.endswith(".json"):
        return True
    if name.endswith((".yaml", ".yml")):
        return False
    return text.lstrip().startswith("{")


def _parse_json(text: str) -> Document:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise TextInvalid(f"this is no JSON: {error.msg}", error.lineno) from None
    # JSON may be indented with tabs, which YAML forbids.
    return Document(data, yaml.compose(text.replace("\t", " "), Loader=_Loader))


def _parse_yaml(text: str) -> Document:
    loader = _Loader(text)
    try:
        tree = loader.get_single_node()
        if tree is None:
            return Document(None, None)
        return Document(loader.construct_document(tree), tree)
    finally:
        loader.dispose()


_INDENTED = "this line is indented differently from the lines it belongs to"
_QUOTES = "must stand in quotes"
# What PyYAML says, and what it means to somebody who writes a storyboard.
_MEANINGS = {
    "but found '<scalar>'": (
        "a text goes on after its closing quote; inside 'quotes' write '' for an apostrophe"
    ),
    "<stream end>": "a bracket is opened and never closed",
    "expected <block end>": f"{_INDENTED}, or it lacks a dash in front",
    "expected ',' or ']'": "a comma or the closing ] is missing",
    "expected ',' or '}'": "a comma or the closing } is missing",
    "unknown escape character": (
        "inside \"double quotes\" a \\ has a meaning of its own; use 'single quotes'"
    ),
    "found undefined alias": f"a text that begins with * {_QUOTES}",
    "while scanning an alias": f"a text that begins with * {_QUOTES}",
    "while scanning an anchor": f"a text that begins with & {_QUOTES}",
    "while scanning a directive": f"a text that begins with % {_QUOTES}",
    "while scanning a block scalar": (
        f"a text that begins with > or | {_QUOTES}, or begins in the next line"
    ),
    "sequence entries are not allowed": "a dash that begins a list stands in a line of its own",
    "expected the node content": "something is missing here, or a sign such as , : ] } is too many",
    "<document start>": (
        "this line does not belong to what stands above it; look at how far it is indented"
    ),
    "could not determine a constructor for the tag": f"a text that begins with ! {_QUOTES}",
    "expected a single document": "a line `---` begins a second document here; only one can be read",
    "for merging": "<<: takes the fields of a part that is marked with &, as in `<<: *night`",
}


def _explain(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, str]:
    """Return the line, counted from 0, and what is wrong with it."""
    begun = error.context_mark
    mark = error.problem_mark or begun
    at = 0
    column = 0
    if mark is not None:
        at = mark.line
        column = mark.column

    line = ""
    if at < len(lines):
        line = lines[at]
    indent = line[: len(line) - len(line.lstrip())]
    before = line[:column].rstrip()
    problem = f"{error.context} {error.problem}"

    if "\t" in indent:
        return at, "this line is indented with a tab; use spaces"
    if begun and "quoted scalar" in problem and "unexpected end of stream" in problem:
        return begun.line, "a quote is opened here and never closed"
    if begun and "could not find expected ':'" in problem:
        told = "a colon and a space are missing after a field's name, as in `duration: 5`"
        return begun.line, told
    if "mapping values are not allowed" in problem:
        return at, _explain_colon(before)
    if before.endswith(("]", "}")) and "<block end>" in problem:
        return at, f"a text that begins with [ or {{ {_QUOTES}"

    found = re.search(r"found character '(.+)' that cannot start", problem)
    if found is not None:
        return at, f"a text that begins with {found[1]} {_QUOTES}"

    for words, told in _MEANINGS.items():
        if words in problem:
            return at, told
    return at, error.problem or str(error)


def _explain_colon(before: str) -> str:
    """Return what a colon in the wrong place means, by what stands before it in its line."""
    if re.search(r":(\s|$)", before):
        example = "`prompt: 'Wide shot: a boat'`"
        return f"a text that contains a colon must stand in quotes, as in {example}"
    above = f"if it goes on with the text above, that text contains a colon and {_QUOTES}"
    return f"{_INDENTED} ({above})"
