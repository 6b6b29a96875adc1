"""A film of all six continuities: pay only for what changed."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from tests.flows.pictures import paint

pytestmark = [pytest.mark.usefixtures("prefect_ui"), pytest.mark.slow]

SCENES = {
    "cut": 2,
    "last_frame": 3,
    "keyframes": 2,
    "reference_video": 3,
    "edit": 3,
    "multi_shot": 3,
}
CHANGED = 2
"""Which shot of each scene is rewritten, counted from 1."""
DOWNSTREAM = {
    "cut": [2],
    "last_frame": [2, 3],
    "keyframes": [2],
    "reference_video": [2, 3],
    "edit": [2, 3],
    "multi_shot": [1],
}
"""The clips of each scene that depend on that shot, counted from 1."""
CLIPS = sum(SCENES.values()) - SCENES["multi_shot"] + 1
"""Several shots of one request are one clip."""


def board(pictures: Path, words: Mapping[str, str], order: list[str]) -> Storyboard:
    """The storyboard; `words` rewrites a shot of a scene."""
    keys = {f"key{number}": {"image": str(pictures / f"{number}.png")} for number in range(3)}
    scenes = []
    for name in order:
        shots = [{"prompt": f"{name} {number}"} for number in range(1, SCENES[name] + 1)]
        if name in words:
            shots[CHANGED - 1] = {"prompt": words[name]}
        scene = {"title": name, "continuity": name, "shots": shots}
        if name == "keyframes":
            scene["keyframes"] = [*keys]
        scenes.append(scene)
    return Storyboard.model_validate(
        {
            "title": "Every continuity",
            "defaults": {"duration": 3},
            "references": keys,
            "scenes": scenes,
        }
    )


def clip_keys(film: Film) -> dict[str, list[str]]:
    """The clip keys of each scene, by its title."""
    found: dict[str, list[str]] = {}
    names = list(SCENES)
    for clip in film.clips:
        found.setdefault(names[int(clip.name.split(".")[0]) - 1], []).append(clip.clip.clip_key)
    return found


async def test_only_what_changed_is_paid(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    """A job for each clip; none for the same film or a new order; only what depends on a change."""
    for number in range(3):
        paint(tmp_path / f"{number}.png", (50 * number, 255 - 50 * number, 128))

    async def film_of(words: Mapping[str, str], order: list[str]) -> tuple[Film, int]:
        before = sandbox.stats()["created"]
        film = await produce_film(board(tmp_path, words, order), credentials, archive_block)
        return film, int(sandbox.stats()["created"]) - int(before)

    first, paid = await film_of({}, list(SCENES))
    assert paid == CLIPS
    again, paid = await film_of({}, list(SCENES))
    assert (again, paid) == (first, 0)

    changed, paid = await film_of({name: f"{name}, rewritten" for name in SCENES}, list(SCENES))
    assert paid == sum(len(numbers) for numbers in DOWNSTREAM.values())
    old, new = clip_keys(first), clip_keys(changed)
    made = {
        name: [n for n, key in enumerate(new[name], 1) if key not in old[name]] for name in SCENES
    }
    assert made == DOWNSTREAM

    turned, paid = await film_of({}, list(reversed(SCENES)))
    assert paid == 0
    assert turned.uri != first.uri
    assert {clip.clip.sha256 for clip in turned.clips} == {clip.clip.sha256 for clip in first.clips}
