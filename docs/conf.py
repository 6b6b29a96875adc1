"""How Sphinx builds the site: `make docs`. Nothing is fetched, neither now nor by readers."""

import re
from importlib import metadata
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from docs import from_code
from docs.rooms_picture import drawn

project = "prefect-kling"
author = "the prefect-kling authors"
release = metadata.version(project)
extensions = ["myst_parser"]
myst_heading_anchors = 4
# Words of the API stand in tables: a picture in them is text and is not fetched.
myst_disable_syntax = ["html_inline"]
exclude_patterns = ["from_code"]
nitpicky = True
html_theme = "furo"
html_title = f"{project} {release}"
html_logo = "logo.png"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "default"
pygments_dark_style = "monokai"

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)\)")


def setup(app: Sphinx) -> None:
    """Let the code speak in pages of the reference, and draw the rooms."""
    for language in ("csv", "caddy"):
        app.add_lexer(language, TextLexer)

    def prepare(_app: Sphinx, name: str, source: list[str]) -> None:
        folder = (ROOT / "docs" / name).parent
        page = drawn(from_code.filled(source[0]))
        source[0] = LINK.sub(lambda link: _reachable(link, folder), page)

    app.connect("source-read", prepare)


def _reachable(link: re.Match[str], folder: Path) -> str:
    """Return a link, or its text where it leads to a document or a folder outside of the site.

    Other files outside are copied into the site by MyST, for download.
    """
    target = (folder / link[2]).resolve()
    is_inside = target.is_relative_to(ROOT / "docs")
    if is_inside or (target.is_file() and target.suffix != ".md"):
        return link[0]
    return f"`{target.relative_to(ROOT)}`"
