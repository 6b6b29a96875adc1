"""Long films on the Prefect server everybody begins with."""

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film
from prefect_kling.kling.sandbox import Sandbox
from prefect_kling.studio.archive import Archive
from prefect_kling.studio.script.storyboard import Storyboard


@pytest.mark.usefixtures("prefect_ui")
async def test_many_scenes_are_made_with_a_server_on_sqlite(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Scenes begin a few at a time, because all at once are refused; then all of them go on side by side."""
    tag, before = archive.bucket.prefix, sandbox.stats()["created"]
    scenes = [{"shots": [{"prompt": f"{tag} {number}", "duration": 3}]} for number in range(24)]
    film = await produce_film(
        Storyboard.model_validate({"title": "Many scenes", "scenes": scenes}), credentials, archive_block
    )
    assert len(film.clips) == 24
    assert sandbox.stats()["created"] == before + 24
