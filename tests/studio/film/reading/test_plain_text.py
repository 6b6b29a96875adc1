"""Texts and names as other programs write them: read, or refused in words that say what to do."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import load_storyboard, read_storyboard
from prefect_kling.studio.film.reading.remote_sources import fetch_storyboard
from prefect_kling.studio.film.reading.table import read_requests
from prefect_kling.studio.money.archive import Archive

BOARD = "title: Über\nscenes:\n  - shots:\n      - prompt: A lamp\n"
TABLE = "prompt,duration\nA lamp,5\n"
FENCED = ["```yaml\n{}```\n", "\n\n~~~\n{}~~~", "````\n{}````  \n\n", "```csv\n{}"]


@pytest.mark.parametrize("fenced", FENCED)
def test_a_markdown_fence_is_taken_away(fenced: str) -> None:
    """Assistants and wikis put one around what they show."""
    assert read_storyboard(fenced.format(BOARD)) == read_storyboard(BOARD)
    assert read_requests(fenced.format(TABLE)) == read_requests(TABLE)


def test_mistakes_inside_of_a_fence_have_the_lines_of_the_file() -> None:
    """The fence is a line of it."""
    wrong = "```yaml\n" + BOARD.replace("title", "tilte") + "```\n"
    with pytest.raises(StoryboardInvalid, match="line 2"):
        read_storyboard(wrong)
    with pytest.raises(TableInvalid, match="line 3"):
        read_requests("```\n" + TABLE.replace("5", "99") + "```")


def test_what_stands_behind_a_fence_is_not_left_out_in_silence() -> None:
    """It might be rows."""
    with pytest.raises(TableInvalid, match=r"line 5: .*Markdown fence"):
        read_requests(f"```\n{TABLE}```\nA boat,5\n")


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><html><title>Sheet</title></html>",
        "\ufeff \n<!-- saved from -->\n<HTML lang=en>",
        '<?xml version="1.0"?>\n<!doctype HTML PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
    ],
)
def test_a_web_page_is_told_as_one(page: str) -> None:
    """A link to a sheet gives its page, not its table."""
    with pytest.raises(TableInvalid, match="web page") as refused:
        read_requests(page)
    assert "download" in str(refused.value)
    with pytest.raises(StoryboardInvalid, match="web page"):
        read_storyboard(page)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_written_as_windows_does(encoding: str, tmp_path: Path) -> None:
    """With a mark in front, and in UTF-16."""
    (tmp_path / "film.txt").write_bytes(BOARD.encode(encoding))
    assert load_storyboard(tmp_path / "film.txt").title == "Über"


def test_any_other_encoding_is_refused_with_what_to_do(tmp_path: Path, archive: Archive) -> None:
    """Guessing would change prompts."""
    (tmp_path / "film.yaml").write_bytes(BOARD.encode("cp1252"))
    with pytest.raises(StoryboardInvalid, match="save the file as UTF-8"):
        load_storyboard(tmp_path / "film.yaml")
    archive.bucket.put("film.yaml", BOARD.encode("cp1252"), "text/plain")
    with pytest.raises(StoryboardInvalid, match="save it as UTF-8"):
        fetch_storyboard("film.yaml", archive)


@pytest.mark.parametrize(("there", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_however_its_letters_are_composed(
    there: str, written: str, tmp_path: Path, archive: Archive
) -> None:
    """Beside a file, and in the archive; `./` in front changes nothing."""
    picture = tmp_path / unicodedata.normalize(there, "Bücher.jpg")
    Image.effect_noise((400, 400), 50).save(picture)
    name = unicodedata.normalize(written, "Bücher.jpg")
    for spelled in (name, f"./{name}"):
        board = f"references:\n  a: {{image: {spelled}}}\n{BOARD}".replace("A lamp", "<<<a>>>")
        assert read_storyboard(board, folder=tmp_path).references["a"].image == str(picture)
        archive.bucket.put(f"boards/{picture.name}", picture.read_bytes(), "image/jpeg")
        archive.bucket.put("boards/film.yaml", board.encode(), "text/plain")
        assert fetch_storyboard("boards/film.yaml", archive).references["a"].image
