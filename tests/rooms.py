"""Draw the rooms and their imports into docs/architecture.md: `python -m tests.rooms`."""

import ast
import functools
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- rooms -->"
END = "<!-- /rooms -->"
PACKAGE = "prefect_kling."
ROOMS: tuple[str, ...] = ("kling", "sandbox", "studio", "blocks", "telemetry")
ROOMS += ("runs", "tasks", "flows", "deployments")


def sources() -> dict[str, Path]:
    """Return the source files by module name, without the package's own name."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@functools.cache
def imports() -> set[tuple[str, str]]:
    """Return every import of one module by another, those for type checkers left out."""
    modules = sources()
    pairs = set()
    for module, path in modules.items():
        nodes: list[ast.AST] = [ast.parse(path.read_text())]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                nodes.extend(node.orelse)
                continue
            nodes.extend(ast.iter_child_nodes(node))
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    is_module = inner.removeprefix(PACKAGE) in modules
                    names.append(inner if is_module else node.module)
            for name in names:
                target = name.removeprefix(PACKAGE)
                if target != name and target in modules and target != module:
                    pairs.add((module, target))
    return pairs


def room_of(module: str) -> str:
    """Return the room of a module; inside the studio, the inner room."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "studio" else parts[0]


def picture() -> str:
    """Return the Mermaid flowchart: no arrow where a longer way leads to the same room."""
    counts = Counter((room_of(a), room_of(b)) for a, b in imports())
    arrows = {pair for pair in counts if pair[0] != pair[1]}

    def reaches(start: str, goal: str) -> bool:
        return any(b == goal or reaches(b, goal) for a, b in arrows if a == start)

    lines = ["```mermaid", "flowchart TD"]
    names = sorted({room_of(module) for module in sources()} - {"studio"})
    lines += [f'  {name.replace(".", "_")}["{name.replace(".", "/")}"]' for name in names]
    for a, b in sorted(arrows):
        if not any(reaches(c, b) for d, c in arrows if d == a and c != b):
            start, goal = a.replace(".", "_"), b.replace(".", "_")
            lines.append(f"  {start} -->|{counts[a, b]}| {goal}")
    return "\n".join([*lines, "```"])


def drawn(text: str) -> str:
    """Return a document with the picture between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{picture()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(drawn(DOCUMENT.read_text()))
