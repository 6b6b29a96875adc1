"""Find mistakes in the fields of a document: what pydantic says of it, as facts."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.models import known_models
from prefect_kling.studio.film.mistakes import Mistake, nearest
from prefect_kling.studio.film.reading.yaml_text import Document
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    Version,
    shortened,
)
from prefect_kling.studio.money.tags import MOST_TAGS

# Parts of a storyboard: in words, and the field that somebody means who writes only a text there.
_PARTS: dict[type[BaseModel], tuple[str, str]] = {
    Storyboard: ("the top of the storyboard", "title"),
    ShotSettings: ("defaults", "look"),
    Scene: ("a scene", "title"),
    Shot: ("a shot", "prompt"),
    Reference: ("a reference", "image"),
    Character: ("a character", "description"),
    Version: ("a version", "name"),
}
# How a thing is written down, for those who wrote a text or a list in its place.
_WRITTEN: dict[int | str, str] = {
    "scenes": "a dash before each scene, as in `- title: The harbour`",
    "shots": "a dash before each shot, as in `- prompt: Boats at anchor`",
    "references": "a name and below it its fields, as in `bottle: {image: bottle.png}`",
    "characters": "a name and below it its fields, as in `mara: {description: A woman of forty}`",
    "defaults": "fields, as in `duration: 5`",
    "tags": "names and texts, as in `project: spring`",
    "versions": "a dash before each version, as in `- name: tall`",
    "variables": "names and texts, as in `product: the blue mug`",
}

# pydantic's name of a mistake, and ours.
_RULES = {
    "float_type": "number",
    "float_parsing": "number",
    "bool_type": "true_or_false",
    "bool_parsing": "true_or_false",
    "string_unicode": "half_character",
    "string_too_short": "empty_text",
}
_TEXTS: dict[type, str] = {dict: "text_in_braces", list: "text_in_brackets"}
# Where pydantic keeps the limit of a mistake.
_LIMITS = {
    "greater_than_equal": ("too_little", "ge"),
    "less_than_equal": ("too_much", "le"),
    "string_too_long": ("too_many_characters", "max_length"),
}


def mistake_of(error: ErrorDetails, root: type[BaseModel]) -> Mistake:
    """Return what pydantic says of a value in a document of this kind."""
    place = tuple(step for step in error["loc"] if step != "[key]")
    given = error["input"]
    context = error.get("ctx", {})
    kind = error["type"]
    if kind in _RULES:
        return Mistake(_RULES[kind], place, value=given)
    if kind in _LIMITS:
        rule, name = _LIMITS[kind]
        return Mistake(rule, place, value=given, limit=context[name])

    match kind:
        case "kling_rule":
            return Mistake("api_rule", broken=context["violation"])
        case "extra_forbidden":
            known = _fields(root, place[:-1])
            return Mistake("unknown_field", place[:-1], str(place[-1]), limit=known)
        case "missing":
            return Mistake("missing_field", place[:-1], str(place[-1]))
        case "one_of":
            known = tuple(Reference.model_fields)
            return Mistake("one_of", place, value=context["given"], limit=known)
        case "literal_error":
            return _choice(place, given, root)
        case "string_type" if place[-2:-1] in (("only",), ("without",)):
            return Mistake("shot_in_quotes", place, value=given)
        case "string_type" if place and isinstance(place[-1], int):
            return Mistake("name_in_list", place, value=given)
        case "string_type":
            return Mistake(_TEXTS.get(type(given), "text"), place, value=given)
        case "string_pattern_mismatch" if place[:1] == ("tags",):
            better = re.sub(r"[^\w-]+", "-", str(given)).strip("-")
            return Mistake("tag_name", place, value=given, limit=better or "project")
        case "string_pattern_mismatch" if place[-2:-1] == ("variables",):
            better = re.sub(r"[^\w-]+", "-", str(given)).strip("-")
            return Mistake("variable_name", place, value=given, limit=better or "product")
        case "too_long" if place == ("tags",):
            return Mistake("too_many_tags", place, value=len(given), limit=MOST_TAGS)
        case "string_pattern_mismatch":
            better = "-".join(re.sub(r"[<>]", "", str(given)).split())
            return Mistake("name", place, value=given, limit=better)
        case "int_type" | "int_parsing" | "int_parsing_size" | "int_from_float":
            number = re.match(r"\s*(\d{1,9})\s*[a-zA-Z]", str(given))
            return Mistake("whole_number", place, value=given, limit=number[1] if number else "5")
        case "list_type" | "tuple_type" if place[-1:] in _LISTS_OF_PARTS:
            return Mistake("list_of_parts", place, limit=_WRITTEN[place[-1]])
        case "list_type" | "tuple_type" if isinstance(given, str):
            return Mistake("list_of_one", place, value=given)
        case "list_type" | "tuple_type":
            return Mistake("list", place, value=given)
        case "too_short":
            return Mistake("empty_list", place, limit=str(place[-1]).removesuffix("s"))
        case "dict_type" | "model_type" if len(place) == 1 and place[0] in _WRITTEN:
            return Mistake("names_with_fields", place, value=_WRITTEN[place[0]])
        case "dict_type" | "model_type":
            return _no_fields(place, given, _annotation(root, _general(place)))
    return Mistake("other", place, value=error["msg"])


def _no_fields(place: Place, given: object, part: Any) -> Mistake:
    """Return what is wrong where the fields of a part of a storyboard belong."""
    if part not in _PARTS:
        return Mistake("fields", place, value=given)
    # The last step of the place is a field of the part: it stands beside the name it belongs to.
    if place[-1] in part.model_fields:
        return Mistake("fields_below", place)

    words, field = _PARTS[part]
    if part is Reference and str(given).lower().endswith((".mp4", ".mov")):
        field = "video"
    example = "…"
    if isinstance(given, str) and shortened(given) == given:
        example = given
    return Mistake("fields_of_part", place, value=example, limit=(words, field))


_LISTS_OF_PARTS = (("scenes",), ("shots",), ("versions",))
_NO_FIELDS = ("fields", "fields_below", "fields_of_part")


def _choice(place: Place, given: object, root: type[BaseModel]) -> Mistake:
    rule = "choice"
    is_of_shot = _annotation(root, _general(place[:-1])) is Shot
    if is_of_shot and given in _choices_of_scene(place[-1]):
        rule = "choice_of_scene"
    choices = get_args(_annotation(root, _general(place)))
    if not choices and place[-1:] == ("model",):
        choices = tuple(model.name for model in known_models())
    if not choices:
        # Not every error of a field lists what is possible.
        rule = "no_choice"
    return Mistake(rule, place, value=given, limit=choices)


def _choices_of_scene(field: int | str) -> tuple[object, ...]:
    return get_args(_annotation(Scene, (field,)))


def _general(place: Place) -> Place:
    return tuple(0 if isinstance(step, int) else step for step in place)


@lru_cache(maxsize=1024)
def _annotation(root: type[BaseModel], place: Place) -> Any:
    """Return what may stand at a place: a model, a list, the choices of a field."""
    found: Any = root
    for step in place:
        found = _bare(_below(found, step))
    return found


def _below(annotation: Any, step: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return None if field is None else field.annotation
    parts = get_args(annotation)
    if get_origin(annotation) in (list, dict) and parts:
        return parts[-1]
    return None


def _bare(annotation: Any) -> Any:
    """Return an annotation without what is said about it, and without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, UnionType):
        kinds = [each for each in get_args(annotation) if each is not NoneType]
        return _bare(kinds[0])
    return annotation


