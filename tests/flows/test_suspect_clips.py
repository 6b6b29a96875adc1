"""A suspicious clip is told everywhere, kept like any other, and paid for once."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch, generate_clip, produce_film
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import OverBudget
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.media.contact_sheet import MARKED
from prefect_kling.studio.media.picture_checks import PictureChecks
from prefect_kling.telemetry import events
from prefect_kling.telemetry.progress import ShotProgress, subscribe
from tests.conftest import eager_credentials
from tests.studio.media.suspect_clips import CASES, write

pytestmark = pytest.mark.usefixtures("prefect_ui")

FILM = """
title: Dark {tag}
scenes:
  - shots:
      - {{title: A, prompt: "A cellar {tag}", duration: 3}}
"""


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """An API that gives every job one black clip."""
    folder = tmp_path_factory.mktemp("dark")
    clip = folder / "black.mp4"
    clip.write_bytes(write(replace(CASES["black throughout"], seconds=3.0)))
    settings = SandboxSettings(
        render_seconds=(0, 0), paints=False, clip=clip, folder=folder / "api", balance_usd=1000
    )
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def served(dark: Sandbox) -> Iterator[Path]:
    """The file that it gives, which is black again after the test."""
    (found,) = Path(dark.settings.folder or "").rglob("*.mp4")
    black = found.read_bytes()
    yield found
    found.write_bytes(black)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The suspicious clips that are told as events."""
    heard: list[dict[str, Any]] = []

    def emit(name: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
        if name == "kling.clip.suspect":
            heard.append(payload)

    monkeypatch.setattr(events, "emit_event", emit)
    return heard


def tag_of(archive_block: KlingArchive) -> str:
    """Words that make this test's prompts its own."""
    return archive_block.prefix


@pytest.mark.slow
async def test_a_suspect_row_is_archived_and_told(
    dark: Sandbox, archive_block: KlingArchive, told: list[dict[str, Any]]
) -> None:
    """In record, results, page and one event; a second run pays nothing and tells nothing."""
    credentials: KlingCredentials = eager_credentials(dark)
    table = f"prompt,duration\nA cave {tag_of(archive_block)},3\n"
    before = dark.stats()["created"]
    result = await generate_batch(table, credentials, archive_block)
    (row,) = result
    assert (row.state, row.suspect) == ("archived", "black")
    assert "it is black for 3.0 s from 0.0 s on" in row.notes
    archive = archive_block.get_archive()
    written = io.BytesIO()
    archive.bucket.fetch(archive.bucket.path_of(result.csv_uri), written)
    (line,) = csv.DictReader(io.StringIO(written.getvalue().decode("utf-8-sig")))
    assert line["kling_suspect"] == "black"
    assert "1 archived (1 suspect)" in str(result)
    page = await Artifact.aget("batch-table")
    assert page is not None
    assert page.description == "1 of 1 rows are archived, 1 are suspect"
    suspects = str(page.data).partition("## Suspect clips")[2]
    assert "**suspect: black** " in suspects
    assert "it is black for 3.0 s" in suspects
    assert "[Watch](http" in suspects
    assert [(each["rules"], each["uri"]) for each in told] == [("black", row.uri)]
    assert dark.stats()["created"] - before == 1

    await generate_batch(table, credentials, archive_block)
    assert len(told) == 1
    assert dark.stats()["created"] - before == 1


@pytest.mark.slow
async def test_a_suspect_shot_is_marked_on_the_contact_sheet(
    dark: Sandbox, archive_block: KlingArchive, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The film is joined all the same."""
    board = read_storyboard(FILM.format(tag=tag_of(archive_block)))
    film = await produce_film(board, eager_credentials(dark), archive_block)
    assert [each.clip.suspect for each in film.clips] == ["black"]
    assert len(told) == 1
    page = await Artifact.aget(film.slug)
    assert page is not None
    assert str(page.data).count("**suspect: black** ") == 1
    archive = archive_block.get_archive()
    sheet = io.BytesIO()
    archive.bucket.fetch(archive.bucket.path_of(film.contact_sheet_uri), sheet)
    with Image.open(sheet) as picture:
        red, green, blue = picture.convert("RGB").split()
    marked = 0
    for pixel in zip(red.tobytes(), green.tobytes(), blue.tobytes(), strict=True):
        marked += all(abs(a - b) < 24 for a, b in zip(pixel, MARKED, strict=True))
    assert marked > 1000


@pytest.mark.slow
async def test_a_suspect_shot_is_made_again_within_the_budget_and_the_best_take_is_used(
    dark: Sandbox, served: Path, archive_block: KlingArchive, told: list[dict[str, Any]]
) -> None:
    """Its worst case is quoted and refused beforehand; a rerun pays nothing, and uses that take."""
    board = read_storyboard(FILM.format(tag=tag_of(archive_block)))
    credentials = eager_credentials(dark)
    price = quote(plan_film(board).clips[0].order.request).at_most_usd
    before = dark.stats()["created"]
    twice = Spending(budget_usd=2 * price)
    with pytest.raises(OverBudget):
        await produce_film(board, credentials, archive_block, twice, retake_suspect=2)
    assert dark.stats()["created"] == before

    thrice = Spending(budget_usd=3 * price)

    def brighten(progress: ShotProgress) -> None:
        """From the second take on the API gives a clip in which something is to be seen."""
        if progress.clip is not None:
            served.write_bytes(write(replace(CASES["a moving picture"], seconds=3.0)))

    with subscribe(brighten):
        film = await produce_film(board, credentials, archive_block, thrice, retake_suspect=2)
    (shot,) = film.clips
    assert (shot.clip.order.take, shot.clip.suspect) == (2, "")
    assert dark.stats()["created"] - before == 2
    page = await Artifact.aget(film.slug)
    assert page is not None
    assert f"this run paid ${2 * film.usd}" in str(page.data)
    assert len(told) == 1

    assert await produce_film(board, credentials, archive_block, thrice, retake_suspect=2) == film
    assert dark.stats()["created"] - before == 2


@pytest.mark.slow
async def test_if_all_takes_are_suspect_the_first_is_used(
    dark: Sandbox, archive_block: KlingArchive
) -> None:
    """And no more of them are made than were asked for, also of a chain, or in another run."""
    tag = tag_of(archive_block)
    text = FILM.format(tag=tag).replace("- shots", "- continuity: last_frame\n    shots")
    board = read_storyboard(f"{text}      - {{title: B, prompt: A door {tag}, duration: 3}}\n")
    archive_block.picture_checks = PictureChecks(duplicate_levels=0)
    credentials = eager_credentials(dark)
    before = dark.stats()["created"]
    for _ in range(2):
        film = await produce_film(board, credentials, archive_block, retake_suspect=1)
        assert [each.clip.order.take for each in film.clips] == [1, 1]
        assert dark.stats()["created"] - before == 3, "only the second shot may be retaken"


async def test_checks_can_be_switched_off_in_the_block(
    dark: Sandbox, archive_block: KlingArchive, told: list[dict[str, Any]]
) -> None:
    """Which is stored with it. Then the clip has no report, and nobody is told."""
    archive_block.picture_checks = PictureChecks(enabled=False)
    name = f"off-{tag_of(archive_block)}"
    await archive_block.asave(name)
    archive_block = await KlingArchive.aload(name)
    request = VideoRequest(model="kling-v3-omni", prompt=f"Off {tag_of(archive_block)}", duration=3)
    clip = await generate_clip(request, eager_credentials(dark), archive_block)
    assert clip.pictures is None
    assert clip.suspect == ""
    assert told == []
