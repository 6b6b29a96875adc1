"""Versions of one story: each becomes a plain storyboard, and everything after it sees only that.

Versions share clips because equal requests have equal keys; nothing here provides for it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.continuity.registry import CONTINUITIES
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.storyboard import (
    Place,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    Version,
)

VARIABLE = re.compile(r"\{\{\s*([\w-]+)\s*\}\}")
_ALMOST = re.compile(r"(?<!\{)\{\s*([\w-]+)\s*\}(?!\})")
MOST_VERSIONS = 100
"""Of one story."""
MOST_SHOTS = 1000
"""Of one film, and of all versions of a story together."""

Kept = tuple[tuple[int, tuple[int, ...]], ...]
"""The scenes of a version by their places in the story, each with the places of its shots."""


class FilmVersion(BaseModel):
    """One version of a story as a plain storyboard. Without versions, a story is one film."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Empty where the story has no versions."""
    board: Storyboard


class Story(BaseModel):
    """A storyboard, and the films that it stands for: one for each version."""

    model_config = ConfigDict(frozen=True)

    board: Storyboard
    """As it was written."""
    films: tuple[FilmVersion, ...]

    @property
    def has_versions(self) -> bool:
        """Whether it was written with versions."""
        return bool(self.board.versions)

    def chosen(self, names: Iterable[str]) -> "Story":
        """Return the story with these versions only; with all, if none are named.

        Raises `StoryboardInvalid` for a name that there is not.
        """
        wanted = list(names)
        known = tuple(film.name for film in self.films if film.name)
        mistakes = [
            Mistake("no_version", value=name, limit=known) for name in wanted if name not in known
        ]
        if mistakes:
            raise StoryboardInvalid.of(mistakes)
        if not wanted:
            return self
        films = tuple(film for film in self.films if film.name in wanted)
        return self.model_copy(update={"films": films})

    def changed(self, change: Callable[[Storyboard], Storyboard]) -> "Story":
        """Return the story with what `change` returns for the storyboard of each film."""
        films = [FilmVersion(name=film.name, board=change(film.board)) for film in self.films]
        return self.model_copy(update={"films": tuple(films)})

    def single(self) -> Storyboard:
        """Return the one film of a story without versions. Raises `StoryboardInvalid` for others."""
        require_single(self.board)
        [film] = self.films
        return film.board


def require_single(board: Storyboard) -> None:
    """Raise `StoryboardInvalid` for a storyboard with versions, which is more than one film."""
    if board.versions:
        names = tuple(version.name for version in board.versions)
        raise StoryboardInvalid.of([Mistake("has_versions", ("versions",), limit=names)])


def story_of(board: Storyboard) -> Story:
    """Return the films of a storyboard. Free and offline; raises what `expand` raises."""
    films = [FilmVersion(name=each.name, board=each.board) for each in expand(board)]
    return Story(board=board, films=tuple(films))


@dataclass(frozen=True)
class Expanded:
    """A version as a plain storyboard, and which scenes and shots of the story it has."""

    name: str
    board: Storyboard
    kept: Kept

    def in_story(self, mistake: Mistake) -> Mistake:
        """Return a mistake in this version's storyboard as one of the story."""
        return in_story(mistake, self.name, self.kept)


def in_story(mistake: Mistake, version: str, kept: Kept) -> Mistake:
    """Return a mistake in the storyboard of a version as one of the story."""
    place = list(mistake.place)
    if place[:1] == ["scenes"] and len(place) > 1:
        scene, shots = kept[int(place[1])]
        place[1] = scene
        if place[2:3] == ["shots"] and len(place) > 3:
            place[3] = shots[int(place[3])]
    return replace(mistake, place=tuple(place), version=version)


