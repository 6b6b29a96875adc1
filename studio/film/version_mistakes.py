"""What is wrong with versions and variables, whatever is in their shots."""

from collections.abc import Iterator, Mapping

from prefect_kling.studio.film.left_out import is_wanted, names_of
from prefect_kling.studio.film.mistakes import Mistake, nearest
from prefect_kling.studio.film.storyboard import Place, ShotSettings, Storyboard, Version
from prefect_kling.studio.film.variables import (
    ALMOST_VARIABLE,
    VARIABLE,
    filled_where_known,
    texts_in,
    variables_of,
)


def version_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield what is wrong with single versions, and versions of one name."""
    slugs: dict[str, str] = {}
    known = tuple(dict.fromkeys(_all_names(board)))
    for number, version in enumerate(board.versions):
        place: Place = ("versions", number)
        title = filled_where_known(title_of(board, version), variables_of(board, version))
        slug = board.model_copy(update={"title": title}).slug
        if slug in slugs or version.name in slugs.values():
            yield Mistake("version_twice", (*place, "name"), value=version.name)
        slugs[slug] = version.name

        says = version.settings() or version.variables or version.only or version.without
        if not says:
            yield Mistake("nothing_changed", place)
        wrong = list(_unknown_shots(version, place, known))
        yield from wrong
        if not wrong and not _shows_anything(board, version):
            yield Mistake("nothing_left", place)


def _all_names(board: Storyboard) -> Iterator[str]:
    for place, scene in enumerate(board.scenes):
        for index in range(len(scene.shots)):
            yield from sorted(names_of(place, index, scene))


def _unknown_shots(version: Version, place: Place, known: tuple[str, ...]) -> Iterator[Mistake]:
    for field in ("only", "without"):
        for index, name in enumerate(getattr(version, field)):
            if name not in known:
                yield Mistake("no_shot", (*place, field, index), value=name, limit=known)


def _shows_anything(board: Storyboard, version: Version) -> bool:
    return any(
        is_wanted(version, place, index, scene)
        for place, scene in enumerate(board.scenes)
        for index in range(len(scene.shots))
    )


def variable_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield variables that are said and not given, and those that are given and not said."""
    given = dict.fromkeys(board.variables)
    for version in board.versions:
        given |= dict.fromkeys(version.variables)
    known = tuple(given)

    said: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for place, text in _texts(board):
        for name in VARIABLE.findall(text):
            said[name] = None
            if name not in given:
                unknown[name] = None
                yield Mistake("no_variable", place, value=name, limit=known)
        for found in ALMOST_VARIABLE.finditer(text):
            if found[1] in given:
                said[found[1]] = None
                yield Mistake("almost_variable", place, value=found[0], limit=found[1])

    for place, variables in _given_at(board):
        for name, value in variables.items():
            # One that is only misspelled where it is said was told there.
            if name not in said and not nearest(name, tuple(unknown)):
                yield Mistake("unused_variable", (*place, name), value=name, limit=tuple(said))
            if VARIABLE.search(value):
                yield Mistake("variable_in_variable", (*place, name), value=value)


def _given_at(board: Storyboard) -> Iterator[tuple[Place, Mapping[str, str]]]:
    yield ("variables",), board.variables
    for number, version in enumerate(board.versions):
        yield ("versions", number, "variables"), version.variables


def _texts(board: Storyboard) -> Iterator[tuple[Place, str]]:
    """Yield every text that may say a variable: all of the story, and what its versions set."""
    yield from texts_in(board.model_dump(exclude={"variables", "versions"}))
    settings = set(ShotSettings.model_fields) | {"title"}
    for number, version in enumerate(board.versions):
        yield from texts_in(version.model_dump(include=settings), ("versions", number))


def title_of(board: Storyboard, version: Version) -> str:
    """Return the title of the film of a version, which may say variables."""
    return version.title or f"{board.title}: {version.name}"
