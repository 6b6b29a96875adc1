"""The example storyboards, made as films."""

from pathlib import Path

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import load_story, load_storyboard

PATHS = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.yaml"))
# Stories with versions are made in test_versions.
EXAMPLES = [path for path in PATHS if not load_story(path).has_versions]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_every_example_makes_its_film(
    path: Path, credentials: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """Every shot is a chapter, every clip is paid once, and a second run pays nothing.

    No clip is suspicious: the sandbox has none of the faults that are checked.
    """
    board = load_storyboard(path)
    before = sandbox.stats()["created"]
    film = await produce_film(board, credentials, archive_block)
    shown = [shot for scene in board.scenes for shot in scene.shots if shot.shown]
    assert sum(len(clip.chapters) for clip in film.clips) == len(shown)
    clips = len(plan_film(board).by_key)
    assert sandbox.stats()["created"] - before == clips
    suspects = [each.clip.suspect for each in film.clips] + [clip.suspect for clip in film.unshown]
    assert set(suspects) == {""}
    assert await produce_film(board, credentials, archive_block) == film
    assert sandbox.stats()["created"] - before == clips