def expand(board: Storyboard) -> list[Expanded]:
    """Return the plain storyboards that a storyboard stands for: one a version, or just one.

    Free, offline, the same every time. A storyboard without variables and versions is returned as
    it is, whatever braces are in its texts.

    Raises `StoryboardInvalid` for variables that are missing or not used, and for versions of one
    name, that leave out everything, or that say nothing.
    """
    if not board.versions and not board.variables:
        every = tuple((place, tuple(range(len(s.shots)))) for place, s in enumerate(board.scenes))
        return [Expanded("", board, every)]

    if len(board.versions) > MOST_VERSIONS:
        values = (len(board.versions), MOST_VERSIONS)
        mistake = Mistake("too_many_versions", ("versions",), value=values[0], limit=values[1])
        raise StoryboardInvalid.of([mistake])

    wrong = [*_version_mistakes(board), *_variable_mistakes(board)]
    if wrong:
        raise StoryboardInvalid.of(wrong)
    versions: Iterable[Version | None] = board.versions or [None]
    unfilled = [_unfilled(board, version) for version in versions]
    missing = [each for version in unfilled for each in version.missing()]
    if missing:
        raise StoryboardInvalid.of(missing)
    return [version.filled() for version in unfilled]


@dataclass(frozen=True)
class _Unfilled:
    """One version as the data of a plain storyboard that still says variables."""

    name: str
    number: int
    data: dict[str, Any]
    variables: Mapping[str, str]
    kept: Kept
    remarks: tuple[str, ...]

    def missing(self) -> Iterator[Mistake]:
        """Yield the variables that are said and have no value in this version."""
        said: dict[str, None] = {}
        for _, text in _texts_in(self.data, ()):
            said |= dict.fromkeys(VARIABLE.findall(text))
        for name in said:
            if name not in self.variables:
                place = ("versions", self.number)
                yield Mistake("variable_not_given", place, value=name, version=self.name)

    def filled(self) -> Expanded:
        """Return the version with the values of its variables."""
        try:
            plain = Storyboard.model_validate(_filled(self.data, self.variables))
        except ValidationError as error:
            raise self._refused(error) from None
        return Expanded(self.name, plain.with_remarks(self.remarks), self.kept)

    def _refused(self, error: ValidationError) -> StoryboardInvalid:
        """Return what is wrong with texts after their variables were filled in."""
        mistakes = []
        for each in error.errors(include_url=False):
            mistake = Mistake("other", each["loc"], value=each["msg"])
            if each["type"] == "string_too_long":
                limit = each["ctx"]["max_length"]
                mistake = replace(
                    mistake, rule="too_many_characters", value=each["input"], limit=limit
                )
            mistakes.append(in_story(mistake, self.name, self.kept))
        return StoryboardInvalid.of(mistakes)


def _unfilled(board: Storyboard, version: Version | None) -> _Unfilled:
    data: dict[str, Any] = board.model_dump(exclude={"variables", "versions"})
    kept = _kept(board, version)
    data["scenes"] = list(_cut_scenes(board, kept, data["scenes"], version))
    name = ""
    number = 0
    if version is not None:
        name = version.name
        number = board.versions.index(version)
        data["title"] = _title(board, version)
        _apply(version.settings(), data)
    return _Unfilled(name, number, data, _variables(board, version), kept, board.remarks)


def _title(board: Storyboard, version: Version) -> str:
    return version.title or f"{board.title}: {version.name}"


def _apply(settings: Mapping[str, object], data: dict[str, Any]) -> None:
    """Let settings count for all shots: said for the film, and nowhere else."""
    data["defaults"].update(settings)
    for scene in data["scenes"]:
        for part in (scene, *scene["shots"]):
            part.update(dict.fromkeys(settings))


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Return data whose texts say the values of variables."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: variables[found[1]], value)
    if isinstance(value, dict):
        return {name: _filled(each, variables) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(each, variables) for each in value]
    return value


def values_of(text: str, board: Storyboard) -> list[str]:
    """Return what a text of a storyboard says in its versions, each once.

    What no version gives a value to stays as it is.
    """
    found: dict[str, None] = {}
    versions: Iterable[Version | None] = board.versions or [None]
    for version in versions:
        found[_known_filled(text, _variables(board, version))] = None
    return list(found)


