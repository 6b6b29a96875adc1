"""Facts about what is wrong with a storyboard or a table, and the one place that words them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from prefect_kling.kling.violations import Violation, describe_rule, describe_value
from prefect_kling.studio.film.storyboard import Place, in_words, shortened

MOST_CHARACTERS = 450
"""Of one sentence, so that twenty of them stay below 10 kB."""
_MOST_NAMES = 20
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
    version: str = ""
    """The version of the story that it is found in, where it is not in all of them."""

    def within(self, place: Place) -> "Mistake":
        """Return the mistake as one of the whole document. `place` is where its own begins."""
        return replace(self, place=(*place, *self.place))

    def __str__(self) -> str:
        return describe(self)


def of_violation(violation: Violation, place: Place = ()) -> Mistake:
    """Return a broken rule of the API as a mistake in a shot, under the storyboard's own field."""
    field, _ = _API_RULES.get(violation.rule, (violation.field, ""))
    return Mistake(
        "api_rule_in_shot", place, field, violation.value, violation.limit, broken=violation
    )


def describe(mistake: Mistake) -> str:
    """Say in one sentence where a mistake is, what is wrong, and what is possible."""
    where = mistake.document
    if mistake.line is not None:
        where = f"{where}, line {mistake.line}".removeprefix(", ")
    version = ""
    if mistake.version:
        version = f"version {show(mistake.version)}"
    sentence = ": ".join(filter(None, (where, version, _part(mistake), _text(mistake))))
    return shortened(sentence, MOST_CHARACTERS)


def _part(mistake: Mistake) -> str:
    """Say which part of the document is wrong, and which field of it."""
    part = ""
    if mistake.place:
        part = in_words(mistake.place)
    if mistake.rule in _NAME_THEIR_FIELD or not mistake.field:
        return part

    field = mistake.field
    if mistake.rule == "clip_too_short":
        field = f"{field} ({mistake.value})"
    if mistake.broken is not None and mistake.broken.rule not in _SHOW_NO_VALUE:
        field = f"{field} ({describe_value(mistake.broken)})"
    if part and mistake.is_written:
        return f"{part}, {field}"
    return ": ".join(filter(None, (part, field)))


def _text(mistake: Mistake) -> str:
    """Say what is wrong: the words of the rule, filled with what the mistake tells."""
    words = _WORDS[mistake.rule]
    broken = mistake.broken
    if broken is not None and mistake.rule == "api_rule_in_shot":
        _, words = _API_RULES.get(broken.rule, ("", ""))
        return words.format(model=broken.model, limit=broken.limit) or describe_rule(broken)

    value = mistake.value
    limits = mistake.limit
    if not isinstance(limits, tuple):
        limits = (limits,)
    suggestion = ""
    if "{suggestion}" in words:
        suggestion = _suggestion(mistake, limits)
    return words.format(
        broken=broken,
        shown=show(value),
        value=shortened(str(value)),
        said=shortened(str(value), MOST_CHARACTERS),
        length=len(str(value)),
        field=show(mistake.field),
        limit=_limit(mistake.limit),
        first=next(iter(limits), ""),
        last=next(reversed(limits), ""),
        listed=_listed(limits),
        either=_joined(limits, "or"),
        both=_joined(value, "and"),
        suggestion=suggestion,
    )


def _suggestion(mistake: Mistake, known: tuple[object, ...]) -> str:
    """Ask for the nearest known name, or say what else helps."""
    name = str(mistake.value)
    if mistake.rule in ("unknown_field", "unknown_and_missing"):
        name = mistake.field
    if mistake.rule == "no_file":
        name = name.rpartition("/")[2]
    near = nearest(name, known)
    if near:
        return f"; did you mean '{near}'?"

    if mistake.rule in ("unknown_field", "unknown_and_missing"):
        return f"; possible are {_listed(known)}"
    if mistake.rule in _LIST_ALL_KNOWN and known:
        return f"; there are {_listed(known)}"
    if mistake.rule not in ("no_reference", "no_character"):
        return ""
    if _FILE.search(name):
        example = f"`bottle: {{image: {shortened(name)}}}`"
        return f"; a file gets a name under `references:` first, as in {example}"
    if known:
        return f"; this storyboard has {_listed(known)}"
    return f"; none is described under `{mistake.rule.removeprefix('no_')}s:`"


def nearest(name: str, known: Sequence[object]) -> str:
    """Return the known name that was most likely meant, or an empty text."""
    spelled = {str(each).lower(): str(each) for each in known}
    for near in get_close_matches(shortened(name.lower()), spelled, n=1):
        return spelled[near]
    return ""


