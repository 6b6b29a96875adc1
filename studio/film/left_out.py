"""Shots and scenes that a version leaves out, and what becomes of those that are left."""

from collections.abc import Iterator
from typing import Any

from prefect_kling.studio.film.continuity.registry import CONTINUITIES
from prefect_kling.studio.film.storyboard import Scene, Storyboard, Version

Kept = tuple[tuple[int, tuple[int, ...]], ...]
"""The scenes of a version by their places in the story, each with the places of its shots."""


def kept_shots(board: Storyboard, version: Version | None) -> Kept:
    """Return the scenes and shots that a version has, and those that these are made from."""
    kept = []
    for place, scene in enumerate(board.scenes):
        wanted = [is_wanted(version, place, index, scene) for index in range(len(scene.shots))]
        shots = _made(scene, wanted)
        if shots:
            kept.append((place, shots))
    return tuple(kept)


def _made(scene: Scene, wanted: list[bool]) -> tuple[int, ...]:
    """Return the shots that are wanted, and those that a wanted one is made from."""
    made: list[int] = []
    is_source = False
    for index in reversed(range(len(scene.shots))):
        if not (wanted[index] or is_source):
            continue
        made.append(index)
        shot = scene.shots[index]
        is_source = CONTINUITIES[shot.continuity or scene.continuity].is_serial
    return tuple(reversed(made))


def is_wanted(version: Version | None, place: int, index: int, scene: Scene) -> bool:
    """Whether a version shows a shot of a scene."""
    if version is None:
        return True
    names = names_of(place, index, scene)
    if version.only and not names.intersection(version.only):
        return False
    return not names.intersection(version.without)


def names_of(place: int, index: int, scene: Scene) -> set[str]:
    """Return what a shot can be called: its number, its title, and those of its scene."""
    names = {str(place + 1), f"{place + 1}.{index + 1}", scene.title, scene.shots[index].title}
    return names - {""}


def cut_scenes(
    board: Storyboard,
    kept: Kept,
    scenes: list[dict[str, Any]],
    version: Version | None,
) -> Iterator[dict[str, Any]]:
    """Yield the scenes with the shots that are kept; those that are only made are not shown."""
    for place, shots in kept:
        scene = board.scenes[place]
        data = scenes[place]
        every = data["shots"]
        has_pictures = len(scene.keyframes) - len(every) in (0, 1)
        if scene.continuity == "keyframes" and len(shots) < len(every) and has_pictures:
            _name_frames(data)
        data["shots"] = [every[index] for index in shots]
        for index in shots:
            if not is_wanted(version, place, index, scene):
                every[index]["shown"] = False
        yield data


def _name_frames(scene: dict[str, Any]) -> None:
    """Have the shots of a keyframes scene name the pictures that their places gave them."""
    keyframes = [*scene["keyframes"], None]
    for index, shot in enumerate(scene["shots"]):
        if shot["continuity"] is None:
            shot["first_frame"] = shot["first_frame"] or keyframes[index]
            shot["end_frame"] = shot["end_frame"] or keyframes[index + 1]
    scene["keyframes"] = []
    scene["continuity"] = "cut"
