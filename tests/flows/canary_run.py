"""A film of continued shots, made with everything logged; its argument marks its prompts."""

import asyncio
import contextlib
import sys

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import collect_finished, produce_film
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.film.storyboard import Storyboard


async def main(tag: str) -> None:
    """Make it twice: the first time one of its requests is answered so that the clip is held."""
    credentials = await KlingCredentials.load("canary")
    archive = await KlingArchive.load("canary")
    chain = {"continuity": "last_frame", "shots": [{"prompt": f"{n} {tag}"} for n in range(2)]}
    alone = {"shots": [{"prompt": f"[fail:CONTENT_MODERATION] {tag}"}]}
    for scenes in ([chain, alone], [chain]):
        board = Storyboard.model_validate(
            {"title": "Canary", "defaults": {"duration": 3}, "scenes": scenes}
        )
        with contextlib.suppress(StudioError):
            await produce_film(board, credentials, archive)
        await collect_finished(credentials, archive)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
