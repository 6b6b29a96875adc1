"""Check that what a storyboard names exists: references, characters, and files."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from prefect_kling.kling.links import is_link
from prefect_kling.studio.errors import InputUnusable
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.prompts import BY_PLACE, MENTION
from prefect_kling.studio.film.reading.plain_text import spellings
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    ShotSettings,
    Storyboard,
)
from prefect_kling.studio.film.uploads import input_path, local_file

# Possessive, and only from the first of several signs: a text of nothing but `<` is read once.
_ALMOST = re.compile(r"(?<!<)<++\s*+([^<>\s]++)\s*+>++|@([\w-]++)")
_VIDEO = re.compile(r"\.(mp4|mov)(\?.*)?$", re.IGNORECASE)
_NEITHER = re.compile(r"\w+:/|www\.", re.IGNORECASE)


def beside(board: Storyboard, folder: Path) -> Storyboard:
    """Return the storyboard with files that references name found from this folder."""

    def found(source: str | None) -> str | None:
        if source is None or is_link(source) or _NEITHER.match(source):
            return source
        # `~/` is the home folder. `~somebody` is a name like any other.
        home = re.sub(r"^~(?=/)", str(Path.home()), source)
        return str(_as_it_is_there(folder.absolute() / home))

    references = {}
    for name, each in board.references.items():
        update = {"image": found(each.image), "video": found(each.video)}
        references[name] = each.model_copy(update=update)
    return board.model_copy(update={"references": references})


def _as_it_is_there(path: Path) -> Path:
    """Return a path as the file system spells it: macOS writes `ü` as `u` and two dots."""
    return next((each for each in map(Path, spellings(str(path))) if _exists(each)), path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def file_mistakes(board: Storyboard, folder: Path) -> Iterator[Mistake]:
    """Yield the files that are missing, or that the API would not take.

    Free. Reads the files, and uploads nothing.
    """
    listed: dict[Path, tuple[str, ...] | None] = {}
    for name, reference in board.references.items():
        is_video = reference.video is not None
        place: Place = ("references", name, "image")
        if is_video:
            place = ("references", name, "video")

        path = local_file(reference)
        if path is None:
            if _has_spaces(reference.image or reference.video or ""):
                yield Mistake("link_with_spaces", place)
            continue
        mistake = _file_mistake(path, is_video, folder, listed)
        if mistake is not None:
            yield mistake.within(place)


def _has_spaces(link: str) -> bool:
    return re.search(r"\s", link) is not None


def _file_mistake(
    path: Path, is_video: bool, folder: Path, listed: dict[Path, tuple[str, ...] | None]
) -> Mistake | None:
    written = str(path).removeprefix(f"{folder.absolute()}/")
    if not path.is_absolute():
        return Mistake("no_file_no_link", value=written)
    try:
        if not path.exists():
            if path.parent not in listed:
                listed[path.parent] = _files_in(path.parent)
            files = listed[path.parent]
            if files is None:
                return Mistake("no_folder", value=written, limit=path.parent)
            return Mistake("no_file", value=written, limit=files)
        input_path(path, is_video=is_video)
    except InputUnusable as error:
        return Mistake("other", value=error.summary.replace(str(path), written))
    except (OSError, ValueError):
        return Mistake("no_file_name", value=written)
    return None


def _files_in(folder: Path) -> tuple[str, ...] | None:
    """Return the names of the files in a folder, or None if there is no such folder."""
    try:
        return tuple(each.name for each in folder.iterdir() if each.is_file())
    except OSError:
        return None


def name_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield every use of a reference or a character that the storyboard does not have."""
    # The same names for every mistake: a copy for each would grow with the square of the text.
    known = {"reference": tuple(board.references), "character": tuple(board.characters)}
    for place, name, kind in _names(board):
        mistake = _name_mistake(name, kind, board, known)
        if mistake is not None:
            yield mistake.within(place)

    for place, text in _texts(board):
        for mistake in _text_mistakes(text, board, known):
            yield mistake.within(place)
        # An empty look undoes the one that is inherited.
        if place[-1] != "look" and not text.strip():
            yield Mistake("blank_text", place)


_Known = Mapping[str, tuple[str, ...]]
_Kind = Literal["character", "reference", "picture", "video"]


def _settings(board: Storyboard) -> Iterator[tuple[Place, ShotSettings]]:
    """Yield everything that has settings: the defaults, scenes and shots."""
    yield ("defaults",), board.defaults
    for number, scene in enumerate(board.scenes):
        yield ("scenes", number), scene
        for index, shot in enumerate(scene.shots):
            yield ("scenes", number, "shots", index), shot


def _names(board: Storyboard) -> Iterator[tuple[Place, str, _Kind]]:
    """Yield each use of a name with what it is to be the name of."""
    listed: dict[str, _Kind] = {
        "characters": "character",
        "references": "reference",
        "keyframes": "picture",
    }
    single: dict[str, _Kind] = {
        "first_frame": "picture",
        "end_frame": "picture",
        "edit_of": "video",
    }
    parts: list[tuple[Place, Character | ShotSettings]] = []
    for person, character in board.characters.items():
        parts.append((("characters", person), character))
    parts.extend(_settings(board))

    for place, part in parts:
        for field, kind in listed.items():
            names = getattr(part, field, None) or ()
            for number, name in enumerate(names):
                yield (*place, field, number), name, kind
        for field, kind in single.items():
            name = getattr(part, field, None)
            if name is not None:
                yield (*place, field), name, kind


def _texts(board: Storyboard) -> Iterator[tuple[Place, str]]:
    """Yield each text that becomes part of a prompt."""
    for name, character in board.characters.items():
        yield ("characters", name, "description"), character.description
    for place, part in _settings(board):
        for field in ("prompt", "look"):
            text = getattr(part, field, None)
            if text is not None:
                yield (*place, field), text


def _name_mistake(name: str, kind: _Kind, board: Storyboard, known: _Known) -> Mistake | None:
    if kind == "character":
        if name in board.characters:
            return None
        if name in board.references:
            return Mistake("is_reference", value=name)
        return Mistake("no_character", value=name, limit=known["character"])

    if is_link(name):
        if kind != "video" and _VIDEO.search(name):
            return Mistake("link_to_video")
        if _has_spaces(name):
            return Mistake("link_with_spaces")
        return None

    if name not in board.references:
        return _no_reference(name, board, known)
    reference = board.references[name]
    if kind == "picture" and reference.image is None:
        return Mistake("no_picture", value=name)
    if kind == "video" and reference.video is None:
        return Mistake("no_video", value=name)
    return None


def _no_reference(name: str, board: Storyboard, known: _Known) -> Mistake:
    if name in board.characters:
        return Mistake("is_character", value=name)
    return Mistake("no_reference", value=name, limit=known["reference"])


def _text_mistakes(text: str, board: Storyboard, known: _Known) -> Iterator[Mistake]:
    """Yield what is wrong with the `<<<name>>>` of a text, and names that almost look like one."""
    for name in MENTION.findall(text):
        if not BY_PLACE.fullmatch(name) and name not in board.references:
            yield _no_reference(name, board, known)
    for found in _ALMOST.finditer(text):
        name = found[1] or found[2]
        if name in board.references and not MENTION.fullmatch(found[0]):
            yield Mistake("almost_mention", value=found[0], limit=name)
