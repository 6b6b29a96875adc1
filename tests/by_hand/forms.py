"""A picture of every form in both UIs: `python -m tests.by_hand.forms FOLDER [NAME …]`. It is free.

Forms are those of all deployments but internal ones, by their names, and those of our blocks, by
the slugs of their types. The pictures are there to be looked at: no test does.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.catalogue import our_deployments
from tests.browser import Version, browser_page, open_block_form, open_run_form
from tests.by_hand.story import set_up

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

VERSIONS: tuple[Version, ...] = ("v1", "v2")
BLOCKS = tuple(each.get_block_type_slug() for each in (KlingCredentials, KlingArchive))
INTERNAL = "internal"
# What stands above and below a form on its page.
AROUND_PIXELS = 500
Opens = Callable[["Page", Version], Awaitable["Locator"]]


async def all_forms(ui: str) -> dict[str, Opens]:
    """Return how each form is opened, by its name."""

    def run_form(deployment: UUID) -> Opens:
        return lambda page, version: open_run_form(page, ui, deployment, version)

    def block_form(slug: str) -> Opens:
        return lambda page, version: open_block_form(page, ui, slug, version)

    forms = {slug: block_form(slug) for slug in BLOCKS}
    for each in await our_deployments():
        if INTERNAL not in each.tags:
            forms[each.name] = run_form(each.id)
    return forms


async def photograph(ui: str, wanted: set[str], folder: Path) -> None:
    """Leave a picture of each wanted form, as high as the form is, or of all."""
    forms = await all_forms(ui)
    for name, opens in forms.items():
        if wanted and name not in wanted:
            continue
        for version in VERSIONS:
            async with browser_page() as page:
                form = await opens(page, version)
                # What a code field draws cannot be waited for.
                await page.wait_for_timeout(1500)
                height = await form.evaluate("form => form.scrollHeight")
                await page.set_viewport_size({"width": 1400, "height": height + AROUND_PIXELS})
                await page.wait_for_timeout(500)
                picture = folder / f"{name}-{version}.png"
                await page.screenshot(path=picture, animations="disabled")
                print(picture)


if __name__ == "__main__":
    target, *names = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as disk,
        set_up(Path(disk), short_side=180) as site,
    ):
        asyncio.run(photograph(site.ui, set(names), Path(target)))
