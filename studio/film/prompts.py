"""Build what a request tells the model: the full prompt, and the references it points at."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, TypeVar, Unpack

from prefect_kling.kling.links import is_link
from prefect_kling.kling.request import ElementInput, ImageInput
from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.storyboard import Place, Reference, ShotSettings, Storyboard

MENTION = re.compile(r"<<<([^<>]+)>>>")
Thing = TypeVar("Thing")
BY_PLACE = re.compile(r"(image|element|video)_\d+")


class _Facts(TypedDict, total=False):
    place: Place
    field: str
    value: object
    limit: object


class ShotInvalid(Exception):
    """A shot names something the storyboard does not have, or more than a request can hold.

    The place of its `mistake` begins at the scene or shot that is planned.
    """

    def __init__(self, rule: str, **facts: Unpack[_Facts]) -> None:
        mistake = Mistake(rule, **facts)
        super().__init__(mistake)
        self.mistake = mistake


@dataclass(frozen=True)
class AttachedReferences:
    """What a request shows the model, in list order.

    `places` maps each reference's name to how a prompt points at it, as in `<<<image_2>>>`.
    """

    images: tuple[ImageInput, ...]
    elements: tuple[ElementInput, ...]
    video: str | None
    places: Mapping[str, str]

    def point(self, text: str) -> str:
        """Return the text with every `<<<name>>>` turned into its place, as in `<<<image_2>>>`."""
        return MENTION.sub(lambda found: self.places.get(found[1], found[0]), text)


def full_text(prompt: str, settings: ShotSettings, board: Storyboard) -> str:
    """Return the prompt followed by its characters' descriptions and its look, word for word."""
    parts = [prompt]
    for name in settings.characters or ():
        character = lookup(name, board.characters, "character")
        parts.append(character.description)
    parts.append(settings.look or "")
    return "\n".join(filter(None, parts))


def of_length(prompt: str, limit: int, place: Place = ()) -> str:
    """Return the prompt. Raises `ShotInvalid` when it has more than `limit` characters."""
    if len(prompt) > limit:
        raise ShotInvalid("prompt_too_long", place=place, value=len(prompt), limit=limit)
    return prompt


def exhibit(texts: Iterable[str], settings: ShotSettings, board: Storyboard) -> AttachedReferences:
    """Collect the references of a request, each once.

    First come those that the settings list, then those of the characters, then those that the
    texts mention.

    Raises `ShotInvalid` for a name that the storyboard does not have, and for a second video.
    """
    names = [*(settings.references or ())]
    for name in settings.characters or ():
        character = lookup(name, board.characters, "character")
        names.extend(character.references)
    for text in texts:
        mentioned = MENTION.findall(text)
        names.extend(name for name in mentioned if not BY_PLACE.fullmatch(name))

    shown = {name: resolve(name, board) for name in names}
    videos = [each.video for each in shown.values() if each.video is not None]
    if len(videos) > 1:
        raise ShotInvalid("several_videos", value=len(videos))

    images: list[ImageInput] = []
    elements: list[ElementInput] = []
    places: dict[str, str] = {}
    for name, reference in shown.items():
        if reference.image is not None:
            images.append(ImageInput(image_url=reference.image))
            places[name] = f"<<<image_{len(images)}>>>"
        if reference.element is not None:
            elements.append(ElementInput(element_id=reference.element))
            places[name] = f"<<<element_{len(elements)}>>>"
        if reference.video is not None:
            places[name] = "<<<video_1>>>"

    return AttachedReferences(
        images=tuple(images),
        elements=tuple(elements),
        video=next(iter(videos), None),
        places=places,
    )


def resolve(name: str, board: Storyboard) -> Reference:
    """Return the reference of this name, or of this link to a picture.

    Raises `ShotInvalid` for a name that the storyboard does not have.
    """
    if is_link(name):
        return Reference(image=name)
    return lookup(name, board.references, "reference")


def lookup(
    name: str, things: Mapping[str, Thing], kind: Literal["reference", "character"]
) -> Thing:
    """Return the thing of this name. Raises `ShotInvalid` with the names there are."""
    if name in things:
        return things[name]
    raise ShotInvalid(f"no_{kind}", value=name, limit=tuple(things))
