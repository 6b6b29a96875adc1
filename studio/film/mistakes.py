"""Facts about what is wrong with a storyboard or a table, and the one place that words them."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from pydantic import BaseModel

from prefect_kling.kling.violations import Violation, describe_rule, describe_value
from prefect_kling.kling.violations import describe as describe_violation
from prefect_kling.studio.film.storyboard import (
    Character,
    Place,
    Reference,
    Scene,
    Shot,
    ShotSettings,
    Storyboard,
    in_words,
    shortened,
)

MOST_CHARACTERS = 450
"""Of one sentence, so that twenty of them stay below 10 kB."""
_MOST_NAMES = 20
_VIDEO_FILE = (".mp4", ".mov")
_FILE = re.compile(r"[/\\]|\.(png|jpe?g|mp4|mov)$", re.IGNORECASE)


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and where."""

    rule: str
    """Name of the broken rule, as in `_WORDS`."""
    place: Place = ()
    """Where: in the whole document, or in the shot or request that is looked at."""
    field: str = ""
    """A field of the place, where the mistake is about one."""
    value: object = None
    """What breaks the rule."""
    limit: object = None
    """What the rule allows: a number, a pair (least, most), or names."""
    line: int | None = None
    """Line of the document, counted from 1. None if it is not known."""
    document: str = ""
    """Name of the document."""
    broken: Violation | None = None
    """The rule of the API, where it is one."""
    is_written: bool = False
    """Whether the field stands in the document at this place, and is not inherited."""

    def within(self, place: Place) -> "Mistake":
        """Return the mistake as one of the whole document. `place` is where its own begins."""
        return replace(self, place=(*place, *self.place))

    def __str__(self) -> str:
        return describe(self)


def of_violation(violation: Violation, place: Place = ()) -> Mistake:
    """Return a broken rule of the API as a mistake in a shot, under the storyboard's own field."""
    field, _, _ = _RULES_IN_OTHER_WORDS.get(violation.rule, (violation.field, True, ""))
    return Mistake(
        "api_rule_in_shot",
        place,
        field,
        value=violation.value,
        limit=violation.limit,
        broken=violation,
    )


def describe(mistake: Mistake) -> str:
    """Say in one sentence where a mistake is, what is wrong, and what is possible."""
    where = mistake.document
    if mistake.line is not None:
        where = f"{where}, line {mistake.line}".removeprefix(", ")

    text = _WORDS[mistake.rule](mistake)
    sentence = ": ".join(filter(None, (where, _part(mistake), text)))
    return shortened(sentence, MOST_CHARACTERS)


def _part(mistake: Mistake) -> str:
    part = ""
    if mistake.place:
        part = in_words(mistake.place)
    if mistake.rule in _NAME_THEIR_FIELD or not mistake.field:
        return part

    field = mistake.field
    aside = _aside(mistake)
    if aside:
        field = f"{field} ({aside})"
    if not part:
        return field
    if mistake.is_written:
        return f"{part}, {field}"
    return f"{part}: {field}"


def _aside(mistake: Mistake) -> str:
    """Return the value that is shown beside the name of the field."""
    if mistake.rule == "clip_too_short":
        return str(mistake.value)
    if mistake.rule == "api_rule_in_shot" and mistake.broken is not None:
        _, shows_value, _ = _RULES_IN_OTHER_WORDS.get(mistake.broken.rule, ("", True, ""))
        if shows_value:
            return describe_value(mistake.broken)
    return ""


