"""A headless Chromium for tests that look at Prefect's pages, and the steps people take there.

The steps were found by hand in Prefect 3.8.8 and 3.9.1, whose first UI is served at `/` and the
second at `/v2`.
"""

import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

Version = Literal["v1", "v2"]
Value = str | float | bool

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, because tests run as root in containers; the rest keeps the browser from calling
# anybody but us.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SUBMIT = {"v1": "Submit", "v2": "Resume"}
DROP_DOWN = ".p-select-button__control, [aria-haspopup=listbox], [role=combobox]"
PATIENCE_MS = 120_000
ONCE_MS = 10_000
PRESSES = 5


@asynccontextmanager
async def browser_page() -> AsyncIterator["Page"]:
    """Open an empty page of 1400 x 1000 pixels in a Chromium of its own, which ends with the block.

    Skips the test where there is no Chromium or no playwright. Steps on the page wait half a minute
    before they raise `playwright.async_api.TimeoutError`.
    """
    found = require_browser()
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=QUIET)
        try:
            page = await browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PATIENCE_MS)
            yield page
        finally:
            await browser.close()


def require_browser() -> str:
    """Return the browser's path; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    return found


async def open_run(page: "Page", ui: str, flow_run_id: UUID, version: Version) -> None:
    """Show a flow run's page and wait for the run itself. `ui` is the Prefect server's address."""
    await page.goto(f"{_root(ui, version)}/runs/flow-run/{flow_run_id}")
    await page.get_by_text("Job Variables", exact=True).last.wait_for()


async def open_run_tab(page: "Page", name: str) -> None:
    """Turn to a tab of the flow run's page that is shown, such as Artifacts or Parameters."""
    # The first UI's tabs have no role, and an older menu may hold the same word further up.
    await page.get_by_text(name, exact=True).last.click()


async def open_artifact(page: "Page", ui: str, artifact_id: UUID, version: Version) -> None:
    """Show one version of an artifact and wait for it. An open page follows no later changes."""
    await page.goto(f"{_root(ui, version)}/artifacts/artifact/{artifact_id}")
    await page.get_by_role("button", name=re.compile("show raw data", re.IGNORECASE)).wait_for()


async def open_resume_form(page: "Page", ui: str, flow_run_id: UUID, version: Version) -> "Locator":
    """Show the form of a run that waits for input; its first part is the description."""
    await open_run(page, ui, flow_run_id, version)
    await page.get_by_text("Suspended", exact=True).first.wait_for()
    if version == "v1":
        await page.get_by_role("button", name="Resume").click()
    else:
        await page.locator("button[aria-haspopup=menu]").first.click()
        await page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    await form.locator("fieldset").first.wait_for()
    return form


async def open_block_form(page: "Page", ui: str, slug: str, version: Version) -> "Locator":
    """Show the empty form of a new block of some type and return it."""
    await page.goto(f"{_root(ui, version)}/blocks/catalog/{slug}/create")
    form = page.locator("form").first
    await form.locator("label").nth(1).wait_for()
    return form


async def save_block(form: "Locator", name: str, version: Version) -> None:
    """Name the block and save it; wait until its own page is shown."""
    caption = {"v1": "Block Name", "v2": "Name"}[version]
    label = form.locator("label").filter(has_text=re.compile(rf"^{caption}$"))
    await label.locator("xpath=ancestor::*[.//input][1]").locator("input").first.fill(name)
    button = form.get_by_role("button", name={"v1": "Create", "v2": "Save"}[version])
    await _insist(button, lambda: form.page.wait_for_url("**/blocks/block/*", timeout=ONCE_MS))


async def open_run_form(page: "Page", ui: str, deployment_id: UUID, version: Version) -> "Locator":
    """Show *Custom run* of a deployment and return the form."""
    await page.goto(f"{_root(ui, version)}/deployments/deployment/{deployment_id}/run")
    await page.get_by_text("Parameters", exact=True).first.wait_for()
    form = page.locator("form").first
    await form.locator("label").nth(1).wait_for()
    return form