def _fields(root: type[BaseModel], place: Place) -> tuple[str, ...]:
    model = _annotation(root, _general(place))
    if isinstance(model, type) and issubclass(model, BaseModel):
        return tuple(model.model_fields)
    return ()


def field_mistakes(error: ValidationError, document: Document) -> Iterator[Mistake]:
    """Yield each mistake in a storyboard's fields once.

    A misspelled field is not missing as well, an empty one is not also of a wrong kind, and what
    follows an empty name where it must not is what should be indented below it.
    """
    found: dict[Place, Mistake] = {}
    missing: dict[Place, list[str]] = {}
    for each in error.errors(include_url=False):
        mistake = mistake_of(each, Storyboard)
        place = tuple(step for step in each["loc"] if step != "[key]")
        found.setdefault(place, mistake)
        if mistake.rule == "missing_field":
            missing.setdefault(mistake.place, []).append(mistake.field)

    empty: dict[Place, Place | None] = {}
    above: dict[Place, str] = {}
    for place, following in document.empty():
        if place in found and found[place].rule == "unknown_field":
            continue
        empty[place] = following
        if following is None or following not in found:
            continue
        if found[following].rule == "unknown_field":
            above[following] = str(place[-1])
        if found[following].rule not in ("unknown_field", *_NO_FIELDS):
            continue
        empty.pop(place)
        found.pop(place, None)

    for place in empty:
        found[place] = Mistake("empty_field", place)

    told_instead: set[Place] = set()
    unknown: list[Mistake] = []
    for place, mistake in found.items():
        if mistake.rule != "unknown_field":
            continue
        instead = _instead(place, mistake, document, above.get(place, ""))
        if instead is not None:
            unknown.append(instead)
            continue
        absent = missing.get(mistake.place)
        if absent:
            # It may be the missing field that was meant: one sentence tells both.
            name = absent.pop(0)
            told_instead.add((*mistake.place, name))
            if nearest(mistake.field, _fields(Storyboard, mistake.place)) != name:
                mistake = replace(mistake, rule="unknown_and_missing", value=name)
        unknown.append(mistake)

    yield from unknown
    for place, mistake in found.items():
        if mistake.rule != "unknown_field" and place not in told_instead:
            yield mistake


def _instead(place: Place, mistake: Mistake, document: Document, above: str) -> Mistake | None:
    """Return what an unknown field is where it is a known one, or none at all."""
    if above in _WRITTEN:
        return Mistake("unindented_field", mistake.place, mistake.field, value=above)
    elsewhere = tuple(
        words
        for part, (words, _) in _PARTS.items()
        if mistake.field in part.model_fields and part is not Version
    )
    if not elsewhere and mistake.field in Version.model_fields:
        elsewhere = (_PARTS[Version][0],)
    if elsewhere:
        return Mistake("misplaced_field", mistake.place, mistake.field, limit=elsewhere)
    if document.is_empty(place) and document.in_braces(mistake.place):
        return Mistake("comma_in_braces", mistake.place, mistake.field)
    return None


def empty_mistakes(document: Document) -> Iterator[Mistake]:
    """Yield the fields after whose name nothing is written.

    A film must not be paid while its storyboard is unfinished.
    """
    for place, _ in document.empty():
        yield Mistake("empty_field", place)