def show(value: object) -> str:
    """Return a value as it was written, or the kind of thing it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    if not isinstance(value, str):
        return shortened(str(value))
    return f"'{shortened(value)}'"


def did_you_mean(name: str, known: object) -> str:
    """Return a question with the nearest known name, or an empty text."""
    near = get_close_matches(name, _names(known), n=1)
    if not near:
        return ""
    return f"; did you mean '{near[0]}'?"


def _names(limit: object) -> list[str]:
    if isinstance(limit, tuple):
        return [str(each) for each in limit]
    return []


def _listed(limit: object) -> str:
    names = [shortened(name) for name in _names(limit)]
    if len(names) > _MOST_NAMES:
        names = [*names[:_MOST_NAMES], f"and {len(names) - _MOST_NAMES} more"]
    return ", ".join(names)


def _either(choices: Iterable[str]) -> str:
    *others, last = choices
    if not others:
        return last
    return f"{', '.join(others)} or {last}"


# Parts of a storyboard: in words, and the field that somebody means who writes only a text there.
_PARTS: dict[type[BaseModel], tuple[str, str]] = {
    Storyboard: ("the top of the storyboard", "title"),
    ShotSettings: ("defaults", "look"),
    Scene: ("a scene", "title"),
    Shot: ("a shot", "prompt"),
    Reference: ("a reference", "image"),
    Character: ("a character", "description"),
}


def homes(name: str) -> tuple[str, ...]:
    """Return the parts of a storyboard that have this field, in words."""
    return tuple(words for model, (words, _) in _PARTS.items() if name in model.model_fields)


# How a thing is written down, for those who wrote a text or a list in its place.
WRITTEN = {
    "scenes": "a dash before each scene, as in `- title: The harbour`",
    "shots": "a dash before each shot, as in `- prompt: Boats at anchor`",
    "references": "a name and below it its fields, as in `bottle: {image: bottle.png}`",
    "characters": "a name and below it its fields, as in `mara: {description: A woman of forty}`",
    "defaults": "fields, as in `duration: 5`",
}


def _unknown_field(mistake: Mistake) -> str:
    told = f"there is no field {show(mistake.field)}"
    missing = ""
    if mistake.value is not None:
        missing = f", and {show(mistake.value)} is missing"

    near = did_you_mean(shortened(mistake.field.lower()), mistake.limit)
    if not near:
        return f"{told}{missing}; possible are {_listed(mistake.limit)}"
    if near == f"; did you mean {show(mistake.value)}?":
        return told + near
    return told + missing + near


def _choice(mistake: Mistake) -> str:
    given = mistake.value
    choices = _names(mistake.limit)
    if not choices:
        # Not every error of a field lists what is possible.
        return f"{show(given)} is not possible here"
    near = ""
    if isinstance(given, str):
        near = did_you_mean(shortened(given.lower()), mistake.limit)
    return f"{show(given)} is not possible, only {_either(choices)}{near}"


def _of_scene(mistake: Mistake) -> str:
    choices = _either(_names(mistake.limit))
    return f"{show(mistake.value)} can only be said for a whole scene; a shot has {choices}"


def _text(mistake: Mistake) -> str:
    given = mistake.value
    if mistake.place and isinstance(mistake.place[-1], int):
        return f"a name belongs here, not {show(given)}"
    told = f"a text belongs here, not {show(given)}"
    if isinstance(given, dict):
        return f"{told}; one that begins with {{ must stand in quotes"
    if isinstance(given, list):
        return f"{told}; one that begins with [ must stand in quotes"
    return f"a text belongs here; put {show(given)} in quotes"


def _list(mistake: Mistake) -> str:
    if mistake.place and mistake.place[-1] in ("scenes", "shots"):
        return f"this is a list: write {WRITTEN[str(mistake.place[-1])]}"
    if isinstance(mistake.value, str):
        return f"this is a list: write `[{shortened(mistake.value)}]`"
    return f"a list belongs here, not {show(mistake.value)}"


def _fields(mistake: Mistake) -> str:
    given = mistake.value
    if not isinstance(mistake.limit, type) or mistake.limit not in _PARTS:
        return f"fields belong here, not {show(given)}"
    # The last step of the place is a field of the part: it stands beside the name it belongs to.
    if mistake.place[-1] in mistake.limit.model_fields:
        return "indent this line, so that it belongs to the name above"

    part, field = _PARTS[mistake.limit]
    if field == "image" and isinstance(given, str) and given.lower().endswith(_VIDEO_FILE):
        field = "video"
    what = "…"
    if isinstance(given, str) and shortened(given) == given:
        what = given
    return f"{part} has fields: write `{field}: {what}`"


def _whole_number(mistake: Mistake) -> str:
    example = "5"
    if isinstance(mistake.value, str):
        with_unit = re.match(r"\s*(\d{1,9})\s*[a-zA-Z]", mistake.value)
        if with_unit is not None:
            example = with_unit[1]
    return f"a whole number belongs here, like {example}, not {show(mistake.value)}"


def _name(mistake: Mistake) -> str:
    better = re.sub(r"[<>]+", "", str(mistake.value)).strip()
    better = re.sub(r"\s+", "-", better)
    return f"a name has no spaces and no < or >; write {show(better)} for {show(mistake.value)}"


def _empty_list(mistake: Mistake) -> str:
    return f"at least one {str(mistake.place[-1]).removesuffix('s')} is needed"


def _no_reference(mistake: Mistake) -> str:
    return _no_such(mistake, "reference")


def _no_character(mistake: Mistake) -> str:
    return _no_such(mistake, "character")


def _no_such(mistake: Mistake, kind: str) -> str:
    """Say that there is no such name, and which one could be meant."""
    name = str(mistake.value)
    told = f"there is no {kind} called {show(name)}"
    near = did_you_mean(name, mistake.limit)
    if near:
        return told + near
    if _FILE.search(name):
        example = f"`bottle: {{image: {shortened(name)}}}`"
        return f"{told}; a file gets a name under `references:` first, as in {example}"
    if mistake.limit:
        return f"{told}; this storyboard has {_listed(mistake.limit)}"
    return f"{told}; none is described under `{kind}s:`"


def _no_file(mistake: Mistake) -> str:
    told = f"there is no file {show(mistake.value)} beside this storyboard"
    if isinstance(mistake.limit, tuple):
        return told + did_you_mean(str(mistake.value).rpartition("/")[2], mistake.limit)
    return f"{told}; there is no folder {mistake.limit} either"


def _keyframes(mistake: Mistake) -> str:
    shots = int(str(mistake.limit))
    return (
        f"{shots} shots share {shots + 1} keyframes, or {shots} if the last shot may end freely, "
        f"and not {mistake.value}"
    )


def _only_for_scene(mistake: Mistake) -> str:
    names = " and ".join(_names(mistake.value))
    return f"in a multi_shot scene {names} can only be said for the whole scene"


def _unknown_column(mistake: Mistake) -> str:
    name = shortened(str(mistake.value))
    near = did_you_mean(name, mistake.limit) or f"; there are {_listed(mistake.limit)}"
    return f"there is no column '{name}'{near}"


def _near_column(mistake: Mistake) -> str:
    near, own = _names(mistake.limit)
    kind = "column"
    if mistake.place:
        kind = "field"
    told = f"there is no {kind} {show(mistake.value)}; did you mean '{near}'?"
    return f"{told} To carry it along as one of your own, call it {show(own)}"


def _one_of(mistake: Mistake) -> str:
    told = " and ".join(_names(mistake.value)) or "nothing"
    return f"give one of {_listed(mistake.limit)}; this has {told}"


def _api_rule(mistake: Mistake) -> str:
    if mistake.broken is None:
        return "a rule of the API is broken"
    return describe_violation(mistake.broken)


def _api_rule_in_shot(mistake: Mistake) -> str:
    """Say which rule is broken in the words of a storyboard, without the rule's source."""
    violation = mistake.broken
    if violation is None:
        return "a rule of the API is broken"
    _, _, words = _RULES_IN_OTHER_WORDS.get(violation.rule, ("", True, "{says}"))
    return words.format(says=describe_rule(violation), model=violation.model, limit=violation.limit)