def show(value: object) -> str:
    """Return a value as it was written, or the kind of thing it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"'{shortened(value)}'"
    return shortened(str(value))


def _limit(limit: object) -> str:
    if isinstance(limit, float):
        return f"{limit:g}"
    return shortened(str(limit))


def _listed(names: Sequence[object]) -> str:
    listed = [shortened(str(name)) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        listed.append(f"and {len(names) - _MOST_NAMES} more")
    return ", ".join(listed)


def _joined(names: object, word: str) -> str:
    """Return names as in `a, b or c`, and nothing for what is no names."""
    if not isinstance(names, tuple) or not names:
        return "nothing"
    *others, last = map(str, names[:_MOST_NAMES])
    return f" {word} ".join(filter(None, (", ".join(others), last)))


# Without a near miss, all that is known helps.
_LIST_ALL_KNOWN = ("unknown_column", "no_variable", "no_shot", "no_version")

# In their sentences the field has a place of its own.
_NAME_THEIR_FIELD = {
    "unknown_field",
    "unknown_and_missing",
    "misplaced_field",
    "unindented_field",
    "comma_in_braces",
    "missing_field",
    "cut_text",
    "api_rule",
}

# Rules of the API that a storyboard says in other words: its own field, and what is wrong.
_API_RULES = {
    "duration_with_feature": (
        "duration",
        "a shot that is made from a video has at most {limit} seconds",
    ),
    "end_needs_first": ("end_frame", "it needs a first_frame, too"),
    "frames_exclude_base": ("edit_of", "an edited video takes no first_frame and no end_frame"),
    "references_within_limit": (
        "references",
        "at most 7 pictures and subjects, 4 where a video goes in",
    ),
    "end_frame_among_few": ("end_frame", "{model} takes none beside more than {limit} pictures"),
    "elements_with_frames": ("references", ""),
    "silent_with_video": (
        "sound",
        "Kling makes none for a shot that is made from a video; say `sound: off` or nothing",
    ),
    "multi_shot_model": ("model", "{model} makes no multi_shot scenes"),
    "references_exist": ("prompt", "what is named by its place must be there, counted from 1"),
}
# The words for these need no value beside the field.
_SHOW_NO_VALUE = {
    "end_needs_first",
    "frames_exclude_base",
    "end_frame_among_few",
    "silent_with_video",
    "multi_shot_model",
}

# The words of each rule, filled by `_text`.
_WORDS = {
    # Anything else that another part of the program said about a value.
    "other": "{said}",
    # Fields of a document.
    "unknown_field": "there is no field {field}{suggestion}",
    "unknown_and_missing": "there is no field {field}, and {shown} is missing{suggestion}",
    "misplaced_field": "there is no field {field} here; it belongs to {either}",
    "unindented_field": "there is no field {field} here; indent it if it belongs to {shown} above",
    "comma_in_braces": (
        "there is no field {field}; inside {{ }} a text that contains a comma must stand in quotes"
    ),
    "missing_field": "{field} is missing",
    "empty_field": "nothing is written here; fill it in, or remove it",
    "choice": "{shown} is not possible, only {either}{suggestion}",
    "no_choice": "{shown} is not possible here",
    "choice_of_scene": "{shown} can only be said for a whole scene; a shot has {either}",
    "text": "a text belongs here; put {shown} in quotes",
    "text_in_braces": (
        "a text belongs here, not fields; one that begins with {{ must stand in quotes"
    ),
    "text_in_brackets": (
        "a text belongs here, not a list; one that begins with [ must stand in quotes"
    ),
    "name_in_list": "a name belongs here, not {shown}",
    "list": "a list belongs here, not {shown}",
    "list_of_parts": "this is a list: write {limit}",
    "list_of_one": "this is a list: write `[{value}]`",
    "fields": "fields belong here, not {shown}",
    "fields_below": "indent this line, so that it belongs to the name above",
    "fields_of_part": "{first} has fields: write `{last}: {value}`",
    "names_with_fields": "write {said}",
    "whole_number": "a whole number belongs here, like {limit}, not {shown}",
    "number": "a number belongs here, like 0.5, not {shown}",
    "true_or_false": "true or false belongs here, not {shown}",
    "too_little": "{shown} is too little; the least is {limit}",
    "too_much": "{shown} is too much; the most is {limit}",
    "empty_text": "this is empty; write something, or remove it",
    "blank_text": "this is empty; write something",
    "too_many_characters": "this has {length} characters; the most is {limit}",
    "name": "a name has no spaces and no < or >; write '{limit}' for {shown}",
    "tag_name": "the name of a tag has letters, digits, - and _; write '{limit}' for {shown}",
    "too_many_tags": "these are {value} tags; the most is {limit}",
    "empty_list": "at least one {limit} is needed",
    "one_of": "give one of {listed}; this has {both}",
    "no_link": "{shown} is no link, and pictures are given as links",
    # Names and files.
    "no_reference": "there is no reference called {shown}{suggestion}",
    "no_character": "there is no character called {shown}{suggestion}",
    "is_character": (
        "there is no reference called {shown}; it is a character: say `characters: [{value}]`"
    ),
    "is_reference": (
        "there is no character called {shown}; it is a reference: say `references: [{value}]`"
    ),
    "no_picture": "{shown} is no picture, and a picture is needed here",
    "no_video": "{shown} is no video, and a video is needed here",
    "link_with_spaces": "a link has no spaces; write %20 for each",
    "link_to_video": (
        "a link to a video gets a name under `references:` first, as in `clip: {{video: "
        "https://…}}`"
    ),
    "almost_mention": (
        "{value} is sent as it stands; to show the model '{limit}', write <<<{limit}>>>"
    ),
    "no_file": "there is no file {shown} beside this storyboard{suggestion}",
    "no_folder": (
        "there is no file {shown} beside this storyboard; there is no folder {limit} either"
    ),
    "no_file_name": "{shown} is no name a file can have",
    "no_file_no_link": "{shown} is neither a file nor a link; a link begins with https://",
    "file_elsewhere": "{shown} is neither a link nor a file beside it or in a folder below",
    # Versions of a story.
    "no_variable": "there is no variable {shown}{suggestion}",
    "variable_not_given": (
        "it gives no variable {shown}, and the storyboard has none of that name under `variables:`"
    ),
    "unused_variable": "no text says {{{{{value}}}}}{suggestion}",
    "unused_column": (
        "no text says {{{{{value}}}}}; to carry the column along as one of your own, call it "
        "'x_{value}'{suggestion}"
    ),
    "variable_in_variable": "a variable has no variables in it",
    "almost_variable": "{value} is sent as it stands; write {{{{{limit}}}}} for the variable",
    "variable_name": (
        "the name of a variable has letters, digits, - and _; write '{limit}' for {shown}"
    ),
    "shot_in_quotes": "put a shot's number in quotes, as in '2.1'",
    "no_shot": "there is no shot or scene {shown}{suggestion}",
    "nothing_left": "it leaves out every shot",
    "nothing_changed": (
        "it says nothing that makes it another film; say what it is, as in `aspect_ratio: 16:9`"
    ),
    "version_twice": "{shown} is the name of a version already; the folder of a film is named so",
    "version_alike": "its film has the same clips as that of '{limit}': nothing differs",
    "too_many_versions": "these are {value} versions; the most is {limit}: make it several",
    "too_many_shots_of_versions": (
        "these versions have {value} shots together; the most is {limit}: make it several"
    ),
    "has_versions": (
        "this storyboard has versions ({listed}), and this makes one film; `produce_versions`, the "
        "deployment film-versions and `prefect-kling film` make them all"
    ),
    "no_version": "there is no version {shown}{suggestion}",
    "versions_twice": (
        "this storyboard has versions, and a table of versions is given, too; leave one of them out"
    ),
    # What only planning finds.
    "name_of_place": "<<<{value}>>> already points at a place in a request; take another name",
    "nothing_shown": "no shot is shown, so there is no film",
    "unknown_model": "there is no model {shown}; known are {listed}{suggestion}",
    "first_of_scene": "{value} needs a shot before it, and this is the first of its scene",
    "beginning_given": (
        "with {limit} the shot's beginning is given; say continuity: cut to begin anew"
    ),
    "no_keyframes": "they only have a meaning with continuity: keyframes, this is {value}",
    "keyframes": (
        "{first} shots share {last} keyframes, or {first} if the last shot may end freely, "
        "and not {value}"
    ),
    "edit_too_long": (
        "an edit takes at most {limit} seconds of video; the shot before lasts {value}: shorten it"
    ),
    "several_videos": "{value} videos are referred to; a request takes one",
    "second_video": "a request takes one video, and this shot begins from one already",
    "clip_too_short": "a clip has at least {limit} seconds; shorter shots need a multi_shot scene",
    "prompt_too_long": (
        "with look and characters the prompt has {value} characters; the limit here is {limit}"
    ),
    "scene_length": (
        "its shots last {value} seconds together; a multi_shot scene has {first} to {last}"
    ),
    "too_many_shots": "a multi_shot scene has at most {limit} shots, this one has {value}",
    "only_for_scene": "in a multi_shot scene {both} can only be said for the whole scene",
    "pick_without_takes": (
        "there is one take only to pick from; say how many to make, as in `takes: {limit}`"
    ),
    "pick_beyond_takes": (
        "there is no take {value} to pick, only 1 to {limit}; `takes: {value}` makes more"
    ),
    "pick_of_scene": (
        "a take is picked for each shot; only a multi_shot scene, which is one clip, has a pick of "
        "its own"
    ),
    "take_with_takes": (
        "`take: {limit}` makes that take only; say `takes: {limit}` and `pick: {limit}` to make "
        "all up to it and show that one"
    ),
    "api_rule": "{broken}",
    "api_rule_in_shot": "{rule}",
    "too_many_shots_of_film": (
        "this film has {value} shots; the most is {limit}: make it several films"
    ),
    # The text itself.
    "no_utf8": "this is no UTF-8 text; save the file as UTF-8",
    "web_page": (
        "this is a web page (HTML), no storyboard or table; a table online has a link of its "
        "own for downloading it, as CSV for example"
    ),
    "behind_the_fence": (
        "there is more text behind the Markdown fence; leave only what is inside of it"
    ),
    "cut_text": (
        "the {limit} ends before `{value}`, which YAML takes for a comment; if it belongs to "
        "the text, put the whole text in quotes"
    ),
    "empty_document": "this file is empty; one begins with `title:` and has `scenes:`",
    "no_storyboard": "this is no storyboard; one begins with `title:` and has `scenes:`",
    "too_long_text": "this is longer than {limit} characters; make it several",
    "too_many_parts": (
        "this has more than {limit} fields and values, counted where they are used again with *"
    ),
    "too_deep": "lists or fields stand too deep inside each other",
    "contains_itself": "this contains itself",
    "no_json": "this is no JSON: {said}",
    "half_character": (
        "this has half of a character, from \\ud800 to \\udfff; write the whole character"
    ),
    "too_many_digits": "{shown} has more digits than any number here",
    "no_character_of_text": "the character {value} cannot stand in a text; remove it",
    "twice": "{shown} is given twice; the first time in line {limit}",
    "begins_with": "a text that begins with {value} must stand in quotes",
    "begins_with_block": (
        "a text that begins with > or | must stand in quotes, or begins in the next line"
    ),
    "tab": "this line is indented with a tab; use spaces",
    "open_quote": "a quote is opened here and never closed",
    "no_colon": "a colon and a space are missing after a field's name, as in `duration: 5`",
    "colon_in_text": (
        "a text that contains a colon must stand in quotes, as in `prompt: 'Wide shot: a boat'`"
    ),
    "colon_or_indent": (
        "this line is indented differently from the lines it belongs to (if it goes on with "
        "the text above, that text contains a colon and must stand in quotes)"
    ),
    "after_quote": (
        "a text goes on after its closing quote; inside 'quotes' write '' for an apostrophe"
    ),
    "open_bracket": "a bracket is opened and never closed",
    "indent": (
        "this line is indented differently from the lines it belongs to, or it lacks a dash "
        "in front"
    ),
    "no_comma": "a comma or the closing {value} is missing",
    "escape": "inside \"double quotes\" a \\ has a meaning of its own; use 'single quotes'",
    "dash": "a dash that begins a list stands in a line of its own",
    "no_value": "something is missing here, or a sign such as , : ] }} is too many",
    "stray_line": (
        "this line does not belong to what stands above it; look at how far it is indented"
    ),
    "second_document": "a line `---` begins a second document here; only one can be read",
    "merge": "<<: takes the fields of a part that is marked with &, as in `<<: *night`",
    # Tables.
    "no_requests": "there is no request in it",
    "no_request": "this is no request; one has a prompt, as in `prompt: A lamp`",
    "no_row": "this is no row; one has fields, as in `{{name: mug, product: the blue mug}}`",
    "no_rows": "there is no row in it",
    "too_many_rows": "this has more than {limit} rows; make it several tables",
    "too_many_requests": "this has more than {limit} requests; make it several tables",
    "unknown_column": "there is no column {shown}{suggestion}",
    "near_column": (
        "there is no column {shown}; did you mean '{first}'? To carry it along as one of "
        "your own, call it '{last}'"
    ),
    "near_field": (
        "there is no field {shown}; did you mean '{first}'? To carry it along as one of your "
        "own, call it '{last}'"
    ),
    "column_without_name": "a column has no name; give it one, or remove it",
    "too_many_columns": "there are {value} columns; the most is {limit}",
    "column_twice": "the column {shown} is there twice",
    "too_many_cells": "more cells than the header; a comma wants quotes",
    "no_table": "this is no table: {said}",
    "open_quote_in_table": (
        'a quote is opened here and never closed; a quote inside a cell is written twice, ""'
    ),
    "after_quote_in_table": (
        'a text goes on after its closing quote; a quote inside a cell is written twice, ""'
    ),
    "too_long_cell": "a cell is longer than {limit} characters",
}