async def start_run(form: "Locator") -> UUID:
    """Send the form that starts a run and return the run's id."""
    page = form.page
    told = page.expect_response(lambda answer: "create_flow_run" in answer.url and answer.ok)
    async with told as answer:
        button = form.get_by_role("button", name="Submit")
        await _insist(
            button, lambda: page.wait_for_url(re.compile(r"^(?!.*/run$)"), timeout=ONCE_MS)
        )
    return UUID((await (await answer.value).json())["id"])


async def _insist(button: "Locator", done: Callable[[], Awaitable[None]]) -> None:
    """Press a button until it has had its effect.

    Prefect's server answers 503 when SQLite is busy, and its UI gives up.
    """
    for _ in range(PRESSES - 1):
        await button.click()
        try:
            return await done()
        except _timeout():
            continue
    await button.click()
    return await done()


def _timeout() -> type[Exception]:
    from playwright.async_api import TimeoutError as PlaywrightTimeout

    return PlaywrightTimeout


async def pick(form: "Locator", title: str, choice: str) -> None:
    """Choose from the list of a field: a block by its name, or one of a few values."""
    # By key: the first UI's drop-down closes again at once when its box is clicked.
    await _body(form, title).locator(DROP_DOWN).press("Space")
    option = form.page.get_by_role("option", name=choice, exact=True)
    await option.click()
    await option.wait_for(state="hidden")


async def fill(form: "Locator", title: str, value: Value) -> None:
    """Set one field, named by its title: a text, a number, a switch or a choice.

    Also serves the form that starts a run of a deployment, where a field's title is the parameter's
    name and the form may be the page's `body`.
    """
    body = _body(form, title)
    await body.wait_for()
    box = body.locator("textarea, input:not([type=checkbox])")
    if isinstance(value, bool):
        await _turn(body.get_by_role("switch"), on=value)
    elif await box.count():
        await box.first.fill(str(value))
    else:
        await pick(form, title, str(value))


def _body(form: "Locator", title: str) -> "Locator":
    """Return what belongs to the label: a body in the first UI, a field set in the second."""
    caption = re.compile(rf"^\s*{re.escape(title)}(\s+\(Optional\))?\s*$")
    label = form.locator("label").filter(has_text=caption)
    first = label.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' p-label ')][1]")
    second = label.locator("xpath=ancestor::*[.//fieldset][1]")
    return first.locator(".p-label__body").or_(second.locator("fieldset")).first


async def submit(form: "Locator", version: Version) -> None:
    """Send the form and wait until it is gone, which it is once the server has taken the input.

    Raises `TimeoutError` of playwright when the server refused it: the form stays open, with
    `refusal` in a corner.
    """
    button = form.get_by_role("button", name=SUBMIT[version])
    for _ in range(PRESSES):
        status = await _resume_status(button)
        if status is not None and status < 500:
            break
    await form.wait_for(state="hidden")


async def _resume_status(button: "Locator") -> int | None:
    """Press the button; the status of the answer to the resume request, None without an answer.

    A request that was sent is waited for, however slow the server is: a second one would resume a
    run that goes on already.
    """
    resumes = button.page.expect_request(re.compile("/resume$"), timeout=ONCE_MS)
    try:
        async with resumes as sent:
            await button.click()
    except _timeout():
        return None
    answer = await (await sent.value).response()
    if answer is None:
        return None
    return answer.status


def refusal(page: "Page") -> "Locator":
    """Return what the page says when the server refused the values of a form."""
    return page.get_by_text("Reason: ").first


async def resume_run(
    page: "Page", ui: str, flow_run_id: UUID, values: Mapping[str, Value], version: Version
) -> None:
    """Resume a suspended run as a person does: open its form, set fields by title, send it."""
    form = await open_resume_form(page, ui, flow_run_id, version)
    for title, value in values.items():
        await fill(form, title, value)
    await submit(form, version)


async def _turn(switch: "Locator", *, on: bool) -> None:
    if (await switch.get_attribute("aria-checked") == "true") != on:
        await switch.click()


def _root(ui: str, version: Version) -> str:
    return ui if version == "v1" else f"{ui}/v2"