# Rules of the request in the words of a storyboard: its field, whether the value is shown beside
# it, and what is wrong. Other rules need no other words.
_RULES_IN_OTHER_WORDS = {
    "duration_with_feature": (
        "duration",
        True,
        "a shot that is made from a video has at most {limit} seconds",
    ),
    "end_needs_first": ("end_frame", False, "it needs a first_frame, too"),
    "frames_exclude_base": (
        "edit_of",
        False,
        "an edited video takes no first_frame and no end_frame",
    ),
    "references_within_limit": (
        "references",
        True,
        "at most 7 pictures and subjects, 4 where a video goes in",
    ),
    "end_frame_among_few": (
        "end_frame",
        False,
        "{model} takes none beside more than {limit} pictures",
    ),
    "elements_with_frames": ("references", True, "{says}"),
    "silent_with_video": (
        "sound",
        False,
        "Kling makes none for a shot that is made from a video; say `sound: off` or nothing",
    ),
    "multi_shot_model": ("model", False, "{model} makes no multi_shot scenes"),
    "references_exist": (
        "prompt",
        True,
        "what is named by its place must be there, counted from 1",
    ),
}

_Words = Callable[[Mistake], str]


def _limit(limit: object) -> str:
    if isinstance(limit, float):
        return f"{limit:g}"
    return shortened(str(limit))


def _template(words: str) -> _Words:
    """Return words that are filled with what a mistake says."""

    def fill(mistake: Mistake) -> str:
        limits = mistake.limit
        if not isinstance(limits, tuple):
            limits = (limits,)
        return words.format(
            shown=show(mistake.value),
            value=shortened(str(mistake.value)),
            said=shortened(str(mistake.value), MOST_CHARACTERS),
            length=len(str(mistake.value)),
            limit=_limit(mistake.limit),
            least=next(iter(limits), None),
            most=next(reversed(limits), None),
            listed=_listed(mistake.limit),
            field=show(mistake.field),
            homes=_either(_names(mistake.limit) or [""]),
        )

    return fill


