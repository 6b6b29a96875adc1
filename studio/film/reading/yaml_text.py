"""Read YAML and JSON texts as editors do, with syntax errors in plain words, and lines of places.

PyYAML reads YAML 1.1, in which `16:9` is a number of minutes, `on` is true and a day is no text.
Editors read YAML 1.2, in which all of these are texts. So does this module.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.plain_text import TextInvalid, unwrapped
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


MOST_CHARACTERS = 1_000_000
"""Of a text. A film of a thousand shots has a tenth of it."""
MOST_NODES = 30_000
"""Fields and values of a text, each alias counted as all that it stands for."""
MOST_DEPTH = 50
"""Of lists and fields inside each other; a storyboard needs seven."""
_MOST_DIGITS = 30


def _refused(
    rule: str, line: int | None = None, value: object = None, limit: object = None
) -> TextInvalid:
    return TextInvalid(Mistake(rule, line=line, value=value, limit=limit))


class _Loader(yaml.SafeLoader):
    """The core of YAML 1.2, merge keys, and no key twice; keys are texts as they are written."""

    # PyYAML looks resolvers up in this attribute of the class.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Compose a node within the budgets. An alias costs as much as what it stands for."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _refused("contains_itself", line)
            self._count(self._sizes[id(node)], line)
            return node

        if event.tag not in (None, "!", f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map"):
            raise _refused("begins_with", line, "!")
        if self._depth >= MOST_DEPTH:
            raise _refused("too_deep", line)
        before = self._nodes
        self._count(1, line)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self._nodes - before
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number. Python reads none of thousands of digits, and nobody means one."""
        if len(node.value) > _MOST_DIGITS:
            raise _refused("too_many_digits", node.start_mark.line + 1, node.value)
        return int(node.value)

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise _refused("too_many_parts", line, limit=MOST_NODES)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose fields. Refuses names that are no texts, and names that are given twice."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("begins_with", line, "{ or [")
            if key.value in lines:
                raise _refused("twice", line, key.value, lines[key.value])
            lines[key.value] = line
            if key.tag != f"{_TAG}merge":
                key.tag = f"{_TAG}str"
        return node


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
for _kind, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(_pattern), _first)


@dataclass(frozen=True)
class Document:
    """What a text says, and where it says it. Lines are counted from 1."""

    data: Any
    tree: yaml.Node | None
    _children: dict[int, dict[int | str, tuple[yaml.Mark, yaml.Node]]] = field(default_factory=dict)

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

    def is_empty(self, place: Place) -> bool:
        """Whether nothing is written at a place, or null."""
        _, node, depth = self._walk(place)
        return depth == len(place) and node is not None and node.tag == f"{_TAG}null"

    def in_braces(self, place: Place) -> bool:
        """Whether the fields of a place stand in `{ }`."""
        _, node, _ = self._walk(place)
        return isinstance(node, yaml.MappingNode) and bool(node.flow_style)

    def empty(self) -> Iterator[tuple[Place, Place | None]]:
        """Yield the places after whose name nothing is written.

        Each comes with the place that follows it, or None.
        """
        yield from _empty(self.tree, ())

    def located(self, mistakes: Iterable[Mistake], name: str) -> list[Mistake]:
        """Return mistakes with their lines, in the order of the document.

        The same mistake at the same position is in the list once.
        """
        found: dict[tuple[object, ...], Mistake] = {}
        for mistake in mistakes:
            place = mistake.place
            is_written = False
            if mistake.field:
                place = (*place, mistake.field)
                is_written = self.has(place)
                # A version may have set it. What has no value is set nowhere.
                is_inherited = not is_written and mistake.value is not None
                if is_inherited and not mistake.version:
                    place = self._inherited(place)
            position = self.position(place)
            what = mistake.value
            if not isinstance(what, str):
                what = None
            rule = mistake.broken and mistake.broken.rule
            key = (*position, mistake.rule, mistake.field, what or "", rule or "")
            if key not in found:
                found[key] = replace(
                    mistake, line=position[0], document=name, is_written=is_written
                )
        return [found[key] for key in sorted(found, key=lambda key: key[:2])]

    def _inherited(self, place: Place) -> Place:
        """Return where a field of a shot is set, if its scene or the defaults do."""
        *above, field = place
        if above[:1] == ["scenes"]:
            for setter in ((*above[:2], field), ("defaults", field)):
                if self.has(setter):
                    return setter
        return place

    def _walk(self, place: Place) -> tuple[yaml.Mark | None, yaml.Node | None, int]:
        """Return mark, node and depth of the deepest part of a place that is there."""
        node = self.tree
        mark = None
        if node is not None:
            mark = node.start_mark
        for depth, step in enumerate(place):
            found = self._below(node).get(step)
            if found is None:
                return mark, node, depth
            mark, node = found
        return mark, node, len(place)

    def _below(self, node: yaml.Node | None) -> dict[int | str, tuple[yaml.Mark, yaml.Node]]:
        """Return what stands in a list or in fields, found once and kept."""
        if id(node) in self._children:
            return self._children[id(node)]
        # Merged fields stand before a mapping's own fields, and its own count.
        below: dict[int | str, tuple[yaml.Mark, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below[key.value] = (key.start_mark, value)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                below[number] = (value.start_mark, value)
        self._children[id(node)] = below
        return below


def _empty(node: yaml.Node | None, place: Place) -> Iterator[tuple[Place, Place | None]]:
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
        yield from _empty(value, (*place, step))


def parse(text: str, name: str) -> Document:
    """Read the YAML or JSON text of a storyboard.

    Raises `StoryboardInvalid` with the name, the line and the mistake in plain words.
    """
    try:
        return read_text(text, name)
    except TextInvalid as error:
        mistakes = [replace(each, document=name) for each in error.mistakes]
        raise StoryboardInvalid.of(mistakes) from None


def read_text(text: str, name: str) -> Document:
    """Read any YAML or JSON text; the ending of the name may tell which.

    Raises `TextInvalid`, also for what is larger, deeper or has more parts than anybody writes.
    """
    if len(text) > MOST_CHARACTERS:
        raise _refused("too_long_text", limit=MOST_CHARACTERS)
    text = unwrapped(text)
    try:
        if _is_json(text, name):
            return _parse_json(text)
        return _parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        raise TextInvalid(_explain(error, text.splitlines())) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused("no_character_of_text", line, f"U+{error.character:04X}") from None
    except RecursionError:
        raise _refused("too_deep") from None
    except yaml.YAMLError as error:
        raise _refused("other", value=str(error)) from None
    except (OverflowError, ValueError) as error:
        # `"\\UFFFFFFFF"` is no character; Python 3.13 says so by another error.
        if isinstance(error, OverflowError) or "chr()" in str(error):
            raise _refused("escape") from None
        raise _refused("other", value=str(error)) from None


def _is_json(text: str, name: str) -> bool:
    if name.endswith(".json"):
        return True
    if name.endswith((".yaml", ".yml")):
        return False
    return text.lstrip().startswith("{")


def parse_json(text: str) -> Any:
    """Read JSON. Raises `TextInvalid`, or what `json` raises for a text that is none."""
    return json.loads(text, parse_int=_whole_number)


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _refused("too_many_digits", value=digits)
    return int(digits)


def _parse_json(text: str) -> Document:
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise _refused("no_json", error.lineno, error.msg) from None
    _require_few(data)
    # JSON may be indented with tabs, which YAML forbids.
    return Document(data, yaml.compose(text.replace("\t", " "), Loader=_Loader))


def _require_few(data: object) -> None:
    """Raise `TextInvalid` if there are too many fields and values: quicker than YAML counts."""
    waiting = [data]
    nodes = 0
    while waiting:
        each = waiting.pop()
        nodes += 1
        if isinstance(each, dict):
            waiting.extend(each.values())
            nodes += len(each)
        elif isinstance(each, list):
            waiting.extend(each)
        if nodes > MOST_NODES:
            raise _refused("too_many_parts", limit=MOST_NODES)


def _parse_yaml(text: str) -> Document:
    loader = _Loader(text)
    try:
        tree = loader.get_single_node()
        if tree is None:
            return Document(None, None)
        return Document(loader.construct_document(tree), tree)
    finally:
        loader.dispose()


# What PyYAML says, and what it means to somebody who writes a storyboard: a rule and its value.
_MEANINGS = {
    "but found '<scalar>'": ("after_quote", None),
    "<stream end>": ("open_bracket", None),
    "expected <block end>": ("indent", None),
    "expected ',' or ']'": ("no_comma", "]"),
    "expected ',' or '}'": ("no_comma", "}"),
    "unknown escape character": ("escape", None),
    "found undefined alias": ("begins_with", "*"),
    "while scanning an alias": ("begins_with", "*"),
    "while scanning an anchor": ("begins_with", "&"),
    "while scanning a directive": ("begins_with", "%"),
    "while scanning a block scalar": ("begins_with_block", None),
    "sequence entries are not allowed": ("dash", None),
    "expected the node content": ("no_value", None),
    "<document start>": ("stray_line", None),
    "could not determine a constructor for the tag": ("begins_with", "!"),
    "while scanning a tag": ("begins_with", "!"),
    "while parsing a node": ("begins_with", "!"),
    "expected a single document": ("second_document", None),
    "for merging": ("merge", None),
}


def _explain(error: yaml.MarkedYAMLError, lines: list[str]) -> Mistake:
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
        return Mistake("tab", line=at + 1)
    if begun and "quoted scalar" in problem and "unexpected end of stream" in problem:
        return Mistake("open_quote", line=begun.line + 1)
    if begun and "could not find expected ':'" in problem:
        return Mistake("no_colon", line=begun.line + 1)
    if "mapping values are not allowed" in problem:
        # By what stands before the colon in its line.
        rule = "colon_or_indent"
        if re.search(r":(\s|$)", before):
            rule = "colon_in_text"
        return Mistake(rule, line=at + 1)
    if before.endswith(("]", "}")) and "<block end>" in problem:
        return Mistake("begins_with", line=at + 1, value="[ or {")

    found = re.search(r"found character '(.+)' that cannot start", problem)
    if found is not None:
        return Mistake("begins_with", line=at + 1, value=found[1])

    for words, (rule, value) in _MEANINGS.items():
        if words in problem:
            return Mistake(rule, line=at + 1, value=value)
    return Mistake("other", line=at + 1, value=error.problem or str(error))
