"""How Sphinx builds the site: `make docs`. Nothing is fetched, neither now nor by readers."""

from importlib.metadata import version

from docs import from_code
from docs.rooms_picture import drawn
from sphinx.application import Sphinx

project = "prefect-kling"
author = "the prefect-kling authors"
release = version(project)
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
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


def setup(app: Sphinx) -> None:
    """Let the code speak in pages of the reference, and draw the rooms."""

    def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
        source[0] = drawn(from_code.filled(source[0]))

    app.connect("source-read", fill)
