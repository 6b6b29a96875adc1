"""`prefect-kling film` as a person meets it."""

import re
from pathlib import Path

import httpx
import pytest

from prefect_kling.studio.money.archive import Archive
from tests.deployments.conftest import Call

FILM = """
title: Cups {tag}
tags: {{client: Acme}}
defaults: {{duration: 3}}
scenes:
  - shots:
      - {{title: A, prompt: A cup {tag}}}
      - {{title: B, prompt: "{second} {tag}"}}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("default_blocks")
def test_a_film_prints_links_to_watch_whether_it_succeeds_or_not(
    call: Call, prefect_ui: str, archive: Archive, tmp_path: Path
) -> None:
    """Of the shots that are finished, then of the film; `--tag` says who paid for what."""
    tag = archive.bucket.prefix.strip("/")
    board = tmp_path / "cups.yaml"
    server = f"{prefect_ui}/api"
    words = ("film", str(board), "--tag", "project=spring", "--tag", "client=Other")
    board.write_text(FILM.format(tag=tag, second="[fail:CONTENT_MODERATION]"))
    failed = call(*words, PREFECT_API_URL=server)
    assert failed.returncode == 1
    assert "1.2 B" in failed.stderr
    (link,) = re.findall(r"^  1\.1 A: (http.*)$", failed.stdout, re.MULTILINE)
    assert httpx.get(link).status_code == 200

    board.write_text(FILM.format(tag=tag, second="A jug"))
    done = call(*words, PREFECT_API_URL=server)
    assert done.returncode == 0, done.stderr
    (address,) = re.findall(r"^  (s3://.*/film\.mp4)$", done.stdout, re.MULTILINE)
    (link,) = re.findall(r"^  watch it: (http.*)$", done.stdout, re.MULTILINE)
    assert archive.bucket.path_of(address) in link
    assert httpx.get(link).headers["content-type"] == "video/mp4"

    tags = [each.entry.tags for each in archive.ledger.all_records()]
    assert tags == [{"project": "spring", "client": "Acme"}] * 3
