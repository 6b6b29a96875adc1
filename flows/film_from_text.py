"""A film from a storyboard as text: what people without code start in the Prefect UI."""

from typing import Annotated

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.film import make_film
from prefect_kling.flows.spending import Spending
from prefect_kling.studio.bucket import in_thread
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.films import Film
from prefect_kling.studio.script.inputs import is_link
from prefect_kling.studio.script.reader import read_storyboard
from prefect_kling.tasks.logs import run_logger

LONGEST_BYTES = 2_000_000
StoryboardText = Annotated[
    str,
    Field(
        min_length=1,
        title="Storyboard",
        description="Paste a storyboard (YAML or JSON), or give where one is: a link, or an s3:// address in the "
        "archive's bucket.",
    ),
]


@flow(name="film-from-storyboard", flow_run_name="film from a storyboard", persist_result=False)
async def film_from_storyboard(
    storyboard: StoryboardText,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending = Spending(),
) -> Film:
    """Make a film from a storyboard given as text, as a link, or as an address in the archive's bucket.

    **Costs the sum of the shots that are not archived yet.** A mistake in the storyboard is told with its line before
    anything is sent. References must be links: files of somebody's machine are not here.

    Args:
        storyboard: The text, or where it is.
        credentials: Access to the Kling API.
        archive: Where clips, films and the ledger are kept.
        spending: How much the film may cost, and above what price a person is asked.
    """
    board = read_storyboard(await _text(storyboard.strip(), archive))
    await _rename(f"film {board.title}")
    return await make_film(board, credentials, archive, spending)


async def _text(given: str, archive: KlingArchive) -> str:
    if "\n" in given:
        return given
    if given.startswith("s3://"):
        return await in_thread(_read, given, archive)
    return await _download(given) if is_link(given) else given


def _read(uri: str, archive: KlingArchive) -> str:
    bucket = archive.get_archive().bucket
    root = bucket.uri("")
    if not uri.startswith(root):
        raise StoryboardInvalid(f"{uri} is not in the archive; its addresses begin with {root}")
    stored = bucket.read(uri.removeprefix(root))
    if stored is None:
        raise StoryboardInvalid(f"there is nothing at {uri}")
    return stored.body.decode("utf-8", errors="replace")


async def _download(link: str) -> str:
    try:
        async with httpx.AsyncClient(follow_redirects=True, timeout=30) as client:
            answer = (await client.get(link)).raise_for_status()
    except httpx.HTTPError as error:
        raise StoryboardInvalid(f"the storyboard cannot be fetched: {error}") from None
    if len(answer.content) > LONGEST_BYTES:
        raise StoryboardInvalid(f"{link} is no storyboard: it holds {len(answer.content):,} bytes")
    return answer.text


async def _rename(name: str) -> None:
    """Name the run after its film, which is known only now; a view, so trouble stops nothing."""
    try:
        async with get_client() as api:
            await api.update_flow_run(flow_run.id, name=name)
    except httpx.HTTPError as error:
        run_logger().warning("the run keeps its name: %s", error)
