"""What a shot tells the model: its prompt with look and characters in it, and the references it points at."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from prefect_kling.kling.request import ElementInput, ImageInput
from prefect_kling.studio.film.storyboard import Reference, ShotSettings, Storyboard

MENTION = re.compile(r"<<<([^<>]+)>>>")
Thing = TypeVar("Thing")
BY_PLACE = re.compile(r"(image|element|video)_\d+")


class Unsayable(Exception):
    """A shot names something the storyboard does not have, or more than a request can hold."""


@dataclass(frozen=True)
class Exhibits:
    """What a request shows the model, in list order; `places` says how a prompt points at each by its name."""

    images: tuple[ImageInput, ...]
    elements: tuple[ElementInput, ...]
    video: str | None
    places: Mapping[str, str]

    def point(self, text: str) -> str:
        """Return the text with every `<<<name>>>` turned into its place, as in `<<<image_2>>>`."""
        return MENTION.sub(lambda found: self.places.get(found[1], found[0]), text)


def full_text(prompt: str, settings: ShotSettings, board: Storyboard) -> str:
    """Return the prompt followed by its characters' descriptions and its look, word for word."""
    people = [
        lookup(name, board.characters, "character").description
        for name in settings.characters or ()
    ]
    return "\n".join(part for part in (prompt, *people, settings.look) if part)


def of_length(prompt: str, limit: int, whose: str) -> str:
    """Return a prompt that is no longer than so many characters. Raises `Unsayable` when it is."""
    if len(prompt) > limit:
        raise Unsayable(
            f"with look and characters {whose} has {len(prompt)} characters; the limit here is {limit}"
        )
    return prompt


def exhibit(texts: Iterable[str], settings: ShotSettings, board: Storyboard) -> Exhibits:
    """Collect what the settings list, what the characters bring along, and what the texts mention, each once."""
    named = [*(settings.references or ())]
    for name in settings.characters or ():
        named += lookup(name, board.characters, "character").references
    mentioned = [
        name for text in texts for name in MENTION.findall(text) if not BY_PLACE.fullmatch(name)
    ]
    named = list(dict.fromkeys([*named, *mentioned]))
    found = {name: resolve(name, board) for name in named}
    places: dict[str, str] = {}
    for kind in ("image", "element", "video"):
        some = [name for name in named if getattr(found[name], kind) is not None]
        places |= {name: f"<<<{kind}_{number}>>>" for number, name in enumerate(some, 1)}
    return _in_order(list(found.values()), places)


def _in_order(shown: Sequence[Reference], places: Mapping[str, str]) -> Exhibits:
    videos = [each.video for each in shown if each.video is not None]
    if len(videos) > 1:
        raise Unsayable(f"{len(videos)} videos are referred to; a request takes one")
    return Exhibits(
        images=tuple(ImageInput(image_url=each.image) for each in shown if each.image is not None),
        elements=tuple(
            ElementInput(element_id=each.element) for each in shown if each.element is not None
        ),
        video=videos[0] if videos else None,
        places=places,
    )


def resolve(name: str, board: Storyboard) -> Reference:
    """Return the reference of this name; a link to a picture is one without a name."""
    if name.lower().startswith(("http://", "https://")):
        return Reference(image=name)
    return lookup(name, board.references, "reference")


def lookup(name: str, things: Mapping[str, Thing], kind: str) -> Thing:
    """Return the thing of this name. Raises `Unsayable` with the nearest name there is."""
    if name in things:
        return things[name]
    raise Unsayable(f"there is no {kind} called {name!r}{did_you_mean(name, things)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question naming the nearest known name, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
