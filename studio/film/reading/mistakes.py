"""Mistakes in a storyboard's fields, in words: what is wrong, and what is possible."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.kling.violations import Violation, describe_rule, describe_value
from prefect_kling.studio.film.prompts import did_you_mean
from prefect_kling.studio.film.reading.yaml_text import Document
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    in_words,
)

_HOMES: dict[type[BaseModel], str] = {
    Storyboard: "the top of the storyboard",
    ShotSettings: "defaults",
    Scene: "a scene",
    Shot: "a shot",
    Reference: "a reference",
    Character: "a character",
}
# How a thing is written down, for those who wrote a text or a list in its place.
_WRITTEN = {
    "scenes": "a dash before each scene, as in `- title: The harbour`",
    "shots": "a dash before each shot, as in `- prompt: Boats at anchor`",
    "references": "a name and below it its fields, as in `bottle: {image: bottle.png}`",
    "characters": "a name and below it its fields, as in `mara: {description: A woman of forty}`",
    "defaults": "fields, as in `duration: 5`",
}
_SHOWN = 60


class Mistake(NamedTuple):
    """Where a mistake is, and what it is."""

    place: Place
    told: str


def field_mistakes(error: ValidationError, document: Document) -> list[Mistake]:
    """Return each mistake once.

    A misspelled field is not missing as well, and an empty one not also of a wrong kind.
    """
    found: dict[Place, ErrorDetails] = {}
    for each in error.errors():
        place = tuple(step for step in each["loc"] if step != "[key]")
        found.setdefault(place, each)

    findings = _Findings(document, found)
    mistakes = []
    for place, following in findings.empty.items():
        if not findings.misplaced(following):
            mistakes.append(_empty_field(place))
    for place in found:
        mistake = findings.tell(place)
        if mistake is not None:
            mistakes.append(mistake)
    return mistakes


def empty_mistakes(document: Document) -> list[Mistake]:
    """Return the fields after whose name nothing is written.

    A film must not be paid while its storyboard is unfinished.
    """
    return [_empty_field(place) for place, _ in document.empty()]


def _empty_field(place: Place) -> Mistake:
    return Mistake(place, f"{in_words(place)}: nothing is written here; fill it in, or remove it")


@dataclass(frozen=True)
class _Findings:
    """All errors by place. Several errors may belong to one mistake."""

    document: Document
    found: dict[Place, ErrorDetails]

    @cached_property
    def empty(self) -> dict[Place, Place | None]:
        """Known fields after whose name nothing is written, with what follows each."""
        return {
            place: following
            for place, following in self.document.empty()
            if not self._is(place, "extra_forbidden")
        }

    def misplaced(self, place: Place | None) -> bool:
        """Whether what follows an empty name is wrong where it is.

        Then it should be indented, and the name is not empty.
        """
        return place is not None and self._is(place, "extra_forbidden", "model_type")

    def tell(self, place: Place) -> Mistake | None:
        """Return what is wrong at a place, unless it is told elsewhere."""
        part = in_words(place[:-1])

        if self._is(place, "extra_forbidden"):
            instead = self._instead(place)
            return Mistake(place, f"{part}: there is no field {place[-1]!r}{instead}")

        if self._is(place, "missing"):
            if self._is_misspelled(place):
                return None
            return Mistake(place, f"{part}: {place[-1]!r} is missing")

        if place in self.empty:
            return None
        return Mistake(place, f"{in_words(place)}: {_say(self.found[place], place)}")

    def _is(self, place: Place, *types: str) -> bool:
        return place in self.found and self.found[place]["type"] in types

    def _is_misspelled(self, missing: Place) -> bool:
        """Whether an unknown field beside a missing one was meant to be it."""
        part = missing[:-1]
        for place in self.found:
            if place[:-1] != part or not self._is(place, "extra_forbidden"):
                continue
            name = str(place[-1])
            if _homes(name):
                continue
            near = _near(name, part)
            if not near or repr(missing[-1]) in near:
                return True
        return False

    def _instead(self, place: Place) -> str:
        """Return what an unknown field could mean, in words."""
        name = str(place[-1])
        part = place[:-1]

        above = next((each for each, following in self.empty.items() if following == place), None)
        if above is not None and above[-1] in _WRITTEN:
            return f" here; indent it if it belongs to {above[-1]!r} above"

        homes = _homes(name)
        if homes:
            return f" here; it belongs to {homes}"

        if self.found[place]["input"] is None and self.document.in_braces(part):
            return "; inside { } a text that contains a comma must stand in quotes"

        near = _near(name, part)
        if near:
            return near

        possible = f"; possible are {', '.join(_model(part).model_fields)}"
        for each in self.found:
            if each[:-1] == part and self._is(each, "missing"):
                return f", and {each[-1]!r} is missing{possible}"
        return possible


def _near(name: str, part: Place) -> str:
    return did_you_mean(name.lower(), _model(part).model_fields)


def _homes(name: str) -> str:
    """Return the parts of a storyboard that have this field, in words."""
    homes = [words for model, words in _HOMES.items() if name in model.model_fields]
    if len(homes) < 2:
        return "".join(homes)
    return _either(homes)


def _model(place: Place) -> type[BaseModel]:
    """Return what stands at a place."""
    kinds: dict[Place, type[BaseModel]] = {
        (): Storyboard,
        ("defaults",): ShotSettings,
        ("references", "*"): Reference,
        ("characters", "*"): Character,
        ("scenes", 0): Scene,
        ("scenes", 0, "shots", 0): Shot,
    }
    if place and place[0] in ("references", "characters"):
        return kinds[place[0], "*"]
    general: Place = tuple(0 if isinstance(step, int) else step for step in place)
    return kinds[general]


def _say(mistake: ErrorDetails, place: Place) -> str:
    """Return what is wrong with a value, and what is possible, in words."""
    words = _WORDS.get(mistake["type"])
    if words is None:
        return mistake["msg"]
    return words(mistake["input"], mistake.get("ctx", {}), place)


def show(value: object) -> str:
    """Return a value as it was written, or the kind of thing it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    if not isinstance(value, str):
        return str(value)
    if len(value) > _SHOWN:
        value = value[: _SHOWN - 1] + "…"
    return f"'{value}'"