def _known_filled(text: str, variables: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def _variables(board: Storyboard, version: Version | None) -> dict[str, str]:
    if version is None:
        return board.variables
    return board.variables | version.variables


# Leaving out shots.


def _kept(board: Storyboard, version: Version | None) -> Kept:
    """Return the scenes and shots that a version has, and those that these are made from."""
    kept = []
    for place, scene in enumerate(board.scenes):
        wanted = [_is_wanted(version, place, index, scene) for index in range(len(scene.shots))]
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


def _is_wanted(version: Version | None, place: int, index: int, scene: Scene) -> bool:
    if version is None:
        return True
    names = _names(place, index, scene)
    if version.only and not names.intersection(version.only):
        return False
    return not names.intersection(version.without)


def _names(place: int, index: int, scene: Scene) -> set[str]:
    """Return what a shot can be called: its number, its title, and those of its scene."""
    names = {str(place + 1), f"{place + 1}.{index + 1}", scene.title, scene.shots[index].title}
    return names - {""}


def _cut_scenes(
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
            if not _is_wanted(version, place, index, scene):
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


# What is wrong with versions and variables.


def _version_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield what is wrong with single versions, and versions of one name."""
    slugs: dict[str, str] = {}
    known = tuple(dict.fromkeys(_all_names(board)))
    for number, version in enumerate(board.versions):
        place: Place = ("versions", number)
        title = _known_filled(_title(board, version), _variables(board, version))
        slug = board.model_copy(update={"title": title}).slug
        if slug in slugs or version.name in slugs.values():
            yield Mistake("version_twice", (*place, "name"), value=version.name)
        slugs[slug] = version.name

        says = version.settings() or version.variables or version.only or version.without
        if not says:
            yield Mistake("nothing_changed", place, version=version.name)
        wrong = list(_unknown_shots(version, place, known))
        yield from wrong
        if not wrong and not _shows_anything(board, version):
            yield Mistake("nothing_left", place, version=version.name)


def _all_names(board: Storyboard) -> Iterator[str]:
    for place, scene in enumerate(board.scenes):
        for index in range(len(scene.shots)):
            yield from sorted(_names(place, index, scene))


def _unknown_shots(version: Version, place: Place, known: tuple[str, ...]) -> Iterator[Mistake]:
    for field in ("only", "without"):
        for index, name in enumerate(getattr(version, field)):
            if name not in known:
                where = (*place, field, index)
                yield Mistake("no_shot", where, value=name, limit=known, version=version.name)


def _shows_anything(board: Storyboard, version: Version) -> bool:
    return any(
        _is_wanted(version, place, index, scene)
        for place, scene in enumerate(board.scenes)
        for index in range(len(scene.shots))
    )


def _variable_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield variables that are said and not given, and those that are given and not said."""
    given = {name: None for name in board.variables}
    for version in board.versions:
        given |= dict.fromkeys(version.variables)
    known = tuple(given)

    said: dict[str, None] = {}
    for place, text in _texts(board):
        for name in VARIABLE.findall(text):
            said[name] = None
            if name not in given:
                yield Mistake("no_variable", place, value=name, limit=known)
        for found in _ALMOST.finditer(text):
            if found[1] in given:
                yield Mistake("almost_variable", place, value=found[0], limit=found[1])

    for place, variables in _given_at(board):
        for name, value in variables.items():
            if name not in said:
                yield Mistake("unused_variable", (*place, name), value=name, limit=tuple(said))
            if VARIABLE.search(value):
                yield Mistake("variable_in_variable", (*place, name), value=value)


def _given_at(board: Storyboard) -> Iterator[tuple[Place, Mapping[str, str]]]:
    yield ("variables",), board.variables
    for number, version in enumerate(board.versions):
        yield ("versions", number, "variables"), version.variables


def _texts(board: Storyboard) -> Iterator[tuple[Place, str]]:
    """Yield every text that may say a variable: all of the story, and what its versions set."""
    yield from _texts_in(board.model_dump(exclude={"variables", "versions"}), ())
    settings = set(ShotSettings.model_fields) | {"title"}
    for number, version in enumerate(board.versions):
        yield from _texts_in(version.model_dump(include=settings), ("versions", number))


def _texts_in(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts_in(each, (*place, name))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _texts_in(each, (*place, index))
