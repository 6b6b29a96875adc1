"""A film of sixty paid clips in all six continuities: pay only for what changed."""

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

pytestmark = pytest.mark.usefixtures("prefect_ui")

SCENES = {
    "cut": 12,
    "last_frame": 12,
    "keyframes": 12,
    "reference_video": 12,
    "edit": 11,
    "multi_shot": 5,
}
CHANGED = 4
"""Which shot of each scene is rewritten, counted from 1."""
DOWNSTREAM = {
    "cut": [4],
    "last_frame": list(range(4, 13)),
    "keyframes": [4],
    "reference_video": list(range(4, 13)),
    "edit": list(range(4, 12)),
    "multi_shot": [1],
}
"""The clips of each scene that depend on that shot, counted from 1."""


def board(pictures: Path, words: Mapping[str, str], order: list[str]) -> Storyboard:
    """The storyboard; `words` rewrites the fourth shot of a scene."""
    keys = {f"key{number}": {"image": str(pictures / f"{number}.png")} for number in range(13)}
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
        {"title": "Sixty", "defaults": {"duration": 3}, "references": keys, "scenes": scenes}
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
    """Sixty jobs; none for the same film or a new order; what depends on a rewritten shot."""
    for number in range(13):
        paint(tmp_path / f"{number}.png", (20 * number, 255 - 20 * number, 128))

    async def film_of(words: Mapping[str, str], order: list[str]) -> tuple[Film, int]:
        before = sandbox.stats()["created"]
        film = await produce_film(board(tmp_path, words, order), credentials, archive_block)
        return film, int(sandbox.stats()["created"]) - int(before)

    first, paid = await film_of({}, list(SCENES))
    assert paid == 60
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