def _choice(given: Any, ctx: dict[str, Any], place: Place) -> str:
    choices = re.findall(r"'([^']*)'", ctx["expected"])
    if place[-1] == "continuity" and given in get_args(Scene.model_fields["continuity"].annotation):
        return f"{show(given)} can only be said for a whole scene; a shot has {_either(choices)}"
    near = ""
    if isinstance(given, str):
        near = did_you_mean(given.lower(), choices)
    return f"{show(given)} is not possible, only {_either(choices)}{near}"


def _either(choices: list[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]])


def _text(given: Any, ctx: dict[str, Any], place: Place) -> str:
    if isinstance(place[-1], int):
        return f"a name belongs here, not {show(given)}"
    told = f"a text belongs here, not {show(given)}"
    if isinstance(given, dict):
        return f"{told}; one that begins with {{ must stand in quotes"
    if isinstance(given, list):
        return f"{told}; one that begins with [ must stand in quotes"
    return f"a text belongs here; put {show(given)} in quotes"


def _list(given: Any, ctx: dict[str, Any], place: Place) -> str:
    if place[-1] in ("scenes", "shots"):
        return f"this is a list: write {_WRITTEN[place[-1]]}"
    if isinstance(given, str):
        return f"this is a list: write `[{given}]`"
    return f"a list belongs here, not {show(given)}"


def _fields(given: Any, ctx: dict[str, Any], place: Place) -> str:
    if len(place) == 1:
        return f"write {_WRITTEN[str(place[0])]}"
    model = _model(place)
    if place[-1] in model.model_fields and place[0] in ("references", "characters"):
        return "indent this line, so that it belongs to the name above"
    field = {Reference: "image", Character: "description", Shot: "prompt"}.get(model, "title")
    if isinstance(given, str) and model is Reference and given.lower().endswith((".mp4", ".mov")):
        field = "video"
    what = "…"
    if isinstance(given, str) and len(given) <= _SHOWN:
        what = given
    return f"{_HOMES.get(model, 'this')} has fields: write `{field}: {what}`"


