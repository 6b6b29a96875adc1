"""Versions of one story: each becomes a plain storyboard, and everything after it sees only that.

Versions share clips because equal requests have equal keys; nothing here provides for it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.left_out import Kept, cut_scenes, kept_shots
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.storyboard import Storyboard, Version
from prefect_kling.studio.film.variables import VARIABLE, filled, texts_in, variables_of
from prefect_kling.studio.film.version_mistakes import (
    title_of,
    variable_mistakes,
    version_mistakes,
)

MOST_VERSIONS = 100
"""Of one story."""
MOST_SHOTS = 1000
"""Of one film, and of all versions of a story together."""


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
        """Return the one film of a story without versions.

        Raises `StoryboardInvalid` for others.
        """
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

    versions: Iterable[Version | None] = board.versions or [None]
    unfilled = [_unfilled(board, version) for version in versions]
    mistakes = [*version_mistakes(board), *variable_mistakes(board)]
    unknown = {each.value for each in mistakes if each.rule == "no_variable"}
    missing = [each for version in unfilled for each in version.missing(unknown)]
    lacking = {each.place for each in missing}
    mistakes = [
        each for each in mistakes if each.rule != "nothing_changed" or each.place not in lacking
    ]
    mistakes += missing
    if mistakes:
        raise StoryboardInvalid.of(mistakes)
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

    def missing(self, unknown: Collection[object]) -> Iterator[Mistake]:
        """Yield the known variables that are said and have no value in this version."""
        said: dict[str, None] = {}
        for _, text in texts_in(self.data):
            said |= dict.fromkeys(VARIABLE.findall(text))
        for name in said:
            if name not in self.variables and name not in unknown:
                yield Mistake("variable_not_given", ("versions", self.number), value=name)

    def filled(self) -> Expanded:
        """Return the version with the values of its variables."""
        try:
            plain = Storyboard.model_validate(filled(self.data, self.variables))
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
    kept = kept_shots(board, version)
    data["scenes"] = list(cut_scenes(board, kept, data["scenes"], version))
    name = ""
    number = 0
    if version is not None:
        name = version.name
        number = board.versions.index(version)
        data["title"] = title_of(board, version)
        _apply(version.settings(), data)
    return _Unfilled(name, number, data, variables_of(board, version), kept, board.remarks)


def _apply(settings: Mapping[str, object], data: dict[str, Any]) -> None:
    """Let settings count for all shots: said for the film, and nowhere else."""
    data["defaults"].update(settings)
    for scene in data["scenes"]:
        for part in (scene, *scene["shots"]):
            part.update(dict.fromkeys(settings))
