"""Every picture of the documents: `python -m tests.by_hand.pictures [NAME …]`. It is free.

Without names all are made anew, into docs/: those of the Prefect UI by the story of this folder,
the contact sheet by the demo, and the logo by drawing it.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw
from prefect.client.orchestration import get_client
from prefect.deployments import arun_deployment

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.terminal import console
from prefect_kling.deployments.local.demo import example_storyboard, make_demo_films
from prefect_kling.studio.film.versions import story_of
from tests.browser import browser_page, open_run, open_run_tab
from tests.by_hand.story import RENDER_MS, STORYBOARD, Site, make_batch, make_film, set_up
from tests.documents import DOCS

# What the story calls its steps, and what the documents call their pictures.
STEPS = {"form": "form", "run": "run", "page": "film-page", "batch-page": "batch"}
OF_THE_UI = (*STEPS.values(), "film-live", "report")
SHEET_WIDTH = 1024
DARK, GOLD, RED = "#15161f", "#f5b642", "#f05454"


async def photograph(site: Site, folder: Path) -> None:
    """Walk through the Prefect UI, and leave the pictures in a folder."""
    await make_film(site, "v2", folder)
    archive = await KlingArchive.aload("default")
    await make_batch(site, "v2", archive.prefix, folder)
    for step, name in STEPS.items():
        (folder / f"{step}.png").rename(folder / f"{name}.png")
    board = STORYBOARD.replace("First light", "Last light")
    await _look_at_page(
        site, "produce-film/film", {"storyboard": board}, "last-light", "rendering", folder
    )
    await _look_at_page(
        site, "report-spending/report", {"by": "film"}, "spending", "estimated", folder
    )


async def _look_at_page(
    site: Site, deployment: str, parameters: dict[str, str], page_name: str, text: str, folder: Path
) -> None:
    """Start a deployment, and take a picture of its page as soon as that shows a text."""
    run = await arun_deployment(deployment, parameters=parameters, timeout=0)
    picture = {"last-light": "film-live", "spending": "report"}[page_name]
    async with browser_page() as page:
        page.set_default_timeout(RENDER_MS)
        async with get_client() as api:
            while not (await api.read_flow_run(run.id)).start_time:
                await asyncio.sleep(0.5)
        await open_run(page, site.ui, run.id, "v2")
        await open_run_tab(page, "Artifacts")
        await page.get_by_text(page_name, exact=True).first.click()
        await page.get_by_text(text).first.wait_for()
        await page.wait_for_timeout(1500)
        await page.screenshot(path=folder / f"{picture}.png", animations="disabled")


def draw_logo(target: Path) -> None:
    """Draw a strip of film with a triangle in it."""
    picture = Image.new("RGBA", (512, 512))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, 511, 511), radius=80, fill=DARK)
    for left in range(56, 456, 88):
        for top in (48, 432):
            pen.rounded_rectangle((left, top, left + 48, top + 32), radius=8, fill=GOLD)
    pen.polygon([(184, 152), (184, 360), (368, 256)], fill=RED)
    picture.resize((64, 64), Image.Resampling.LANCZOS).save(target)


def make_contact_sheet(target: Path) -> None:
    """Make the demo's film, and keep its contact sheet."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        make_demo_films(story_of(example_storyboard()), Path(folder), LiveTable(console))
        with Image.open(Path(folder) / "contact-sheet.jpg") as sheet:
            height = round(sheet.height * SHEET_WIDTH / sheet.width)
            sheet.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS).save(target, quality=85)


def make_pictures(names: list[str]) -> None:
    """Make these pictures, or all."""
    wanted = names or ["logo", "demo", *OF_THE_UI]
    if "logo" in wanted:
        draw_logo(DOCS / "logo.png")
    if "demo" in wanted:
        make_contact_sheet(DOCS / "demo.jpg")
    of_the_ui = [name for name in wanted if name in OF_THE_UI]
    if not of_the_ui:
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as disk:
        with set_up(Path(disk), short_side=720) as site:
            asyncio.run(photograph(site, Path(disk)))
        for name in of_the_ui:
            (Path(disk) / f"{name}.png").replace(DOCS / f"{name}.png")


if __name__ == "__main__":
    make_pictures(sys.argv[1:])
