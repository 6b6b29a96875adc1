"""Measured tables in documents, between marks that nobody sees."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


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
