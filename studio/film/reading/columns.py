"""The columns of a table: which of them say what to make, and which are the user's own."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from json import JSONDecodeError
from typing import Any

from pydantic import JsonValue

from prefect_kling.studio.film.mistakes import Mistake
from prefect_kling.studio.film.reading.plain_text import TextInvalid
from prefect_kling.studio.film.reading.yaml_text import parse_json
from prefect_kling.studio.money.tags import TAG_PREFIX

OWN = "x_"
"""Names that begin like this are the user's own, whatever they are near to."""
RESULTS = "kling_"
"""Names that begin like this are written into results. A table of results can be read again."""

_FRAMES = ("first_frame", "end_frame")
_VIDEOS = {"continue_video": "feature", "edit_video": "base"}
_JSON = ("multi_prompt", "image_list", "video_list", "element_list", "watermark_info", "extra")
_PLAIN = (
    "prompt",
    "model",
    "mode",
    "duration",
    "sound",
    "aspect_ratio",
    "multi_shot",
    "shot_type",
    "callback_url",
)
COLUMNS = (
    *_PLAIN,
    *_FRAMES,
    "references",
    "elements",
    *_VIDEOS,
    "keep_original_sound",
    "watermark",
    *_JSON,
    "take",
)
"""All columns that say what to make.

`first_frame`, `end_frame`, `continue_video` and `edit_video` hold a link, `references` links and
`elements` numbers, separated by spaces. The columns of `_JSON` hold JSON in tables.
"""

# What people call columns that have another name here.
_OTHER_NAMES = {
    "seconds": "duration",
    "length": "duration",
    "audio": "sound",
    "aspect": "aspect_ratio",
    "ratio": "aspect_ratio",
    "shape": "aspect_ratio",
    "quality": "mode",
    "resolution": "mode",
    "image": "first_frame",
    "image_url": "first_frame",
    "picture": "first_frame",
    "start_frame": "first_frame",
    "last_frame": "end_frame",
    "video": "continue_video",
    "video_url": "continue_video",
    "callback": "callback_url",
    "webhook": "callback_url",
}
# Below this, words that have nothing to do with each other look alike.
_NEAR = 0.8

FORMULA = re.compile(r"'*\s*[=+@-]")
"""What a spreadsheet takes for a formula, or would without the apostrophes in front."""
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::00)?")
_ON_OFF = {"true": "on", "yes": "on", "on": "on", "false": "off", "no": "off", "off": "off"}


def near_column(name: str) -> str:
    """Return the column that a name is nearly that of; empty if it is one, or the user's own."""
    if name in COLUMNS or name.startswith((OWN, TAG_PREFIX, RESULTS)):
        return ""
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower())
    if plain in COLUMNS:
        return plain
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    return next(iter(get_close_matches(plain, COLUMNS, n=1, cutoff=_NEAR)), "")


def unescaped(columns: Iterable[str], cells: Iterable[str]) -> list[str]:
    """Return cells without the apostrophe that results have in front of what looks like a formula.

    Cells of a table without columns of results stay as they are.
    """
    if not any(column.startswith(RESULTS) for column in columns):
        return list(cells)
    return [cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell for cell in cells]


def written_cells(cells: Iterable[tuple[str, str]]) -> dict[str, JsonValue]:
    """Return the cells of a line by column, as what was meant. An empty cell sets nothing.

    Spreadsheets make something else of some values: of `on` TRUE, of `16:9` a time of day. Raises
    `TextInvalid` for a cell that holds no JSON and should.
    """
    return {column: _meant(column, cell) for column, cell in cells if cell}


def _meant(column: str, cell: str) -> JsonValue:
    if column == "sound":
        return _ON_OFF.get(cell.lower(), cell)
    if column == "aspect_ratio":
        time = _TIME.fullmatch(cell)
        if time is not None:
            return f"{int(time[1])}:{int(time[2])}"
    if column in _JSON:
        return _parsed(column, cell)
    return cell


def _parsed(column: str, cell: str) -> JsonValue:
    try:
        value: JsonValue = parse_json(cell)
    except JSONDecodeError as error:
        raise TextInvalid(Mistake("no_json", field=column, value=error.msg)) from None
    except RecursionError:
        raise TextInvalid(Mistake("too_deep", field=column)) from None
    return value


def own_columns(given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what a row holds beside the request: the user's own columns."""
    return {
        name: value
        for name, value in given.items()
        if name not in COLUMNS and not name.startswith(RESULTS)
    }


def tag_columns(given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the columns of a row that say who pays, by the names of the tags."""
    return {
        name.removeprefix(TAG_PREFIX): value
        for name, value in given.items()
        if name.startswith(TAG_PREFIX)
    }


def request_fields(given: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return the columns of a row that say what to make as fields of a `VideoRequest`."""
    fields: dict[str, Any] = {name: given[name] for name in (*_PLAIN, *_JSON) if name in given}

    images: list[JsonValue] = [
        {"image_url": given[kind], "type": kind} for kind in _FRAMES if given.get(kind) is not None
    ]
    images += [{"image_url": link} for link in _each(given.get("references"))]
    _extend(fields, "image_list", images)

    _extend(fields, "element_list", [{"element_id": e} for e in _each(given.get("elements"))])

    videos: list[JsonValue] = []
    for column, kind in _VIDEOS.items():
        if given.get(column) is None:
            continue
        video = {"video_url": given[column], "refer_type": kind}
        if given.get("keep_original_sound") is not None:
            video["keep_original_sound"] = given["keep_original_sound"]
        videos.append(video)
    _extend(fields, "video_list", videos)

    if given.get("watermark") is not None:
        fields["watermark_info"] = {"enabled": given["watermark"]}
    return fields


def _extend(fields: dict[str, Any], name: str, found: list[JsonValue]) -> None:
    """Add to a list that the row may hold already. What is no list is left for its rule."""
    if not found:
        return
    there = fields.get(name) or []
    if isinstance(there, list):
        fields[name] = [*there, *found]


def _each(value: JsonValue) -> list[JsonValue]:
    """Return the parts of a cell, or of a list."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [*re.split(r"[\s,]+(?=\S)", value.strip())]
    return [value]
