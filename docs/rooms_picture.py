"""The picture of the rooms, drawn from its Mermaid text: a browser alone cannot draw Mermaid.

Code hosts draw the text themselves. For the site it becomes SVG when the site is built, so that no
script of a megabyte is fetched for one picture.
"""

import re

NODE = re.compile(r'^  (\w+)\["(.+)"\]$', re.MULTILINE)
ARROW = re.compile(r"^  (\w+) -->\|(\d+)\| (\w+)$", re.MULTILINE)
FENCE = re.compile(r"```mermaid\n(flowchart TD\n.*?)```", re.DOTALL)
WIDTH = 140
HEIGHT = 34
GAP_X = 30
GAP_Y = 46


def drawn(page: str) -> str:
    """Return a page with SVG in place of its Mermaid flowcharts."""
    return FENCE.sub(lambda fence: f"```{{raw}} html\n{svg(fence[1])}\n```", page)


def svg(text: str) -> str:
    """Return a flowchart as SVG: each node below all that point at it."""
    labels = dict(NODE.findall(text))
    arrows = [(a, b, count) for a, count, b in ARROW.findall(text)]
    places = _places(labels, arrows)
    width = max(x for x, _ in places.values()) + WIDTH + 4
    height = max(y for _, y in places.values()) + HEIGHT + 4
    frame = (
        f'<svg class="rooms" viewBox="-2 -2 {width} {height}" width="{width}" role="img"'
        ' aria-label="The rooms and their imports" font-size="14" fill="none"'
        ' stroke="currentColor">'
    )
    parts = [frame]
    parts += [_arrow(places[a], places[b], count) for a, b, count in arrows]
    parts += [_node(places[name], label) for name, label in labels.items()]
    return "\n".join([*parts, "</svg>"])


def _places(
    labels: dict[str, str], arrows: list[tuple[str, str, str]]
) -> dict[str, tuple[int, int]]:
    """Return the upper left corner of each node: rows by the longest way that leads to it."""

    def row(name: str) -> int:
        return max((row(a) + 1 for a, b, _ in arrows if b == name), default=0)

    rows: dict[int, list[str]] = {}
    for name in labels:
        rows.setdefault(row(name), []).append(name)
    widest = max(map(len, rows.values())) * (WIDTH + GAP_X) - GAP_X
    places = {}
    for number, names in rows.items():
        left = (widest - len(names) * (WIDTH + GAP_X) + GAP_X) // 2
        for column, name in enumerate(names):
            x = left + column * (WIDTH + GAP_X)
            places[name] = (x, number * (HEIGHT + GAP_Y))
    return places


def _arrow(start: tuple[int, int], end: tuple[int, int], count: str) -> str:
    x1 = start[0] + WIDTH // 2
    y1 = start[1] + HEIGHT
    x2 = end[0] + WIDTH // 2
    y2 = end[1]
    bend = GAP_Y * 2 // 3
    line = f"M{x1},{y1} C{x1},{y1 + bend} {x2},{y2 - bend} {x2},{y2 - 5}"
    head = f"M{x2 - 4},{y2 - 7} L{x2},{y2} L{x2 + 4},{y2 - 7} z"
    # Near its beginning, where no other arrow of the row lies over it.
    text = (
        f'<text x="{x1 + (x2 - x1) // 5 + 8}" y="{y1 + 22}" stroke="none"'
        f' fill="currentColor" opacity="0.7">{count}</text>'
    )
    return f'<path d="{line}"/><path d="{head}" fill="currentColor"/>{text}'


def _node(place: tuple[int, int], label: str) -> str:
    x, y = place
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"'
        ' fill="var(--color-background-secondary)"/>'
        f'<text x="{x + WIDTH // 2}" y="{y + 22}" text-anchor="middle" stroke="none"'
        f' fill="currentColor">{label}</text>'
    )
