"""Long films on the Prefect server everybody begins with."""

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import film, produce_film
from prefect_kling.runs.resources import RunResources
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.plan import PlannedScene
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.submission import SubmitOptions

SCENES = 12
"""More than begin at once."""


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_many_scenes_are_made_with_a_server_on_sqlite(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Scenes begin a few at a time, for all at once are refused; then all run side by side."""
    tag, before = archive.bucket.prefix, sandbox.stats()["created"]
    scenes = [{"shots": [{"prompt": f"{tag} {number}", "duration": 3}]} for number in range(SCENES)]
    film = await produce_film(
        Storyboard.model_validate({"title": "Many scenes", "scenes": scenes}),
        credentials,
        archive_block,
    )
    assert len(film.clips) == SCENES
    assert sandbox.stats()["created"] == before + SCENES


@pytest.mark.usefixtures("prefect_ui")
async def test_a_prefect_server_that_is_too_busy_does_not_cost_a_film(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scene that the server answered with 503 is begun again; nothing is paid twice for it."""
    begun = 0
    make_scene = film.make_scene

    async def refused_at_first(
        scene: PlannedScene, resources: RunResources, options: SubmitOptions
    ) -> dict[str, Clip]:
        nonlocal begun
        begun += 1
        clips = await make_scene(scene, resources, options)
        if begun == 1:
            request = httpx.Request("POST", "http://127.0.0.1/api/task_runs/")
            answer = httpx.Response(503, request=request)
            raise PrefectHTTPStatusError("busy", request=request, response=answer)
        return clips

    monkeypatch.setattr(film, "make_scene", refused_at_first)
    before = sandbox.stats()["created"]
    shots = [{"prompt": f"Busy {archive.bucket.prefix}", "duration": 3}]
    board = Storyboard.model_validate({"title": "Busy", "scenes": [{"shots": shots}]})
    assert len((await produce_film(board, credentials, archive_block)).clips) == 1
    assert begun == 2
    assert sandbox.stats()["created"] == before + 1
