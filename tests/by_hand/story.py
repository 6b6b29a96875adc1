"""From nothing to a film as a person gets there: some commands, then clicks in the Prefect UI."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.orchestration import get_client

from prefect_kling.blocks.links import BUCKET_LOGO_URL, KEY_LOGO_URL
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.practice import answers
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.processes import running
from prefect_kling.deployments.local.seaweed import LocalS3, seaweed
from prefect_kling.sandbox import Sandbox, SandboxSettings
from tests.browser import (
    Version,
    browser_page,
    fill,
    open_block_form,
    open_resume_form,
    open_run,
    open_run_form,
    open_run_tab,
    pick,
    resume_run,
    save_block,
    start_run,
)

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOT = Path(__file__).parent.parent.parent
RENDER_MS = 120_000
STORYBOARD = """\
title: First light
defaults: {model: kling-v3-omni, duration: 3}
scenes:
  - title: The harbour
    continuity: last_frame
    shots:
      - {title: Before dawn, prompt: "Fishing boats at anchor, slow push in"}
      - {title: The lamp, prompt: A lamp is lit in the nearest cabin}
  - title: The open sea
    shots:
      - {title: Gulls, prompt: Gulls wheel against an orange sky}
"""


@dataclass(frozen=True)
class Site:
    """Where everything runs: UI, store and API, and the environment of this user's terminal."""

    ui: str
    s3: LocalS3
    sandbox: Sandbox
    surroundings: dict[str, str]

    def type(self, *words: str) -> None:
        """Run a command as typed; raises `AssertionError` with what it said when it fails."""
        done = subprocess.run(
            _command(words), env=self.surroundings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"


@contextmanager
def set_up(folder: Path, short_side: int) -> Iterator[Site]:
    """Start stand-ins and a Prefect server; set up, deploy and start a worker by command."""
    settings = SandboxSettings(
        render_seconds=(2.0, 4.0), short_side=short_side, folder=folder / "api"
    )
    with ExitStack() as parts:
        sandbox = parts.enter_context(Sandbox(settings))
        s3 = parts.enter_context(seaweed(folder / "s3", BUCKET))
        ui = parts.enter_context(prefect_server(folder / "prefect"))
        site = Site(ui, s3, sandbox, _surroundings(folder, ui, s3, sandbox))
        site.type("prefect-kling", "setup", "--yes")
        site.type("prefect", "work-pool", "create", "kling", "--type", "process")
        yaml = str(ROOT / "deployments" / "prefect.yaml")
        site.type("prefect", "--no-prompt", "deploy", "--prefect-file", yaml, "--all")
        log, start = (
            folder / "worker.log",
            _command(("prefect", "worker", "start", "--pool", "kling")),
        )
        parts.enter_context(
            running(start, site.surroundings, log, lambda: "started!" in log.read_text())
        )
        yield site


def _surroundings(folder: Path, ui: str, s3: LocalS3, sandbox: Sandbox) -> dict[str, str]:
    prefect = {
        "PREFECT_API_URL": f"{ui}/api",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    return dict(os.environ) | prefect | answers(sandbox.base_url, sandbox.key, s3)


def _command(words: tuple[str, ...]) -> list[str]:
    return [str(Path(sys.executable).parent / words[0]), *words[1:]]


async def make_film(site: Site, version: Version, pictures: Path) -> UUID:
    """Make the blocks, run the film deployment by its form, look at its page; return the run's id.

    Leaves a picture of each step in a folder. Raises `playwright.async_api.TimeoutError` where a
    step does not work.
    """
    name = f"studio-{version}"
    async with browser_page() as page:
        # What the addresses of the blocks' pictures on the web would show.
        for address in (KEY_LOGO_URL, BUCKET_LOGO_URL):
            await page.route(
                str(address), lambda route: route.fulfill(path=ROOT / "docs" / "logo.png")
            )
        await _make_blocks(page, site, version, name, pictures)
        run = await _fill_and_run(page, site, version, name, pictures)
        await open_run(page, site.ui, run, version)
        await page.get_by_text("Completed", exact=True).first.wait_for(timeout=RENDER_MS)
        await page.reload()
        await page.get_by_text("joined without re-encoding").first.wait_for()
        await page.locator("canvas").first.wait_for()
        await _look(page, pictures / "run.png")
        await open_run_tab(page, "Artifacts")
        await page.get_by_text("First light: 9.0 s").first.wait_for()
        await page.get_by_text("first-light", exact=True).first.click()
        sheet = page.get_by_role("img", name="Contact sheet")
        await sheet.wait_for()
        assert await sheet.evaluate("picture => picture.complete && picture.naturalWidth > 0")
        await _look(page, pictures / "page.png")
    return run


TABLE = """\
id,prompt,duration
MUG-1,"A mug on a turntable, studio light",3
JUG-7,"A jug on a turntable, studio light",3
"""


async def make_batch(site: Site, version: Version, prefix: str, pictures: Path) -> UUID:
    """Start a batch of a table at an address, approve it, look at its page; return the run's id.

    The table is in the default archive, whose prefix is given. Raises what `make_film` raises.
    """
    key = f"{prefix}/tables/mugs-{version}.csv"
    text = TABLE.replace("studio light", f"studio light {version}")
    site.s3.client().put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    async with get_client() as api:
        deployment = await api.read_deployment_by_name("generate-batch/batch")
    async with browser_page() as page:
        form = await open_run_form(page, site.ui, deployment.id, version)
        await fill(form, "Table", f"tables/mugs-{version}.csv")
        await pick(form, "Kling account", "default")
        await pick(form, "Archive", "default")
        await fill(form, "Ask above (US$)", 0.1)
        await _look(page, pictures / "batch-form.png")
        run = await start_run(form)
        await open_run(page, site.ui, run, version)
        await page.get_by_text("Suspended", exact=True).first.wait_for(timeout=RENDER_MS)
        question = await open_resume_form(page, site.ui, run, version)
        await question.get_by_text("2 rows, 2 different clips").first.wait_for()
        await _look(page, pictures / "batch-approval.png")
        await resume_run(page, site.ui, run, {"Your decision": "approve"}, version)
        await open_run(page, site.ui, run, version)
        await page.get_by_text("Completed", exact=True).first.wait_for(timeout=RENDER_MS)
        await page.reload()
        await open_run_tab(page, "Artifacts")
        await page.get_by_text("2 of 2 rows are archived").first.wait_for()
        await page.get_by_text(f"batch-mugs-{version}", exact=True).last.click()
        await page.get_by_text("Clips", exact=True).first.wait_for()
        await _look(page, pictures / "batch-page.png")
    return run


TAKES = """\
title: The parcel
defaults: {duration: 3, takes: 3}
scenes:
  - shots:
      - {title: The knock, prompt: "A knock at the door, she looks up from her book"}
      - {title: The courier, prompt: A courier cycles away between the cars}
"""


async def pick_takes(site: Site, version: Version, pictures: Path) -> UUID:
    """Run the film deployment with takes, and pick among them by the form; return the run's id.

    Raises what `make_film` raises.
    """
    async with get_client() as api:
        deployment = await api.read_deployment_by_name("produce-film/film")
    async with browser_page() as page:
        form = await open_run_form(page, site.ui, deployment.id, version)
        await fill(form, "Storyboard", TAKES)
        await pick(form, "Kling account", "default")
        await pick(form, "Archive", "default")
        run = await start_run(form)
        await open_run(page, site.ui, run, version)
        await page.get_by_text("Suspended", exact=True).first.wait_for(timeout=RENDER_MS)
        form = await open_resume_form(page, site.ui, run, version)
        await form.get_by_role("img", name="Takes").nth(1).wait_for()
        await form.get_by_text("1.2 The courier").last.scroll_into_view_if_needed()
        await _look(page, pictures / "takes-form.png")
        await resume_run(page, site.ui, run, {"1.1 The knock": "take 2"}, version)
        await open_run(page, site.ui, run, version)
        await page.get_by_text("Completed", exact=True).first.wait_for(timeout=RENDER_MS)
    return run


async def _make_blocks(
    page: "Page", site: Site, version: Version, name: str, pictures: Path
) -> None:
    form = await open_block_form(page, site.ui, "kling-archive", version)
    # The first UI calls a block inside a block by its type.
    await pick(form, {"v1": "S3Bucket", "v2": "Bucket"}[version], "default")
    await fill(form, "Folder", name)
    await _look(page, pictures / "block.png")
    await save_block(form, name, version)
    form = await open_block_form(page, site.ui, "kling-credentials", version)
    await fill(form, "API key", site.sandbox.key)
    await fill(form, "Base URL", site.sandbox.base_url)
    await save_block(form, name, version)


async def _fill_and_run(
    page: "Page", site: Site, version: Version, name: str, pictures: Path
) -> UUID:
    async with get_client() as api:
        deployment = await api.read_deployment_by_name("produce-film/film")
    form = await open_run_form(page, site.ui, deployment.id, version)
    await fill(form, "Storyboard", STORYBOARD)
    await pick(form, "Kling account", name)
    await pick(form, "Archive", name)
    await fill(form, "Budget (US$)", 2)
    await _look(page, pictures / "form.png")
    return await start_run(form)


async def _look(page: "Page", picture: Path) -> None:
    # What a canvas draws cannot be waited for; the pictures are for people, no test looks at them.
    await page.wait_for_timeout(1500)
    await page.screenshot(path=picture, animations="disabled")
