"""The site is built without a warning, has no dead link, and fetches nothing from elsewhere."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents import ROOT

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page of the site points at, what it loads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.places: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        for name, value in attributes:
            if name == "id" and value:
                self.places.add(value)
            elif name == "href" and value and tag == "a":
                self.links.add(value)
            elif name in ("href", "src", "srcset", "data") and value:
                self.loaded.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages of the site by their files, as `make docs` builds them."""
    pytest.importorskip("furo", reason="the dependency group docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    # Warnings are errors.
    build = ["sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", *build], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return {file: Page(file.read_text()) for file in folder.rglob("*.html")}


def test_no_link_is_dead(site: dict[Path, Page]) -> None:
    """Pages, places in pages, and files for download."""
    assert len(site) > 40
    dead = set()
    for file, page in site.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve()
            if not parts.path:
                target = file
            is_there = target.exists()
            if target in site:
                is_there = unquote(parts.fragment) in site[target].places
            if not is_there:
                dead.add((file.name, link))
    assert dead == set()


def test_readers_fetch_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    """No font, script, style or picture has an address on another host."""
    for file, page in site.items():
        assert {each for each in page.loaded if urlsplit(each).netloc} == set(), file.name
    folder = min(site, key=lambda file: len(file.parts)).parent
    for style in folder.rglob("*.css"):
        text = style.read_text()
        assert "@import" not in text, style.name
        assert "url(http" not in text, style.name


def test_pages_can_be_searched(site: dict[Path, Page]) -> None:
    """By words of the reference, which no file of the documents holds."""
    folder = min(site, key=lambda file: len(file.parts)).parent
    index = (folder / "searchindex.js").read_text()
    assert "balancetoolow" in index.lower()
