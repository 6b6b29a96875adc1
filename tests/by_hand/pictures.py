"""Every picture of the documents: `python -m tests.by_hand.pictures [NAME …]`. It is free.

Without names all are made anew, into docs/: those of the Prefect UI by the story of this folder,
the contact sheet by the demo, and the logo by drawing it.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from PIL import Image, ImageDraw
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.deployments import arun_deployment

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.cli.live_table import LiveTable
from prefect_kling.deployments.cli.terminal import console
from prefect_kling.deployments.local.demo import example_storyboard, make_demo_films
from prefect_kling.studio.film.versions import story_of
from tests.browser import Version, browser_page, open_artifact
from tests.by_hand.story import (
    RENDER_MS,
    STORYBOARD,
    Site,
    make_batch,
    make_film,
    pick_takes,
    set_up,
)
from tests.documents import DOCS


@dataclass(frozen=True)
class RunPage:
    """An artifact of a run: how its key begins, and a text that it has once it is to be shown.

    Without a deployment to start, it is one of the run of this story's film or batch.
    """

    key: str
    says: str
    height: int = 1000
    deployment: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


BROKEN = """\
title: Night ferry
defaults: {duration: 3}
scenes:
  - title: On deck
    continuity: last_frame
    shots:
      - {title: The rail, prompt: "A woman at the rail of a ferry at night"}
      - {title: The fight, prompt: "Two sailors fight [fail:CONTENT_MODERATION]"}
      - {title: The siren, prompt: "A siren sounds, everybody looks up"}
  - title: The pier
    shots:
      - {title: Lights, prompt: "The lights of a pier in the rain"}
"""
VERSIONS = """\
title: From the workshop
defaults: {duration: 3}
scenes:
  - continuity: last_frame
    shots:
      - {title: The workshop, prompt: "A potter's workshop at dawn, slow push in"}
      - {title: The piece, prompt: "{{product}} on a wooden table, slow orbit"}
versions:
  - {name: mug, variables: {product: A blue mug}}
  - {name: jug, variables: {product: A white jug}}
  - {name: tall mug, aspect_ratio: 9:16, variables: {product: A blue mug}}
"""
FILM = "produce-film/film"


def another(title: str) -> str:
    """Return the story's storyboard as another film, none of whose clips are there."""
    board = STORYBOARD.replace("First light", title)
    return board.replace("duration: 3}", f"duration: 3, look: {title}}}")


PAGES = {
    "film-page": RunPage("first-light", "Watch the film", 1500),
    "batch": RunPage("batch-mugs-", "## Clips", 1100),
    "film-live": RunPage(
        "last-light",
        "rendering",
        800,
        deployment=FILM,
        parameters={"storyboard": another("Last light")},
    ),
    "film-failed": RunPage(
        "night-ferry", "## Why", 1300, deployment=FILM, parameters={"storyboard": BROKEN}
    ),
    "clip": RunPage(
        "clip-",
        "- prompt",
        800,
        deployment="quick-clip/quick-clip",
        parameters={"clip": {"prompt": "A lighthouse in a storm, waves over the rocks"}},
    ),
    "versions": RunPage(
        "from-the-workshop",
        "versions are films",
        1700,
        deployment="produce-versions/film-versions",
        parameters={"storyboard": VERSIONS},
    ),
    "approval": RunPage(
        "morning-light-quote",
        "Your approval is wanted",
        900,
        deployment=FILM,
        parameters={
            "storyboard": another("Morning light"),
            "spending": {"approve_above_usd": 0.5},
        },
    ),
    # After all that is paid.
    "report": RunPage(
        "spending",
        "are paid for",
        deployment="report-spending/report",
        parameters={"by": "film"},
    ),
}
STORY_FILM = {"form", "run", "film-page"}
STORY_BATCH = {"batch"}
OF_THE_UI = ("form", "run", *PAGES, "takes-form")
SHEET_WIDTH = 1024
DARK, GOLD, RED = "#15161f", "#f5b642", "#f05454"


async def photograph(site: Site, wanted: set[str], folder: Path, version: Version) -> None:
    """Do in the Prefect UI what pictures are wanted of, and leave them in a folder."""
    runs: dict[str, UUID] = {}
    if wanted & {*STORY_FILM, "report"}:
        runs["film-page"] = await make_film(site, version, folder)
    if wanted & {*STORY_BATCH, "report"}:
        archive = await KlingArchive.aload("default")
        runs["batch"] = await make_batch(site, version, archive.prefix, folder)
    if "takes-form" in wanted:
        await pick_takes(site, version, folder)
    for name, shown in PAGES.items():
        if name not in wanted:
            continue
        if shown.deployment:
            started = await arun_deployment(
                shown.deployment, parameters=dict(shown.parameters), timeout=0
            )
            runs[name] = started.id
        artifact = await _artifact_of(runs[name], shown)
        await _look_at_page(site, artifact, shown.height, folder / f"{name}.png", version)


async def _artifact_of(run_id: UUID, shown: RunPage) -> UUID:
    """Wait until a run has a page with a text, and return the artifact's id."""
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    deadline = time.monotonic() + RENDER_MS / 1000
    async with get_client() as api:
        while True:
            pages = await api.read_artifacts(artifact_filter=of_run)
            for each in pages:
                if (each.key or "").startswith(shown.key) and shown.says in str(each.data):
                    return each.id
            if time.monotonic() > deadline:
                found = [(each.key, str(each.data)[:300]) for each in pages]
                raise TimeoutError(f"no page {shown.key} says {shown.says!r}: {found}")
            await asyncio.sleep(0.5)


async def _look_at_page(
    site: Site, artifact: UUID, height: int, picture: Path, version: Version
) -> None:
    async with browser_page() as page:
        await page.set_viewport_size({"width": 1400, "height": height})
        await open_artifact(page, site.ui, artifact, version)
        await page.wait_for_timeout(1500)
        await page.screenshot(path=picture, animations="disabled")


def keep_small(picture: Path, target: Path) -> None:
    """Keep a picture with 256 colours, which is a third of its bytes."""
    with Image.open(picture) as taken:
        few = taken.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


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
    of_the_ui = set(wanted) & set(OF_THE_UI)
    if not of_the_ui:
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as disk:
        with set_up(Path(disk), short_side=720) as site:
            asyncio.run(photograph(site, of_the_ui, Path(disk), "v2"))
        for name in of_the_ui:
            keep_small(Path(disk) / f"{name}.png", DOCS / f"{name}.png")


if __name__ == "__main__":
    make_pictures(sys.argv[1:])
