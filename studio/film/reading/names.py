"""Check that what a storyboard names exists: references, characters, and files."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from prefect_kling.kling.links import is_link
from prefect_kling.studio.errors import InputUnusable
from prefect_kling.studio.film.prompts import BY_PLACE, MENTION, did_you_mean
from prefect_kling.studio.film.reading.mistakes import Mistake, show
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    ShotSettings,
    Storyboard,
    in_words,
)
from prefect_kling.studio.film.uploads import input_path, local_file

_ALMOST = re.compile(r"<+\s*([^<>\s]+)\s*>+|@([\w-]+)")
_FILE = re.compile(r"[/\\]|\.(png|jpe?g|mp4|mov)$", re.IGNORECASE)
_VIDEO = re.compile(r"\.(mp4|mov)(\?.*)?$", re.IGNORECASE)
_NEITHER = re.compile(r"\w+:/|www\.", re.IGNORECASE)


def beside(board: Storyboard, folder: Path) -> Storyboard:
    """Return the storyboard with files that references name found from this folder."""

    def found(source: str | None) -> str | None:
        if source is None or is_link(source) or _NEITHER.match(source):
            return source
        # `~/` is the home folder. `~somebody` is a name like any other.
        home = re.sub(r"^~(?=/)", str(Path.home()), source)
        return str(folder.absolute() / home)

    references = {}
    for name, each in board.references.items():
        update = {"image": found(each.image), "video": found(each.video)}
        references[name] = each.model_copy(update=update)
    return board.model_copy(update={"references": references})


def file_mistakes(board: Storyboard, folder: Path) -> Iterator[Mistake]:
    """Yield the files that are missing, or that the API would not take.

    Free. Reads the files, and uploads nothing.
    """
    for name, reference in board.references.items():
        is_video = reference.video is not None
        place: Place = ("references", name, "image")
        if is_video:
            place = ("references", name, "video")

        path = local_file(reference)
        if path is not None:
            told = _file_mistake(path, is_video, folder)
        else:
            told = _spaces(reference.image or reference.video or "")
        if told:
            yield Mistake(place, f"{in_words(place)}: {told}")


def _spaces(link: str) -> str:
    if re.search(r"\s", link) is None:
        return ""
    return "a link has no spaces; write %20 for each"


def _file_mistake(path: Path, is_video: bool, folder: Path) -> str:
    written = str(path).removeprefix(f"{folder.absolute()}/")
    if not path.is_absolute():
        return f"{show(written)} is neither a file nor a link; a link begins with https://"
    try:
        if not path.exists():
            return f"there is no file {show(written)} beside this storyboard{_near_file(path)}"
        input_path(path, is_video=is_video)
    except InputUnusable as error:
        return error.summary.replace(str(path), written)
    except (OSError, ValueError):
        return f"{show(written)} is no name a file can have"
    return ""


def _near_file(path: Path) -> str:
    try:
        files = [each.name for each in path.parent.iterdir() if each.is_file()]
        return did_you_mean(path.name, files)
    except OSError:
        return f"; there is no folder {path.parent} either"


def name_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield every use of a reference or a character that the storyboard does not have."""
    for place, name, kind in _names(board):
        told = _name_mistake(name, kind, board)
        if told:
            yield Mistake(place, f"{in_words(place)}: {told}")

    for place, text in _texts(board):
        for told in _text_mistakes(text, board):
            yield Mistake(place, f"{in_words(place)}: {told}")
        # An empty look undoes the one that is inherited.
        if place[-1] != "look" and not text.strip():
            yield Mistake(place, f"{in_words(place)}: this is empty; write something")


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


def _name_mistake(name: str, kind: _Kind, board: Storyboard) -> str:
    if kind != "character" and is_link(name):
        return _link_mistake(name, kind)

    if kind == "character":
        if name in board.characters:
            return ""
        return _unknown(name, is_character=True, board=board)
    if name not in board.references:
        return _unknown(name, is_character=False, board=board)

    reference = board.references[name]
    no_picture = kind == "picture" and reference.image is None
    no_video = kind == "video" and reference.video is None
    if no_picture or no_video:
        return f"{show(name)} is no {kind}, and a {kind} is needed here"
    return ""


def _link_mistake(link: str, kind: _Kind) -> str:
    if kind == "video" or not _VIDEO.search(link):
        return _spaces(link)
    example = "`clip: {video: https://…}`"
    return f"a link to a video gets a name under `references:` first, as in {example}"


def _unknown(name: str, is_character: bool, board: Storyboard) -> str:
    """Return in words that there is no such name, and which one could be meant."""
    known: Mapping[str, object] = board.references
    others: Mapping[str, object] = board.characters
    kind = "reference"
    other = "character"
    if is_character:
        known = board.characters
        others = board.references
        kind = "character"
        other = "reference"

    told = f"there is no {kind} called {show(name)}"
    near = did_you_mean(name, known)
    if near:
        return told + near
    if name in others:
        return f"{told}; it is a {other}: say `{other}s: [{name}]`"
    if _FILE.search(name):
        example = f"`bottle: {{image: {name}}}`"
        return f"{told}; a file gets a name under `references:` first, as in {example}"
    if known:
        return f"{told}; this storyboard has {', '.join(known)}"
    return f"{told}; none is described under `{kind}s:`"


def _text_mistakes(text: str, board: Storyboard) -> Iterator[str]:
    """Yield what is wrong with the `<<<name>>>` of a text, and names that almost look like one."""
    for name in MENTION.findall(text):
        if not BY_PLACE.fullmatch(name) and name not in board.references:
            yield _unknown(name, is_character=False, board=board)
    for found in _ALMOST.finditer(text):
        name = found[1] or found[2]
        if name in board.references and not MENTION.fullmatch(found[0]):
            yield (
                f"{found[0]} is sent as it stands; "
                f"to show the model {show(name)}, write <<<{name}>>>"
            )
