"""Documents: their code, and measured tables between marks that nobody sees."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)```([\w{}]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A block of code in a document."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page} ({self.language}): {self.text[:40]!r}"


def pages() -> list[Path]:
    """Return the README and all documents."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def snippets(page: Path, *languages: str) -> list[Snippet]:
    """Return the blocks of code of a document, in these languages or in all."""
    name = str(page.relative_to(ROOT))
    found = []
    for indent, language, text in FENCE.findall(page.read_text()):
        lines = [line.removeprefix(indent) for line in text.splitlines(keepends=True)]
        found.append(Snippet(name, language, "".join(lines)))
    return [each for each in found if not languages or each.language in languages]


def write_section(document: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`; both must be there."""
    page = document.read_text()
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"{document} has no section {name}")
    document.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")


def section(document: Path, name: str) -> str:
    """Return what stands between `<!-- name -->` and `<!-- /name -->`."""
    _, _, rest = document.read_text().partition(f"<!-- {name} -->\n")
    text, _, _ = rest.partition(f"<!-- /{name} -->")
    return text.strip()