# In their sentences the field has a place of its own.
_NAME_THEIR_FIELD = {
    "unknown_field",
    "misplaced_field",
    "unindented_field",
    "comma_in_braces",
    "missing_field",
    "cut_text",
    "api_rule",
}
_MUST_BE_QUOTED = "must stand in quotes"
_INDENTED = "this line is indented differently from the lines it belongs to"
_EMPTY_TEXT = "this is empty; write something"

_WORDS: dict[str, _Words] = {
    # Anything else that another part of the program said about a value.
    "other": _template("{said}"),
    # Fields of a document.
    "unknown_field": _unknown_field,
    "misplaced_field": _template("there is no field {field} here; it belongs to {homes}"),
    "unindented_field": _template(
        "there is no field {field} here; indent it if it belongs to {shown} above"
    ),
    "comma_in_braces": _template(
        "there is no field {field}; inside {{ }} a text that contains a comma "
        f"{_MUST_BE_QUOTED}"
    ),
    "missing_field": _template("{field} is missing"),
    "empty_field": _template("nothing is written here; fill it in, or remove it"),
    "choice": _choice,
    "choice_of_scene": _of_scene,
    "text": _text,
    "list": _list,
    "fields": _fields,
    "names_with_fields": _template("write {said}"),
    "whole_number": _whole_number,
    "number": _template("a number belongs here, like 0.5, not {shown}"),
    "true_or_false": _template("true or false belongs here, not {shown}"),
    "too_little": _template("{shown} is too little; the least is {limit}"),
    "too_much": _template("{shown} is too much; the most is {limit}"),
    "empty_text": _template(f"{_EMPTY_TEXT}, or remove it"),
    "blank_text": _template(_EMPTY_TEXT),
    "too_many_characters": _template("this has {length} characters; the most is {limit}"),
    "name": _name,
    "empty_list": _empty_list,
    "one_of": _one_of,
    "no_link": _template("{shown} is no link, and pictures are given as links"),
    # Names and files.
    "no_reference": _no_reference,
    "no_character": _no_character,
    "is_character": _template(
        "there is no reference called {shown}; it is a character: say `characters: [{value}]`"
    ),
    "is_reference": _template(
        "there is no character called {shown}; it is a reference: say `references: [{value}]`"
    ),
    "no_picture": _template("{shown} is no picture, and a picture is needed here"),
    "no_video": _template("{shown} is no video, and a video is needed here"),
    "link_with_spaces": _template("a link has no spaces; write %20 for each"),
    "link_to_video": _template(
        "a link to a video gets a name under `references:` first, "
        "as in `clip: {{video: https://…}}`"
    ),
    "almost_mention": _template(
        "{value} is sent as it stands; to show the model '{limit}', write <<<{limit}>>>"
    ),
    "no_file": _no_file,
    "no_file_name": _template("{shown} is no name a file can have"),
    "no_file_no_link": _template(
        "{shown} is neither a file nor a link; a link begins with https://"
    ),
    "file_elsewhere": _template(
        "{shown} is neither a link nor a file beside it or in a folder below"
    ),
    # What only planning finds.
    "name_of_place": _template(
        "<<<{value}>>> already points at a place in a request; take another name"
    ),
    "nothing_shown": _template("no shot is shown, so there is no film"),
    "unknown_model": _template("there is no model {shown}; known are {listed}"),
    "first_of_scene": _template(
        "{value} needs a shot before it, and this is the first of its scene"
    ),
    "beginning_given": _template(
        "with {limit} the shot's beginning is given; say continuity: cut to begin anew"
    ),
    "no_keyframes": _template(
        "they only have a meaning with continuity: keyframes, this is {value}"
    ),
    "keyframes": _keyframes,
    "edit_too_long": _template(
        "an edit takes at most {limit} seconds of video; the shot before lasts {value}: shorten it"
    ),
    "several_videos": _template("{value} videos are referred to; a request takes one"),
    "second_video": _template("a request takes one video, and this shot begins from one already"),
    "clip_too_short": _template(
        "a clip has at least {limit} seconds; shorter shots need a multi_shot scene"
    ),
    "prompt_too_long": _template(
        "with look and characters the prompt has {value} characters; the limit here is {limit}"
    ),
    "scene_length": _template(
        "its shots last {value} seconds together; a multi_shot scene has {least} to {most}"
    ),
    "too_many_shots": _template(
        "a multi_shot scene has at most {limit} shots, this one has {value}"
    ),
    "only_for_scene": _only_for_scene,
    "api_rule": _api_rule,
    "api_rule_in_shot": _api_rule_in_shot,
    "too_many_shots_of_film": _template(
        "this film has {value} shots; the most is {limit}: make it several films"
    ),
    # The text itself.
    "no_utf8": _template("this is no UTF-8 text; save the file as UTF-8"),
    "web_page": _template(
        "this is a web page (HTML), no storyboard or table; a table online has a link of its own "
        "for downloading it, as CSV for example"
    ),
    "behind_the_fence": _template(
        "there is more text behind the Markdown fence; leave only what is inside of it"
    ),
    "cut_text": _template(
        "the {limit} ends before `{value}`, which YAML takes for a comment; "
        "if it belongs to the text, put the whole text in quotes"
    ),
    "empty_document": _template("this file is empty; one begins with `title:` and has `scenes:`"),
    "no_storyboard": _template("this is no storyboard; one begins with `title:` and has `scenes:`"),
    "too_long_text": _template("this is longer than {limit} characters; make it several"),
    "too_many_parts": _template(
        "this has more than {limit} fields and values, counted where they are used again with *"
    ),
    "too_deep": _template("lists or fields stand too deep inside each other"),
    "contains_itself": _template("this contains itself"),
    "no_json": _template("this is no JSON: {said}"),
    "half_character": _template(
        "this has half of a character, from \\ud800 to \\udfff; write the whole character"
    ),
    "too_many_digits": _template("{shown} has more digits than any number here"),
    "no_character_of_text": _template("the character {value} cannot stand in a text; remove it"),
    "twice": _template("{shown} is given twice; the first time in line {limit}"),
    "begins_with": _template(f"a text that begins with {{value}} {_MUST_BE_QUOTED}"),
    "begins_with_block": _template(
        f"a text that begins with > or | {_MUST_BE_QUOTED}, or begins in the next line"
    ),
    "tab": _template("this line is indented with a tab; use spaces"),
    "open_quote": _template("a quote is opened here and never closed"),
    "no_colon": _template(
        "a colon and a space are missing after a field's name, as in `duration: 5`"
    ),
    "colon_in_text": _template(
        f"a text that contains a colon {_MUST_BE_QUOTED}, as in `prompt: 'Wide shot: a boat'`"
    ),
    "colon_or_indent": _template(
        f"{_INDENTED} "
        f"(if it goes on with the text above, that text contains a colon and {_MUST_BE_QUOTED})"
    ),
    "after_quote": _template(
        "a text goes on after its closing quote; inside 'quotes' write '' for an apostrophe"
    ),
    "open_bracket": _template("a bracket is opened and never closed"),
    "indent": _template(f"{_INDENTED}, or it lacks a dash in front"),
    "no_comma": _template("a comma or the closing {value} is missing"),
    "escape": _template(
        "inside \"double quotes\" a \\ has a meaning of its own; use 'single quotes'"
    ),
    "dash": _template("a dash that begins a list stands in a line of its own"),
    "no_value": _template("something is missing here, or a sign such as , : ] }} is too many"),
    "stray_line": _template(
        "this line does not belong to what stands above it; look at how far it is indented"
    ),
    "second_document": _template(
        "a line `---` begins a second document here; only one can be read"
    ),
    "merge": _template("<<: takes the fields of a part that is marked with &, as in `<<: *night`"),
    # Tables.
    "no_requests": _template("there is no request in it"),
    "no_request": _template("this is no request; one has a prompt, as in `prompt: A lamp`"),
    "too_many_requests": _template("this has more than {limit} requests; make it several tables"),
    "unknown_column": _unknown_column,
    "near_column": _near_column,
    "column_without_name": _template("a column has no name; give it one, or remove it"),
    "too_many_columns": _template("there are {value} columns; the most is {limit}"),
    "column_twice": _template("the column {shown} is there twice"),
    "too_many_cells": _template("more cells than the header; a comma wants quotes"),
    "no_table": _template("this is no table: {said}"),
    "open_quote_in_table": _template(
        'a quote is opened here and never closed; a quote inside a cell is written twice, ""'
    ),
    "after_quote_in_table": _template(
        'a text goes on after its closing quote; a quote inside a cell is written twice, ""'
    ),
    "too_long_cell": _template("a cell is longer than {limit} characters"),
}
