"""Storyboards behind links and in the bucket, with the files they name beside them."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.remote_sources import (
    fetch_storyboard,
    fetch_table,
    is_address,
    redacted,
)
from prefect_kling.studio.film.uploads import input_path
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive

PICTURES = Path(__file__).parents[4] / "examples" / "pictures"
BOARD = """
title: The bottle
references:
  bottle: {{image: {picture}}}
  far: {{image: "https://example.com/far.jpg"}}
scenes:
  - shots:
      - prompt: <<<bottle>>> before <<<far>>>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A storyboard with a picture below it."""
    (tmp_path / "boards" / "pictures").mkdir(parents=True)
    shutil.copy(PICTURES / "bottle.jpg", tmp_path / "boards" / "pictures")
    (tmp_path / "boards" / "film.yaml").write_text(BOARD.format(picture="pictures/bottle.jpg"))
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    """The folder on a web server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def filled(folder: Path, archive: Archive) -> Archive:
    """An archive that holds the folder."""
    for path in folder.rglob("*.*"):
        archive.bucket.put(
            str(path.relative_to(folder)), path.read_bytes(), "application/octet-stream"
        )
    return archive


@pytest.mark.parametrize("kind", ["link", "s3", "path"])
def test_files_beside_a_storyboard_are_found_and_kept(
    kind: str, site: str, filled: Archive
) -> None:
    """However it is named: the picture is in the archive by its content, a link stays a link."""
    roots = {"link": f"{site}/", "s3": filled.bucket.uri(""), "path": ""}
    board = fetch_storyboard(f" {roots[kind]}boards/film.yaml\n", filled)
    kept = input_path(PICTURES / "bottle.jpg", is_video=False)
    assert board.references["bottle"].image == ARCHIVE_URL + kept
    assert board.references["far"].image == "https://example.com/far.jpg"
    assert kept in filled.bucket.names(kept)


@pytest.mark.parametrize("address", ["/boards/film.yaml", "./boards/film.yaml"])
def test_a_path_in_the_archive_may_begin_at_its_root(address: str, filled: Archive) -> None:
    """A leading `/` or `./` is no part of a key, and `.txt` is an ending of a text."""
    assert fetch_storyboard(address, filled).title == "The bottle"
    assert is_address(address.replace(".yaml", ".txt"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("boards/none.yaml", "/boards/none.yaml"),
        ("s3://elsewhere/film.yaml", "is not in the archive; its addresses begin with s3://films/"),
        ("{site}/none.yaml", "there is nothing at http://127.0.0.1"),
        ("boards/pictures/bottle.jpg", "boards/pictures/bottle.jpg is no UTF-8 text"),
    ],
)
def test_what_is_not_there_is_told(address: str, words: str, site: str, filled: Archive) -> None:
    """The address, and why nothing can be had from it."""
    with pytest.raises(StoryboardInvalid) as caught:
        fetch_storyboard(address.format(site=site), filled)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (
            "mug.jpg",
            "line 4: references, bottle, image: there is no file 'mug.jpg' beside this storyboard",
        ),
        (
            "../secret.jpg",
            (
                "line 4: references, bottle, image: '../secret.jpg' is neither a "
                "link nor a file beside it"
            ),
        ),
        ("/etc/hostname", "'/etc/hostname' is neither a link"),
        ("~/secret.jpg", "'~/secret.jpg' is neither a link"),
        ("pictures/..", "'pictures/..' is neither a link"),
        ("!!binary L2V0Yy9ob3N0bmFtZQ==", "line 4: a text that begins with ! must stand in quotes"),
        ("!!binary ~", "line 4: a text that begins with ! must stand in quotes"),
        ("5", "5 is neither a link"),
        ('"a\\0.jpg"', "is no name a file can have"),
        ("a" * 300 + ".jpg", "is no name a file can have"),
    ],
)
def test_a_file_that_is_not_beside_it_is_told(picture: str, words: str, archive: Archive) -> None:
    """Nothing outside the storyboard's folder is fetched, from bucket or disk."""
    archive.bucket.put("boards/film.yaml", BOARD.format(picture=picture).encode(), "text/yaml")
    archive.bucket.put("secret.jpg", (PICTURES / "mug-front.jpg").read_bytes(), "image/jpeg")
    with pytest.raises(StoryboardInvalid) as caught:
        fetch_storyboard("boards/film.yaml", archive)
    assert words in caught.value.message
    assert list(archive.bucket.names("inputs/")) == []


@pytest.mark.parametrize("root", ["{site}/", ""], ids=["link", "path"])
def test_a_book_is_no_storyboard(root: str, site: str, filled: Archive) -> None:
    """What is too long is not fetched to its end."""
    with pytest.raises(
        StoryboardInvalid, match="is too long to be read: it holds more than 20 bytes"
    ):
        fetch_storyboard(f"{root.format(site=site)}boards/film.yaml", filled, most_bytes=20)


def test_an_address_is_shown_without_its_secrets() -> None:
    """Signatures and passwords do not get into names, logs and errors."""
    link = "https://me:word@store.example:8443/boards/film.yaml?X-Amz-Signature=abc#top"
    assert redacted(link) == "https://store.example:8443/boards/film.yaml"
    assert redacted(" boards/film.yaml") == "boards/film.yaml"


@pytest.mark.parametrize(
    ("given", "is_so"),
    [
        ("https://example.com/film", True),
        (" s3://films/kling/film.yaml \n", True),
        ("boards/film.YML", True),
        ("my film.json", True),
        ("title: film.yaml", False),
        ('{"title": "film.json"}', False),
        ("title: A\nscenes: film.yaml", False),
        ("", False),
    ],
)
def test_an_address_is_told_from_a_text(given: str, is_so: bool) -> None:
    """A text has lines, or the marks of YAML and JSON."""
    assert is_address(given) is is_so


def test_a_table_that_is_not_there_is_told(filled: Archive) -> None:
    """As a table, with what to do about tables."""
    with pytest.raises(TableInvalid, match=r"there is nothing at s3://films/.*/tables/none\.csv"):
        fetch_table("tables/none.csv", filled)