def _whole_number(given: Any, ctx: dict[str, Any], place: Place) -> str:
    example = "5"
    if isinstance(given, str):
        with_unit = re.match(r"\s*(\d+)\s*[a-zA-Z]", given)
        if with_unit is not None:
            example = with_unit[1]
    return f"a whole number belongs here, like {example}, not {show(given)}"


def _name(given: Any, ctx: dict[str, Any], place: Place) -> str:
    better = re.sub(r"[<>]+", "", str(given)).strip()
    better = re.sub(r"\s+", "-", better)
    return f"a name has no spaces and no < or >; write {show(better)} for {show(given)}"


_Words = Callable[[Any, dict[str, Any], Place], str]
_WORDS: dict[str, _Words] = {
    "literal_error": _choice,
    "string_type": _text,
    "list_type": _list,
    "dict_type": _fields,
    "model_type": _fields,
    "int_type": _whole_number,
    "int_parsing": _whole_number,
    "int_parsing_size": _whole_number,
    "int_from_float": _whole_number,
    "float_type": lambda given, ctx, place: f"a number belongs here, like 0.5, not {show(given)}",
    "float_parsing": lambda given, ctx, place: (
        f"a number belongs here, like 0.5, not {show(given)}"
    ),
    "bool_type": lambda given, ctx, place: f"true or false belongs here, not {show(given)}",
    "bool_parsing": lambda given, ctx, place: f"true or false belongs here, not {show(given)}",
    "greater_than_equal": lambda given, ctx, place: (
        f"{show(given)} is too little; the least is {ctx['ge']:g}"
    ),
    "less_than_equal": lambda given, ctx, place: (
        f"{show(given)} is too much; the most is {ctx['le']:g}"
    ),
    "string_too_short": lambda given, ctx, place: "this is empty; write something, or remove it",
    "string_too_long": lambda given, ctx, place: (
        f"this has {len(given)} characters; the most is {ctx['max_length']}"
    ),
    "string_pattern_mismatch": _name,
    "too_short": lambda given, ctx, place: (
        f"at least one {str(place[-1]).removesuffix('s')} is needed"
    ),
    "recursion_loop": lambda given, ctx, place: "this contains itself",
}


# Rules of the request in the words of a storyboard. Other rules need no other words.
_RULES_IN_OTHER_WORDS = {
    "duration_with_feature": (
        "duration ({value}): a shot that is made from a video has at most 10 seconds"
    ),
    "end_needs_first": "end_frame: it needs a first_frame, too",
    "frames_exclude_base": "edit_of: an edited video takes no first_frame and no end_frame",
    "references_within_limit": (
        "references ({value}): at most 7 pictures and subjects, 4 where a video goes in"
    ),
    "end_frame_among_few": "end_frame: {model} takes none beside more than {limit} pictures",
    "elements_with_frames": "references ({value}): {says}",
    "silent_with_video": (
        "sound: Kling makes none for a shot that is made from a video; say `sound: off` or nothing"
    ),
    "multi_shot_model": "model: {model} makes no multi_shot scenes",
    "references_exist": (
        "prompt ({value}): what is named by its place must be there, counted from 1"
    ),
}


def in_plain_words(violation: Violation) -> str:
    """Return which rule is broken in the words of a storyboard, without the rule's source."""
    words = _RULES_IN_OTHER_WORDS.get(violation.rule, "{field} ({value}): {says}")
    return words.format(
        field=violation.field,
        value=describe_value(violation),
        says=describe_rule(violation),
        model=violation.model,
        limit=violation.limit,
    )


def lines(mistakes: Iterable[Mistake], document: Document, name: str) -> str:
    """Return mistakes one to a line, in the order of the document.

    The same mistake at the same position is told once.
    """
    found: dict[tuple[tuple[int, int], str], str] = {}
    for place, told in mistakes:
        position = document.position(place)
        key = (position, told.rpartition(": ")[2])
        found.setdefault(key, f"{name}, line {position[0]}: {told}")
    return "\n".join(found[key] for key in sorted(found))
