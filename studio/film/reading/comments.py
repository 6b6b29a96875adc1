"""Find texts that a YAML comment cuts: ` #` and all that follows it in its line is no text."""

import re
from collections.abc import Iterator

import yaml

from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.storyboard import shortened

TEXT_FIELDS = ("prompt", "title", "look", "description")
_COMMENT = re.compile(r"[ \t]+#[^\r\n]*")
_SHOWN = 40


def cut_texts(text: str, tree: yaml.Node | None) -> list[Mistake]:
    """Return each text of a YAML document that is cut by a comment in its own line.

    `tree` is the document that was composed from `text`. Texts are the fields of `TEXT_FIELDS`,
    wherever they stand, unless they are in quotes or in a block.
    """
    mistakes = []
    for field, value in _texts(tree):
        comment = _COMMENT.match(text, value.end_mark.index)
        if comment is None:
            continue
        line = value.end_mark.line + 1
        cut = shortened(" ".join(comment[0].split()), _SHOWN)
        mistakes.append(Mistake("cut_text", value=cut, limit=field, line=line))
    return mistakes


def _texts(tree: yaml.Node | None) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Yield each text field that is written without quotes, once, with its name."""
    waiting = [tree]
    # An alias stands for a part that was seen already, and a document may contain itself.
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(value for _, value in reversed(node.value))
            for key, value in node.value:
                is_plain = isinstance(value, yaml.ScalarNode) and value.style is None
                if is_plain and key.value in TEXT_FIELDS and id(value) not in seen:
                    seen.add(id(value))
                    yield key.value, value
