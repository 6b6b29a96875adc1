"""Whether what a storyboard names is there: references, characters, and the files beside it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from prefect_kling.studio.errors import InputUnusable
from prefect_kling.studio.film.prompts import BY_PLACE, MENTION, did_you_mean
from prefect_kling.studio.film.reading.mistakes import Mistake, show
from prefect_kling.studio.film.storyboard import Place, ShotSettings, Storyboard, in_words
from prefect_kling.studio.film.uploads import input_path, is_link, local_file

_ALMOST = re.compile(r"<+\s*([^<>\s]+)\s*>+|@([\w-]+)")
_FILE = re.compile(r"[/\\]|\.(png|jpe?g|mp4|mov)$", re.IGNORECASE)
_VIDEO = re.compile(r"\.(mp4|mov)(\?.*)?$", re.IGNORECASE)
_NEITHER = re.compile(r"\w+:/|www\.", re.IGNORECASE)


def beside(board: Storyboard, folder: Path) -> Storyboard:
    """Return the storyboard with files that references name found from this folder."""

    def found(source: str | None) -> str | None:
        if source is None or is_link(source) or _NEITHER.match(source):
            return source
        # `~` is a home folder; of somebody who is not known here it is a name like any other.
        home = re.sub(r"^~(?=/)", str(Path.home()), source)
        return str(folder.absolute() / home)

    update = {"image": None, "video": None}
    references = {
        name: each.model_copy(
            update=update | {"image": found(each.image), "video": found(each.video)}
        )
        for name, each in board.references.items()
    }
    return board.model_copy(update={"references": references})


def file_mistakes(board: Storyboard, folder: Path) -> Iterator[Mistake]:
    """Yield the files that are missing, or that the API would not take. Reads them; uploads nothing."""
    for name, reference in board.references.items():
        path, is_video = local_file(reference), reference.video is not None
        place: Place = ("references", name, "video" if is_video else "image")
        told = (
            _file_mistake(path, is_video, folder)
            if path
            else _spaces(reference.image or reference.video or "")
        )
        if told:
            yield Mistake(place, f"{in_words(place)}: {told}")


def _spaces(link: str) -> str:
    return "a link has no spaces; write %20 for each" if re.search(r"\s", link) else ""


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
        return did_you_mean(
            path.name, [each.name for each in path.parent.iterdir() if each.is_file()]
        )
    except OSError:
        return f"; there is no folder {path.parent} either"


def name_mistakes(board: Storyboard) -> Iterator[Mistake]:
    """Yield every name of a reference or a character that the storyboard does not have, wherever it is written."""
    for place, name, kind in _names(board):
        if told := _name_mistake(name, kind, board):
            yield Mistake(place, f"{in_words(place)}: {told}")
    for place, text in _texts(board):
        yield from (
            Mistake(place, f"{in_words(place)}: {told}") for told in _text_mistakes(text, board)
        )
        if (
            place[-1] != "look" and not text.strip()
        ):  # an empty look undoes the one that is inherited
            yield Mistake(place, f"{in_words(place)}: this is empty; write something")


_Kind = Literal["character", "reference", "picture", "video"]


def _settings(board: Storyboard) -> Iterator[tuple[Place, ShotSettings]]:
    """Yield everything that has settings: the defaults, scenes and shots."""
    yield ("defaults",), board.defaults
    for number, scene in enumerate(board.scenes):
        yield ("scenes", number), scene
        yield from (
            (("scenes", number, "shots", index), shot) for index, shot in enumerate(scene.shots)
        )


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
    people = [(("characters", name), character) for name, character in board.characters.items()]
    for place, part in [*people, *_settings(board)]:
        for field, kind in listed.items():
            names = getattr(part, field, None) or ()
            yield from (((*place, field, number), name, kind) for number, name in enumerate(names))
        for field, kind in single.items():
            if (name := getattr(part, field, None)) is not None:
                yield (*place, field), name, kind


def _texts(board: Storyboard) -> Iterator[tuple[Place, str]]:
    """Yield each text that becomes part of a prompt."""
    for name, character in board.characters.items():
        yield ("characters", name, "description"), character.description
    for place, part in _settings(board):
        for field in ("prompt", "look"):
            if (text := getattr(part, field, None)) is not None:
                yield (*place, field), text


def _name_mistake(name: str, kind: _Kind, board: Storyboard) -> str:
    if kind != "character" and is_link(name):
        return _link_mistake(name, kind)
    if name not in (board.characters if kind == "character" else board.references):
        return _unknown(name, kind == "character", board)
    wanted = {"picture": "image", "video": "video"}.get(kind)
    if wanted is None or getattr(board.references[name], wanted) is not None:
        return ""
    return f"{show(name)} is no {kind}, and a {kind} is needed here"


def _link_mistake(link: str, kind: _Kind) -> str:
    if kind == "video" or not _VIDEO.search(link):
        return _spaces(link)
    return (
        "a link to a video gets a name under `references:` first, as in `clip: {video: https://…}`"
    )


def _unknown(name: str, is_character: bool, board: Storyboard) -> str:
    """Say that there is no such name, and which one could be meant."""
    kind, field = ("character", "characters") if is_character else ("reference", "references")
    known, others = getattr(board, field), board.references if is_character else board.characters
    told = f"there is no {kind} called {show(name)}"
    if near := did_you_mean(name, known):
        return told + near
    if name in others:
        other = "reference" if is_character else "character"
        return f"{told}; it is a {other}: say `{other}s: [{name}]`"
    if _FILE.search(name):
        return f"{told}; a file gets a name under `references:` first, as in `bottle: {{image: {name}}}`"
    return (
        f"{told}; this storyboard has {', '.join(known)}"
        if known
        else f"{told}; none is described under `{field}:`"
    )


def _text_mistakes(text: str, board: Storyboard) -> Iterator[str]:
    """Yield what is wrong with the `<<<name>>>` of a text, and names that almost look like one."""
    for name in MENTION.findall(text):
        if not BY_PLACE.fullmatch(name) and name not in board.references:
            yield _unknown(name, is_character=False, board=board)
    for found in _ALMOST.finditer(text):
        name = found[1] or found[2]
        if name in board.references and not MENTION.fullmatch(found[0]):
            yield f"{found[0]} is sent as it stands; to show the model {show(name)}, write <<<{name}>>>"
