"""Texts of others on pages of the Prefect UI, in a real browser: they can be read and do nothing.

Titles, prompts, ids, columns of one's own and words of the API stand on pages that others read.
"""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import collect_finished, generate_batch, produce_film
from prefect_kling.runs.authorization import offer_of_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.results import RowState
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.telemetry.markdown import Markdown, write_page
from tests.browser import Version, browser_page, open_artifact

if TYPE_CHECKING:
    from playwright.async_api import Page

FOREIGN = "foreign.invalid"
RUNS = "window.ran=1"
PLAIN = "text [/closing] =1+1 ; $(reboot)"
SHORT = (
    f'{PLAIN} <img src=x onerror="{RUNS}"> ![](http://{FOREIGN}/a.png)',
    f"{PLAIN} <script>{RUNS}</script> [b](http://{FOREIGN}/b) `c` ```",
    f"{PLAIN} <http://{FOREIGN}/d> \u202ee **f** [g](javascript:{RUNS}) | h",
)
TEXT = f"{' '.join(SHORT)} http://{FOREIGN}/i www.{FOREIGN} j@{FOREIGN}"
CODES = f"\x1b[2J\x1b]8;;http://{FOREIGN}/k\x07"


def board(tag: str) -> Storyboard:
    """A film in which every text is hostile."""
    shots = [{"title": title, "prompt": f"{title} {TEXT} {tag}"} for title in SHORT]
    return Storyboard.model_validate(
        {
            "title": f"{SHORT[0][:80]}{CODES}",
            "defaults": {"duration": 3},
            "scenes": [{"title": SHORT[1], "shots": shots}],
        }
    )


def table(tag: str) -> str:
    """A table whose ids, prompts and further columns are hostile; its fourth row has a mistake."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["id", "prompt", "duration", "note"])
    for number, seconds in enumerate((3, 3, 3, 99)):
        writer.writerow([f"{number} {TEXT}", f"{number} {TEXT} {tag}", seconds, TEXT])
    return file.getvalue()


@flow
async def show(key: str, content: Markdown) -> None:
    """Write a page that a run shows only where it waits for somebody."""
    await write_page(key, content, TEXT)


async def make_pages(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> list[Artifact]:
    """Have the flows write all their pages with hostile texts; return them, the newest first."""
    begun = datetime.now(UTC)
    tag = archive.bucket.prefix.strip("/")
    storyboard = board(tag)
    await produce_film(storyboard, credentials, archive_block)
    quote = await quote_film(plan_film(storyboard), archive)
    await show("film-quote", offer_of_film(quote).page)

    # One row is held with the words of the server, two are made, one has a mistake.
    sandbox.fault(on="create", do={"status": 502, "body": TEXT}, times=1)
    result = await generate_batch(table(tag), credentials, archive_block, wrong_rows="skip")
    assert result.counts[RowState.HELD] == 1
    assert result.counts[RowState.WRONG] == 1
    await collect_finished(credentials, archive_block)
    async with get_client() as api:
        newest = await api.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=50)
    return [each for each in newest if each.created is not None and each.created >= begun]


async def assert_harmless(page: "Page", asked: Sequence[str]) -> None:
    """Fail if the page that is shown holds or has done anything that a text asked for."""
    assert await page.evaluate("window.ran") is None
    assert [url for url in asked if FOREIGN in url or url.endswith("/x")] == []
    pictures = await page.locator("img").evaluate_all("all => all.map(each => each.src)")
    assert [url for url in pictures if FOREIGN in url or url.endswith("/x")] == []
    links = await page.locator("a[href]").evaluate_all("all => all.map(each => each.href)")
    assert [url for url in links if FOREIGN in url or url.startswith("javascript:")] == []
    scripts = await page.locator("script").evaluate_all("all => all.map(each => each.text)")
    assert [text for text in scripts if RUNS in text] == []


@pytest.mark.slow
async def test_texts_of_others_can_be_read_and_do_nothing(
    prefect_ui: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """On the pages of a film, its quote, a batch, a held clip and a sweep, in both UIs."""
    pages = await make_pages(credentials, archive_block, archive, sandbox)
    keys = [str(each.key) for each in pages]
    assert {"batch-table", "film-quote", "collected"} <= set(keys)
    assert sum(key.startswith("held-") for key in keys) == 1
    versions: tuple[Version, ...] = ("v2", "v1")
    async with browser_page() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        # The UI's own telemetry, and whatever a text might ask for.
        await page.route(is_elsewhere, lambda route: route.abort())
        for version in versions:
            for artifact in pages:
                await open_artifact(page, prefect_ui, artifact.id, version)
                # The page is there before the text is.
                await page.get_by_text(PLAIN).first.wait_for()
                await assert_harmless(page, asked)
            await page.goto(f"{prefect_ui}{'/v2' if version == 'v2' else ''}/artifacts")
            await page.get_by_text(PLAIN).first.wait_for()
            await assert_harmless(page, asked)


def is_elsewhere(url: str) -> bool:
    """Whether an address is not on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname != "127.0.0.1"
